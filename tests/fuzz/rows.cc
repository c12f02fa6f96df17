// A database whose rows a disk, an editor or a meddler has changed: whatever stands in any column, each query
// ends with what it could read or with an error, and a job that could be read can be written again. The input
// is a list of steps: which column, of what type, and the value's length and bytes.

#include <filesystem>
#include <future>
#include <string>
#include <utility>
#include <vector>

#include "ebb/store/store.h"
#include "folder.h"
#include "property.h"
#include "row_codec.h"
#include "sqlite.h"

namespace {

using namespace ebb::store;
using ebb::fuzz::must;

ebb::JobId id_of(std::uint32_t number) { return ebb::JobId(number * 2654435761U); }

// Rows of every table: a job that waits, one that runs, one that has ended.
Batch some_rows() {
  Batch rows;
  for (std::uint32_t seq = 1; seq <= 3; ++seq) {
    JobRow job;
    job.id = id_of(seq);
    job.seq = seq;
    job.user = "alice";
    job.spec.name = "digits";
    job.spec.command = {"python3", "train.py"};
    job.surroundings.workdir = "/home/alice";
    job.surroundings.environment = {"PATH=/usr/bin"};
    rows.emplace_back(write::AddJob{std::move(job)});
    ebb::model::Event event;
    event.seq = seq;
    event.type = "job.queued";
    event.job = id_of(seq);
    rows.emplace_back(write::AddEvent{std::move(event)});
    if (seq == 1) continue;
    AttemptRow attempt;
    attempt.id = {id_of(seq), 1};
    attempt.gpus = {0, 1};
    attempt.ports = {8000};
    attempt.tier = "cgroup+pidns";
    rows.emplace_back(write::AddAttempt{attempt});
    rows.emplace_back(write::SetRunning{.attempt = attempt.id, .pid = 4711, .at = {}});
  }
  const ebb::AttemptId last{id_of(3), 1};
  ebb::model::Report report;
  report.job = id_of(3);
  report.attempt = 1;
  rows.emplace_back(write::SetEnded{.attempt = last, .reason = {}, .exit = {}, .at = {}});
  rows.emplace_back(write::AddReport{std::move(report)});
  rows.emplace_back(write::PutQuarantine{{.gpu = 1, .uuid = "GPU-1", .why = "in use", .attempt = last}});
  rows.emplace_back(write::AddIdempotency{"alice", "key", "hash", id_of(1), {}});
  rows.emplace_back(write::PutUser{{.user = {}, .key_hash = "hash"}});
  rows.emplace_back(write::PutValue{"baselines", "{}"});
  return rows;
}

struct Column {
  std::string table, name;
};

class Database {
 public:
  Database() : store_(open()), raw_(*Connection::open(folder_ / "ebb.db", false)) {
    std::promise<bool> written;
    store_.commit(some_rows(),
                  [&](const Store::Outcome& outcome) { written.set_value(outcome.result.ok()); });
    must(written.get_future().get());
    must(raw_.execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF").ok());
    auto columns = *Statement::prepare(
        raw_,
        "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'");
    while (*columns.next()) {
      columns_.push_back({std::string(columns.text(0)), '"' + std::string(columns.text(1)) + '"'});
    }
    std::string copy;
    for (const Column& column : columns_) {
      const std::string& table = column.table;
      if (restore_.find("DELETE FROM " + table + ';') != std::string::npos) continue;
      copy += "CREATE TEMP TABLE kept_" + table + " AS SELECT * FROM " + table + ';';
      restore_ +=
          "DELETE FROM " + table + ';' + "INSERT INTO " + table + " SELECT * FROM kept_" + table + ';';
    }
    must(raw_.execute(copy.c_str()).ok());
    restore_ = "BEGIN;" + restore_ + "COMMIT;";
  }
  ~Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void restore() { must(raw_.execute(restore_.c_str()).ok()); }

  // What an index or NOT NULL refuses, stays as it was.
  void set(unsigned which, unsigned type, std::string_view value) {
    const Column& column = columns_[which % columns_.size()];
    auto update =
        Statement::prepare(raw_, "UPDATE OR IGNORE " + column.table + " SET " + column.name + " = ?", false);
    must(update.ok());
    std::int64_t number = 0;
    for (const char byte : value.substr(0, 8)) number = number << 8 | static_cast<unsigned char>(byte);
    switch (type % 4) {
      case 0:
        (void)update->run(value);
        break;
      case 1:
        (void)update->run(number);
        break;
      case 2:
        (void)update->run(Blob{value});
        break;
      case 3:
        (void)update->run(std::optional<std::string>());
        break;
    }
  }

  [[nodiscard]] const Store& store() const { return store_; }

 private:
  [[nodiscard]] Store open() const {
    auto store = Store::open(folder_.path());
    must(store.ok());
    return std::move(*store);
  }

  ebb::fuzz::Folder folder_;
  Store store_;
  Connection raw_;
  std::vector<Column> columns_;
  std::string restore_;
};

void check(const JobRecord& record) {
  const auto spec = read_spec(write_spec(record.row.spec));
  must(spec.ok());
  must(write_spec(*spec) == write_spec(record.row.spec));
  must(read_surroundings(write_surroundings(record.row.surroundings)).ok());
}

void read_all(const Store& store) {
  for (std::uint32_t seq = 1; seq <= 3; ++seq) {
    if (const auto job = store.job(id_of(seq)); job && *job) check(**job);
    (void)store.known(id_of(seq));
    (void)store.report(id_of(seq), std::nullopt);
    (void)store.report(id_of(seq), 1);
  }
  for (const bool oldest_first : {false, true}) {
    JobQuery query;
    query.oldest_first = oldest_first;
    if (const auto jobs = store.jobs(query)) {
      for (const JobRecord& record : *jobs) check(record);
    }
  }
  (void)store.jobs({.states = {ebb::model::JobState::running}, .user = "alice", .name = "digits"});
  (void)store.each_live_job(check);
  (void)store.ended_after({}, 10);
  (void)store.count_ended();
  (void)store.with_prefix("9", 10);
  (void)store.quarantined();
  (void)store.events_after(0, 10);
  (void)store.event_range();
  (void)store.idempotent("alice", "key", {});
  (void)store.users();
  (void)store.user_by_key_hash("hash");
  (void)store.user_by_name("");
  (void)store.value("baselines");
  (void)store.last_job_seq();
  (void)store.last_event_seq();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Database database;
  std::string_view input = ebb::fuzz::text(data, size);
  while (input.size() >= 3) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(input[at]); };
    const unsigned which = byte(0), type = byte(1), length = byte(2);
    input.remove_prefix(3);
    database.set(which, type, input.substr(0, length));
    input.remove_prefix(std::min<std::size_t>(length, input.size()));
  }
  read_all(database.store());
  database.restore();
  return 0;
}
