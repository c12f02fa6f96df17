"""The named moments of a job's life, each as something that can be seen from outside.

A moment is a system call (or a fork, or an exec) of one of the product's processes, as `stop_at` writes it. The thread
that makes the last call of the list is held there while the signals are sent.

Generations count from the daemon. Tracing begins before the job is submitted in phase `start`: 1 is what the daemon
forks (the nursery that forks keepers, ebb-nvml), 2 the keeper, 3 the namespace's init (in tiers without one the leader),
4 the leader. In the phases `stop` and `end` it begins when the job runs, and what counts is the parent, which of a
keeper is the daemon: so 1 is the keeper as well, 2 the init, 3 the leader.
"""
import dataclasses

# What has to happen for the moment to come: nothing (`start`), nothing any more (`run`), a stop that is asked for
# (`stop`), the job's own end (`end`).
PHASES = ("start", "run", "stop", "end")


@dataclasses.dataclass(frozen=True)
class Transition:
    name: str
    phase: str
    roles: tuple            # whose processes live then, and so can be a fault's victim
    moments: tuple          # for stop_at; () where the daemon's answer tells ("running")
    plain: tuple = None     # the same in tiers without a PID namespace, where it differs
    by_group: tuple = None  # the same with a cgroup alone, where that differs
    tree: str = "deep"      # what the job leaves beside itself (marked_job.cc)

    def in_tier(self, tier):
        if "pidns" in tier:
            return self.moments
        if "cgroup" in tier and self.by_group is not None:
            return self.by_group
        return self.moments if self.plain is None else self.plain


_submitted = ("0:recvfrom:exit:data=POST /v1/jobs ",)
_written = "0:fdatasync:exit:path=ebb.db-wal"
_reported = ("0:pwrite64:exit:path=ebb.db-wal:data=verified_by", _written)
_always = ("client", "daemon", "nvml", "side", "sidekeeper")
_started = (*_always, "nursery", "keeper")
_living = (*_started, "init", "leader")

TRANSITIONS = (
    # the daemon has read the request
    Transition("submitted", "start", _always, _submitted),
    # the job is on disk, and nobody was told yet
    Transition("persisted", "start", _always, (*_submitted, _written)),
    # the keeper is forked, and has done nothing yet
    Transition("keeper-started", "start", _started, ("2:born",)),
    # the init (without a namespace: the leader) exists, and would outlive its keeper
    Transition("unarmed", "start", (*_started, "init"), ("3:prctl:enter:arg0=1",)),
    # the leader has executed
    Transition("spawned", "start", _living, ("4:exec",), plain=("3:exec",)),
    # the daemon has read the job's answer, and has not acted on it
    Transition("ready", "start", _living, ("0:recvfrom:exit:data=HTTP/1.1 200 OK",)),
    Transition("running", "run", _living, ()),
    # the stop is on disk, and about to be sent to the keeper
    Transition("stop-asked", "stop", _living, ("0:sendto:enter:first=2",)),
    Transition("term-sent", "stop", (*_started, "init"), ("2:kill:exit:arg1=15",),
               plain=("1:pidfd_send_signal:exit:arg1=15",), tree="stubborn"),
    Transition("killed", "stop", _started, ("1:pidfd_send_signal:exit:arg1=9",),
               by_group=("1:write:exit:path=cgroup.kill",), tree="stubborn"),
    # the tree's end is known, and ebb-nvml has answered for its GPUs
    Transition("gpu-verified", "end", _started, ("0:recvmsg:exit:first=68", "1:write:exit")),
    # the report is on disk, and nobody was told
    Transition("report-written", "end", _started, _reported),
    # the client has been told, and may have gone
    Transition("lease-freed", "end", ("daemon", "nvml", "nursery", "keeper"), (*_reported, "0:close:exit:path=/gpu-")),
)
BY_NAME = {one.name: one for one in TRANSITIONS}
