#pragma once

#include <optional>
#include <string>

#include "ebb/client/client.h"
#include "run_context.h"

namespace ebb::client {

/// The stream that keeps an attached job alive, opened again for as long as the server may come back.
/// States: following; lost (since()), while it is sought; over: a report, or an error that ends the search.
class OwnerStream {
 public:
  /// `silence`: without a byte for so long the stream counts as broken. `sought`: how long to look for a lost
  /// server.
  OwnerStream(RunContext& context, std::string id, Duration silence, Duration sought)
      : context_(context), id_(std::move(id)), silence_(silence), sought_(sought) {}

  /// To be run once, beside everything else; returns when it is over. `first`: an idle connection to begin
  /// with. on_job is called with each picture of the job.
  Task<void> follow(Connection first);
  std::function<void(const model::Job&)> on_job;
  /// Called when a server that was lost is found again.
  std::function<void()> on_back;

  [[nodiscard]] const std::optional<model::Report>& report() const noexcept { return report_; }
  [[nodiscard]] const std::optional<Error>& error() const noexcept { return error_; }
  [[nodiscard]] Duration sought() const noexcept { return sought_; }
  [[nodiscard]] std::optional<BootTime> lost_since() const noexcept { return lost_since_; }
  /// The daemon has seen it, or cannot be reached, or need not.
  [[nodiscard]] bool settled() const noexcept { return opened_ || lost_since_ || report_ || error_; }

 private:
  Task<void> open_and_read(Connection& connection);
  /// Whether to read on.
  [[nodiscard]] bool take(const ServerEvent& event);
  void note_lost();

  RunContext& context_;
  std::string id_;
  Duration silence_;
  Duration sought_;
  Backoff backoff_;
  std::optional<model::Report> report_;
  std::optional<Error> error_;
  std::optional<BootTime> lost_since_;
  bool opened_ = false;  // once
};

}  // namespace ebb::client
