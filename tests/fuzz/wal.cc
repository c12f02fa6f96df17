// What a crash left of the database's write-ahead log: whatever stands in it, the daemon says of it what
// SQLite then takes in. The input is a list of changes to a whole log: where, how many bytes, and which.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <utility>

#include "ebb/base/files.h"
#include "ebb/store/store.h"
#include "folder.h"
#include "property.h"

namespace {

using namespace ebb::store;
using ebb::fuzz::must;

class Place {
 public:
  // A log of as many commits as jobs: what was before is in the database.
  Place() {
    {
      const Store empty = open();
    }
    Store store = open();
    for (std::uint32_t seq = 1; seq <= 3; ++seq) {
      JobRow job;
      job.id = ebb::JobId(seq);
      job.seq = seq;
      job.user = "alice";
      job.spec.command = {"true"};
      std::promise<bool> written;
      store.commit({write::AddJob{std::move(job)}},
                   [&](const Store::Outcome& outcome) { written.set_value(outcome.result.ok()); });
      must(written.get_future().get());
    }
    database_ = *ebb::read_file(folder_ / "ebb.db");
    log_ = *ebb::read_file(log());
  }
  ~Place() = default;
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  [[nodiscard]] const std::string& whole() const { return log_; }

  void check(const std::string& found) const {
    std::ofstream(folder_ / "ebb.db", std::ios::binary | std::ios::trunc) << database_;
    std::ofstream(log(), std::ios::binary | std::ios::trunc) << found;
    std::filesystem::remove(folder_ / "ebb.db-shm");
    const Store store = open();
    const auto [commits, left_out] = store.found_log();
    must(left_out >= 0 && left_out <= static_cast<std::int64_t>(found.size()));
    const auto taken_in = store.last_job_seq();
    must(taken_in.ok() && *taken_in == commits);
    if (found == log_) must(commits == 3 && left_out == 0);
  }

 private:
  [[nodiscard]] std::filesystem::path log() const { return folder_ / "ebb.db-wal"; }
  [[nodiscard]] Store open() const {
    auto store = Store::open(folder_.path());
    must(store.ok());
    return std::move(*store);
  }

  ebb::fuzz::Folder folder_;
  std::string database_, log_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Place place;
  std::string log = place.whole();
  std::string_view input = ebb::fuzz::text(data, size);
  while (input.size() >= 4) {
    const auto byte = [&](std::size_t i) -> std::size_t { return static_cast<unsigned char>(input[i]); };
    const std::size_t at = (byte(0) << 16 | byte(1) << 8 | byte(2)) % (log.size() + 1);
    const std::size_t length = byte(3);
    input.remove_prefix(4);
    const std::string_view bytes = input.substr(0, length);
    input.remove_prefix(bytes.size());
    // Of no bytes: the log ends there.
    log.resize(bytes.empty() ? at : std::max(log.size(), at + bytes.size()));
    std::ranges::copy(bytes, log.begin() + static_cast<std::ptrdiff_t>(at));
  }
  place.check(log);
  return 0;
}
