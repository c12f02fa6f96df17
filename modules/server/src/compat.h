// The original scheduler's way to say things: validation errors as pydantic writes them, states, times.
#pragma once

#include <boost/json/value.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "ebb/model/job.h"
#include "message.h"

namespace ebb::server {
class Core;
}

namespace ebb::server::compat {

/// The 422 for a body that is no JSON; nothing where it is, or where no JSON is expected.
[[nodiscard]] std::optional<Response> unparsable(const Request& request);

/// Takes a request's fields out of its body by pydantic's lax rules ("2" is 2, "yes" is true, 2.5 is no
/// integer), and collects what is wrong with all of them. Unknown fields are passed over.
class Fields {
 public:
  /// The body must have been found parsable.
  explicit Fields(const Request& request);

  /// Null says the same as nothing; where it is no value, it is an error.
  enum class Null { nothing, error };
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view name, Null null = Null::nothing);
  [[nodiscard]] std::optional<double> number(std::string_view name, Null null = Null::nothing);
  [[nodiscard]] std::optional<bool> boolean(std::string_view name);
  [[nodiscard]] std::optional<std::string> text(std::string_view name, bool required = false);
  /// The object, written out.
  [[nodiscard]] std::optional<std::string> object(std::string_view name);

  /// Something that only we check.
  void refuse(std::string_view name, std::string_view type, const std::string& message);
  /// The 422 with all that was wrong; nothing where all is well.
  [[nodiscard]] std::optional<Response> errors() const;

 private:
  // The field, unless it is absent, or null where that says nothing; an absent one may be an error.
  const boost::json::value* find(std::string_view name, bool required, Null null);
  void add(std::string_view name, std::string_view type, std::string_view message,
           const boost::json::value& input);

  boost::json::value body_;
  boost::json::array errors_;
  bool usable_ = false;  // the body is an object
};

/// A 422 about a query parameter.
[[nodiscard]] Response query_error(std::string_view name, std::string_view type, std::string_view message,
                                   const boost::json::value& input);
/// An error of the daemon's: {"detail": text}; about a field of the request, 422 with its place.
[[nodiscard]] Response error_response(const Error& error,
                                      const std::map<std::string, std::string>& field_names);

/// QUEUED STARTING RUNNING COMPLETED FAILED CANCELLED.
[[nodiscard]] std::string_view status_name(model::JobState state);
/// Local time without a zone: 2026-11-23T22:59:38.222226.
[[nodiscard]] std::string local_time(WallTime time);
/// The nine fields of a job.
[[nodiscard]] boost::json::object job_json(Core& core, const Request& request, const model::Job& job);
/// Why a job failed: the cause, and the last 2 KiB that it wrote to stderr, harmless in a page or a terminal.
[[nodiscard]] std::optional<std::string> error_message(Core& core, const Request& request,
                                                       const model::Job& job);
[[nodiscard]] Response json_response(const boost::json::value& value);
/// Whether the caller may see and end the job: its user, an admin, or anybody where authentication is off.
[[nodiscard]] bool may_act(Core& core, const Request& request, const model::Job& job);

}  // namespace ebb::server::compat
