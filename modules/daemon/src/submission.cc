#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "daemon_impl.h"
#include "ebb/base/units.h"
#include "ebb/process/peer.h"
#include "launch_plan.h"
#include "placeholders.h"
#include "refusal.h"
#include "templates.h"

namespace ebb::daemon {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

// How long an Idempotency-Key is remembered.
constexpr Duration kIdempotencyLife = 24h;

// A single word with spaces that names no file was meant for a shell.
Result<void> check_single_word(const model::JobSpec& spec, const std::string& workdir) {
  if (spec.command.size() != 1 || spec.command.front().find(' ') == std::string::npos) return {};
  const std::filesystem::path path = std::filesystem::path(workdir) / spec.command.front();
  struct stat info{};
  if (::stat(path.c_str(), &info) == 0) return {};
  return model::quoted_command_error(spec.command.front());
}

// As whom the jobs of this caller run. With `named`, all of the account; else only its numbers, which a
// socket's peer has brought along: names are asked of the machine's account files, or of a server.
Result<Account> account_for(const Caller& caller, const Config& config, bool named) {
  const uid_t own = ::geteuid();
  if (caller.peer) {
    if (own != 0 && caller.peer->uid != own) {
      return refused(Errc::forbidden,
                     "this daemon belongs to " + account_of(own).name + "; run your own: 'ebb serve &'",
                     "not-yours");
    }
    Account account;
    if (named) account = account_of(caller.peer->uid);
    account.uid = caller.peer->uid;
    account.gid = caller.peer->gid;
    account.groups = caller.peer->groups;
    return account;
  }
  if (own != 0) return account_of(own);
  Account account;
  if (caller.uid) {
    account = account_of(*caller.uid);
  } else if (!config.jobs.account.empty()) {
    auto standard = account_of(config.jobs.account);
    if (!standard)
      return refused(Errc::forbidden, "[jobs] account: " + standard.error().message, "no-account");
    account = std::move(*standard);
  } else {
    return refused(Errc::forbidden,
                   "your key is bound to no account of this machine, so nobody's identity could be given to "
                   "the job; ask "
                   "an admin: 'ebb user add NAME --unix ACCOUNT', or [jobs] account in the configuration",
                   "no-account");
  }
  if (account.uid == 0 && !config.jobs.allow_root) {
    return refused(Errc::forbidden,
                   "jobs of this key would run as root; an admin can allow it: [jobs] allow_root = true",
                   "root-refused");
  }
  return account;
}

}  // namespace

engine::JobInfo info_of(const store::JobRow& row) {
  const model::JobSpec& spec = row.spec;
  engine::JobInfo info;
  info.id = row.id;
  info.seq = row.seq;
  info.user = row.user;
  info.priority = spec.priority;
  info.demand = {.gpus = spec.gpus,
                 .gpu_ids = spec.gpu_ids,
                 .ports = spec.ports,
                 .memory_bytes = spec.memory_bytes.value_or(0)};
  info.grace = spec.grace;
  info.time = spec.time;
  info.owner_lease = spec.owner_lease;
  info.waits_for_ready = spec.ready.has_value();
  return info;
}

Result<Shell::NewJob> Daemon::Impl::prepare(const Caller& caller, Submission submission) {
  const Config& config = context->config;
  Shell::NewJob prepared;
  auto row = std::make_shared<store::JobRow>();
  model::JobRequest request = std::move(submission.request);
  if (submission.from_template) {
    const auto found = config.templates.find(submission.from_template->name);
    if (found == config.templates.end()) {
      return refused(Errc::invalid,
                     "this server has no template '" + submission.from_template->name +
                         "'; an admin can add [templates." + submission.from_template->name + "]",
                     "no-such-template");
    }
    auto filled = fill_template(found->second, *submission.from_template, config);
    if (!filled) return std::move(filled).error();
    request = std::move(filled->request);
    if (found->second.owner_is_connection) request.owner = model::OwnerRequest{.lease_s = 10};
    row->origin = write_origin({.name = submission.from_template->name,
                                .fields = std::move(filled->fields),
                                .config_json = std::move(filled->config_json)});
    prepared.secrets = std::move(submission.from_template->secret_env);
  } else if (caller.templates_only) {
    return refused(Errc::forbidden,
                   "your key may submit by templates only (POST /submit_job, /submit_inference_job)",
                   "templates-only");
  }
  auto spec = model::resolve(request, config.defaults);
  if (!spec) return std::move(spec).error();
  const bool inherits = caller.peer && !submission.from_template;
  auto account = account_for(caller, config, !inherits || spec->clean_env);
  if (!account) return std::move(account).error();

  store::Surroundings& around = row->surroundings;
  around.uid = account->uid;
  around.gid = account->gid;
  around.groups = account->groups;
  if (!inherits || spec->clean_env) around.environment = minimal_environment(*account);
  around.limits = context->limits;
  if (inherits) {
    auto inherited = process::submitter_context(*caller.peer, !spec->clean_env);
    if (!inherited) return std::move(inherited).error();
    around.workdir = std::move(inherited->workdir);
    around.umask = static_cast<int>(inherited->umask);
    around.nice = inherited->nice;
    around.limits = limits_by_name(inherited->limits);
    if (!spec->clean_env) around.environment = std::move(inherited->environment);
  }
  if (spec->workdir) around.workdir = *spec->workdir;
  if (around.workdir.empty() && !submission.from_template) {
    return refused(Errc::invalid,
                   "over TCP a job needs its working directory: \"workdir\": \"/an/absolute/path\"",
                   "missing-field", "/workdir");
  }
  if (auto single = check_single_word(*spec, around.workdir); !single) return std::move(single).error();
  if (!submission.from_template) {
    if (auto known = check_placeholders(*spec); !known) return std::move(known).error();
  }

  do {
    row->id = JobId::random();
    auto known = context->store.known(row->id);
    if (!known) return std::move(known).error();
    if (!*known && !pending_ids.contains(row->id)) break;
  } while (true);
  row->seq = ++last_job_seq;
  row->user = caller.user;
  row->spec = std::move(*spec);
  row->submitted_at = context->clock.wall();
  prepared.info = info_of(*row);
  if (row->spec.owner_lease && caller.peer) prepared.owner = caller.peer->pidfd.get();
  if (auto possible = shell.engine().check(prepared.info); !possible) return std::move(possible).error();
  prepared.row = std::move(row);
  return prepared;
}

