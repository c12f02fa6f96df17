#include "kept_tree.h"

#include "ebb/model/json.h"
#include "ebb/process/keeper_lock.h"
#include "ebb/process/proc.h"

namespace ebb::daemon {

KeptTree::KeptTree(Context& context, AttemptId id, std::shared_ptr<AttemptProcesses> processes, Calls calls)
    : context_(context),
      id_(id),
      tier_(process::tier_text(context.containment.tiers())),
      folder_(context.attempt_folder(id).string()),
      processes_(std::move(processes)),
      calls_(std::move(calls)),
      keeper_(context.io,
              {.said = [this](process::KeeperEvent event) { handle(std::move(event)); },
               .handed_locks = [this](std::vector<UniqueFd> locks) { calls_.handed_locks(std::move(locks)); },
               .lost = [this](KeeperSession::Loss how) { lost(how); },
               .foreign = [this](const std::string& why) { foreign(why); }}) {}

void KeptTree::begin(process::StartedKeeper keeper) {
  keeper_pid_ = keeper.pid;
  keeper_.begin(std::move(keeper));
}

void KeptTree::close() {
  lost_.reset();
  arrival_.reset();
  keeper_.close();
}

// ---- what the keeper says

void KeptTree::handle(process::KeeperEvent event) {
  if (const auto* started = std::get_if<process::Started>(&event)) {
    know_init(started->init_pid);
    processes_->led_by(started->leader_pid);
    calls_.started(started->leader_pid, started->at.boot);
  } else if (const auto* welcome = std::get_if<process::Welcome>(&event)) {
    welcomed(*welcome);
  } else if (auto* ended = std::get_if<process::Ended>(&event)) {
    over(std::move(ended->record));
  }
}

void KeptTree::welcomed(const process::Welcome& welcome) {
  keeper_pid_ = welcome.keeper_pid;
  if (!welcome.tier.empty()) tier_ = welcome.tier;
  know_init(welcome.init_pid);
  processes_->led_by(welcome.leader_pid);
  using Phase = process::KeeperPhase;
  const bool lives = welcome.phase == Phase::running || (welcome.phase == Phase::ending && welcome.started);
  // A Welcome that answers a stop says nothing new.
  if (!lives || welcome.leader_pid == 0 || asked_) return;
  calls_.started(welcome.leader_pid, welcome.started ? std::optional(welcome.started->boot) : std::nullopt);
}

// By its number only as long as it is the keeper's child: after that, the number may be a stranger's.
void KeptTree::know_init(pid_t init) {
  if (init == 0) return;
  auto pidfd = process::open_pidfd(init);
  const auto stat = process::read_proc_stat(init);
  if (pidfd && stat && stat->ppid == keeper_pid_ && process::pidfd_alive(pidfd->get())) {
    init_pidfd_ = std::move(*pidfd);
  }
}

void KeptTree::stop(const model::StopReason& reason, Duration grace) {
  if (end_ || !keeper_.linked()) return;  // that it is lost has been told, or will be
  if (!asked_) asked_ = reason;
  const std::string text = model::json_text(reason).substr(0, process::EndRecord::kMaxReason);
  keeper_.stop(process::Stop{.reason = text, .grace = grace}, context_.config.jobs.kill_timeout);
}

void KeptTree::disown() {
  disowned_ = true;
  keeper_.disown();
}

// ---- the end

void KeptTree::assume(process::EndRecord record) {
  end_ = std::move(record);
  processes_->ended(*end_);
}

// By the keeper's word, or by what the daemon found where `loss` says how the keeper was lost.
void KeptTree::over(process::EndRecord record, const std::optional<KeeperLoss>& loss) {
  const bool known = end_.has_value();
  if (known && end_->complete) return;  // told by both
  assume(std::move(record));
  keeper_.expect_nothing();
  if (!known) {
    calls_.ended(loss ? ended_by_loss(id_, *end_, *loss) : ended_by(id_, *end_));
  } else if (end_->complete) {
    calls_.emptied();
  }
}

void KeptTree::foreign(const std::string& why) {
  foreign_ = true;
  calls_.foreign_keeper(why);
  if (asked_) lost(KeeperSession::Loss::foreign);  // before it was known
}

void KeptTree::lost(KeeperSession::Loss how) {
  const bool known = end_ && end_->complete;
  // It may live all the same, stopped or without its connection, and would go on holding the locks.
  const bool may_live = !keeper_.reaped() && (!known || how != KeeperSession::Loss::exited);
  if (!known) processes_->remember();  // with the keeper its leader dies
  if (may_live) kill_keeper();
  foreign_ = false;
  if (!known) {
    calls_.no_keeper();  // it may have handed nothing over; comes again when one that was killed is gone
    // What it wrote before it went counts.
    if (auto record = process::read_end_record(folder_); record && record->complete) {
      over(std::move(*record));
    } else {
      kill({.how = how, .seen = context_.clock.boot(), .asked = asked_});
    }
  }
  if (!keeper_.present()) calls_.keeper_gone();
}

void KeptTree::kill_keeper() {
  if (!keeper_.kill()) process::kill_keeper(folder_);
}

void KeptTree::kill(KeeperLoss loss) {
  if (lost_) return;
  hunt([this, loss = std::move(loss)](process::EndRecord record) { over(std::move(record), loss); });
}

void KeptTree::begin_unknown(const std::string& why) {
  hunt([this, why](process::EndRecord record) {
    record.cause = process::EndCause::start_failure;
    record.start_failure = process::StartFailure{.exit_code = 125, .message = why};
    over(std::move(record));
  });
}

// Ends the tree without its keeper. `done` comes again when what had outlived the kill is gone.
void KeptTree::hunt(std::function<void(process::EndRecord)> done) {
  LostTree::Tree tree{.attempt = id_,
                      .cgroup = processes_->cgroup(),
                      .init = std::move(init_pidfd_),
                      .leader = processes_->leader()};
  lost_.emplace(context_, std::move(tree), context_.config.jobs.kill_timeout,
                [this, done = std::move(done)](bool empty, const std::string& how) {
                  if (end_ && !empty) return;  // the keeper had told of these survivors
                  process::EndRecord record = killed_by_daemon(id_, tier_, empty, how);
                  if (!empty) record.survivors = processes_->find();
                  if (record.survivors.size() > process::EndRecord::kMaxSurvivors)
                    record.survivors.resize(process::EndRecord::kMaxSurvivors);
                  done(std::move(record));
                });
}

// ---- recovery

std::string_view KeptTree::take_up(model::JobState state) {
  Remains remains = find_remains(context_, id_);
  const std::string_view words = in_words(remains);
  settle(std::move(remains), state);
  return words;
}

bool KeptTree::take_up_lingering() {
  process::EndRecord record = killed_by_daemon(id_, tier_, false, {});
  if (auto link = process::KeeperLink::connect(folder_)) {
    assume(std::move(record));  // until it says better
    keeper_.begin(std::move(*link));
    return true;
  }
  if (const auto end = process::read_end_record(folder_); end && end->complete) return false;
  // Looked for anew: the numbers that the end record has may be strangers' by now.
  record.survivors = processes_->find();
  if (record.survivors.empty()) return false;
  assume(std::move(record));
  kill({.how = KeeperSession::Loss::exited, .seen = context_.clock.boot(), .asked = {}});
  return true;
}

void KeptTree::settle(Remains remains, model::JobState state) {
  using Loss = KeeperSession::Loss;
  if (auto* living = std::get_if<LivingKeeper>(&remains)) {
    keeper_.begin(std::move(living->link));
    if (disowned_) keeper_.disown();
    return;
  }
  const bool coming = std::holds_alternative<ComingKeeper>(remains);
  if (coming && !arrival_) {
    arrival_ = std::make_unique<KeeperArrival>(
        context_.io, folder_, KeeperSession::kAnswerTimeout,
        [this, state](std::optional<process::KeeperLink> link) {
          Remains found = link ? Remains(LivingKeeper{std::move(*link)}) : find_remains(context_, id_);
          settle(std::move(found), state);
          arrival_.reset();
        });
    return;
  }
  calls_.no_keeper();
  const bool never = std::holds_alternative<NeverBegan>(remains);
  if (auto* ended = std::get_if<TreeEnded>(&remains)) {
    over(std::move(ended->record));
  } else if (never && state == model::JobState::starting) {
    calls_.never_began();
  } else if (never && state == model::JobState::releasing) {
    over(never_started(id_));
  } else {
    lost(coming ? Loss::unanswered : Loss::exited);
  }
}

}  // namespace ebb::daemon
