#include "ebb/store/store.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include "ebb/base/files.h"
#include "found_log.h"
#include "place.h"
#include "reader.h"
#include "schema.h"
#include "writer.h"

namespace ebb::store {

class Store::Impl {
 public:
  Impl(UniqueFd lock, FoundLog found, Reader reader, Connection connection, Applier applier)
      : lock_(std::move(lock)),
        found_(found),
        writer_(std::move(connection), std::move(applier)),
        reader_(std::move(reader)) {}

  // Destroyed from the last to the first: the writing connection closes after the reading one, since only the
  // last to close folds the log in, and the folder is free for others after both.
  UniqueFd lock_;
  FoundLog found_;
  Writer writer_;
  Reader reader_;
};

namespace {

template <typename T>
Result<std::optional<T>> first_of(Result<std::vector<T>> rows) {
  if (!rows) return std::move(rows).error();
  if (rows->empty()) return std::optional<T>();
  return std::optional(std::move(rows->front()));
}

}  // namespace

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Result<Store> Store::open(const std::filesystem::path& folder, std::string_view note) {
  if (sodium_init() < 0) {
    return Error{.code = Errc::internal, .message = "libsodium cannot start", .pointer = {}, .type = {}};
  }
  if (auto fit = check_folder(folder); !fit) return std::move(fit).error();
  auto lock = lock_folder(folder, note);
  if (!lock) return std::move(lock).error();

  const auto path = folder / "ebb.db";
  // Made here, so that nobody else can read it: it holds environments. SQLite gives its log the same mode.
  if (auto made = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600); !made) return std::move(made).error();
  const FoundLog found = look_at_log(path);
  auto connection = Connection::open(path, false);
  if (!connection) return std::move(connection).error();
  if (auto ready = prepare_database(*connection, path); !ready) return std::move(ready).error();
  auto applier = Applier::make(*connection);
  if (!applier) return std::move(applier).error();
  auto reader = Reader::open(path);
  if (!reader) return std::move(reader).error();
  return Store(std::make_unique<Impl>(std::move(*lock), found, std::move(*reader), std::move(*connection),
                                      std::move(*applier)));
}

Store::FoundLog Store::found_log() const { return impl_->found_; }

void Store::commit(Batch batch, std::function<void(Outcome)> done) {
  impl_->writer_.commit(std::move(batch), std::move(done));
}

Result<std::optional<JobRecord>> Store::job(JobId id) const { return impl_->reader_.job(id); }
Result<std::vector<JobRecord>> Store::jobs(const JobQuery& query) const { return impl_->reader_.jobs(query); }
Result<bool> Store::known(JobId id) const { return impl_->reader_.known(id); }
Result<std::vector<Store::EndedJob>> Store::ended_after(EndedAt after, int limit) const {
  return impl_->reader_.ended_after(after, limit);
}
Result<std::int64_t> Store::count_ended() const {
  return impl_->reader_.number("SELECT count(*) FROM jobs INDEXED BY jobs_by_end WHERE ended_at IS NOT NULL");
}
Result<std::vector<JobId>> Store::with_prefix(std::string_view prefix, int limit) const {
  return impl_->reader_.with_prefix(prefix, limit);
}
Result<std::optional<model::Report>> Store::report(JobId id, std::optional<int> attempt) const {
  return impl_->reader_.report(id, attempt);
}
Result<void> Store::each_live_job(const std::function<void(const JobRecord&)>& visit) const {
  return impl_->reader_.each_live_job(visit);
}
Result<std::vector<QuarantineRow>> Store::quarantined() const { return impl_->reader_.quarantined(); }
Result<std::vector<model::Event>> Store::events_after(std::int64_t seq, int limit) const {
  return impl_->reader_.events_after(seq, limit);
}
Result<Store::EventRange> Store::event_range() const { return impl_->reader_.event_range(); }
Result<std::optional<Store::Idempotent>> Store::idempotent(const std::string& user, const std::string& key,
                                                           WallTime not_before) const {
  return impl_->reader_.idempotent(user, key, not_before);
}
Result<std::vector<UserRow>> Store::users() const {
  return impl_->reader_.users("ORDER BY created_at, user_id", std::nullopt);
}
Result<std::optional<UserRow>> Store::user_by_key_hash(const std::string& key_hash) const {
  return first_of(impl_->reader_.users("WHERE key_hash = ?1 AND key_hash <> ''", key_hash));
}
Result<std::optional<UserRow>> Store::user_by_name(const std::string& name) const {
  // A name may be given again after its user was revoked; the one that lives counts.
  return first_of(
      impl_->reader_.users("WHERE name = ? ORDER BY revoked_at IS NOT NULL, revoked_at DESC LIMIT 1", name));
}
Result<std::optional<std::string>> Store::value(const std::string& name) const {
  return impl_->reader_.value(name);
}
Result<std::int64_t> Store::last_job_seq() const {
  return impl_->reader_.number("SELECT coalesce(max(seq), 0) FROM jobs");
}
Result<std::int64_t> Store::last_event_seq() const {
  return impl_->reader_.number("SELECT coalesce(max(seq), 0) FROM events");
}

}  // namespace ebb::store
