// The thread that alone writes. It takes all batches that wait into one transaction.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "applier.h"
#include "ebb/store/store.h"
#include "sqlite.h"

namespace ebb::store {

/// States: open (takes batches); broken after a fatal failure (answers every batch with that failure, writes
/// nothing); stopping, from the destructor on (finishes what waits). commit() from any thread.
class Writer {
 public:
  using Done = std::function<void(Store::Outcome)>;

  Writer(Connection connection, Applier applier);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void commit(Batch batch, Done done);

 private:
  struct Waiting {
    Batch batch;
    Done done;
  };
  using Group = std::vector<Waiting>;
  using Outcomes = std::vector<Store::Outcome>;  // one for each batch of a group
  struct Failure {
    Error error;
    Severity severity = Severity::batch;
  };

  void work();
  [[nodiscard]] Outcomes write(const Group& group);
  // Empty where it is committed. With `careful`, a batch that fails for a reason of its own leaves its error
  // in `outcomes` and takes nothing else with it.
  [[nodiscard]] std::optional<Failure> transaction(const Group& group, Outcomes& outcomes, bool careful);
  [[nodiscard]] std::optional<Failure> apply(const Batch& batch);
  [[nodiscard]] std::optional<Failure> execute(const char* sql);
  void roll_back();
  void checkpoint(bool idle);

  Connection connection_;
  Applier applier_;
  std::optional<Error> broken_;
  int log_pages_ = 0;  // of the write-ahead log, after the last commit

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Waiting> waiting_;
  bool stopping_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace ebb::store