Task<Result<void>> Daemon::Impl::durable(const std::function<void(Durable)>& begin) {
  // The lambda has a name and captures nothing that must be destroyed: g++ 12 destroys such temporaries of a
  // co_await expression twice.
  const auto initiate = [&begin](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    begin([shared](Result<void> result) { (*shared)(std::move(result)); });
  };
  Result<void> result = co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Result<void>)>(
      initiate, asio::use_awaitable);
  if (result.ok()) co_return Result<void>();
  Error error = std::move(result).error();
  error.code = Errc::unavailable;
  error.type = "storage";
  co_return error;
}

Task<Result<void>> Daemon::Impl::commit(store::Batch batch) {
  // Completed on the writer's thread, resumed on the loop's.
  const std::function<void(Durable)> begin = [this, &batch](Durable done) {
    context->store.commit(std::move(batch), [this, done = std::move(done)](store::Store::Outcome outcome) {
      asio::post(context->io, [this, done, outcome = std::move(outcome)] {
        if (outcome.fatal) context->disk_failed(outcome.result.error());
        done(outcome.result);
      });
    });
  };
  co_return co_await durable(begin);
}

Task<Result<Submitted>> Daemon::submit(Caller caller, Submission submission) {
  Impl& impl = *impl_;
  if (impl.stopping || !impl.shell.disk_error().empty()) {
    co_return refused(Errc::unavailable,
                      impl.stopping ? "the daemon is ending; nothing new is accepted"
                                    : "nothing new is accepted: " + impl.shell.disk_error(),
                      impl.stopping ? "draining" : "storage");
  }
  const std::string key = submission.idempotency_key ? caller.user + "\n" + *submission.idempotency_key : "";
  if (!key.empty()) {
    while (impl.pending_keys.contains(key)) co_await impl.key_waiters.wait(key, 10s);
    auto earlier = impl.context->store.idempotent(caller.user, *submission.idempotency_key,
                                                  impl.context->clock.wall() - kIdempotencyLife);
    if (!earlier) co_return std::move(earlier).error();
    if (*earlier) {
      if ((*earlier)->body_hash != submission.body_hash) {
        co_return refused(Errc::conflict,
                          "this Idempotency-Key was used with another body within 24 hours; use a new one",
                          "idempotency-conflict");
      }
      auto job = impl.job(caller, (*earlier)->job);
      if (!job) co_return std::move(job).error();
      co_return Submitted{.job = std::move(*job), .replayed = true};
    }
  }
  const auto idempotency_key = submission.idempotency_key;
  const std::string body_hash = submission.body_hash;
  auto prepared = impl.prepare(caller, std::move(submission));
  if (!prepared) co_return std::move(prepared).error();

  const auto row = prepared->row;
  if (!key.empty()) {
    prepared->key = store::write::AddIdempotency{.user = caller.user,
                                                 .key = *idempotency_key,
                                                 .body_hash = body_hash,
                                                 .job = row->id,
                                                 .at = row->submitted_at};
    impl.pending_keys.insert(key);
  }
  impl.pending_ids.insert(row->id);
  const std::function<void(Impl::Durable)> begin = [&](Impl::Durable done) {
    impl.shell.submit(std::move(*prepared), std::move(done));
  };
  auto durable = co_await impl.durable(begin);
  impl.pending_ids.erase(row->id);
  if (!key.empty()) {
    impl.pending_keys.erase(key);
    impl.key_waiters.wake(key);
  }
  if (!durable) co_return std::move(durable).error();
  ++impl.shell.submitted;
  auto job = impl.job(caller, row->id);
  if (!job) co_return std::move(job).error();
  co_return Submitted{.job = std::move(*job)};
}

}  // namespace ebb::daemon
