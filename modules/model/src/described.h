// Every API type, described once: JSON both ways, schemas and enum names all follow from these lines.
#pragma once

#include <boost/describe.hpp>

#include "ebb/model/api.h"

namespace ebb::model {

BOOST_DESCRIBE_ENUM(JobState, queued, starting, running, releasing, completed, failed, cancelled)
BOOST_DESCRIBE_ENUM(StopKind, completed, failed, start_failed, timeout, oom, cancelled, owner_lost, preempted,
                    daemon_stopped, dependency_failed, keeper_lost, reboot)
BOOST_DESCRIBE_ENUM(ReleaseKind, processes, gpu, port, ipc, ray, scratch, mount, service, sidecar)
BOOST_DESCRIBE_ENUM(Outcome, released, quarantined, failed)
BOOST_DESCRIBE_ENUM(DeviceState, free, leased, releasing, outside, quarantined, unknown)
BOOST_DESCRIBE_ENUM(BlockerKind, gpu, port, memory, limit, dependency, drain, outside, quarantined)

BOOST_DESCRIBE_STRUCT(StopReason, (), (kind, by, detail))
BOOST_DESCRIBE_STRUCT(Exit, (), (code, signal))
BOOST_DESCRIBE_STRUCT(Ready, (), (path, timeout_s))
BOOST_DESCRIBE_STRUCT(OwnerRequest, (), (lease_s))
BOOST_DESCRIBE_STRUCT(JobRequest, (),
                      (command, gpus, gpu_ids, ports, cpus, memory_bytes, time_s, grace_s, priority, name,
                       group, env, clean_env, workdir, ready, owner, log_limit_bytes, share_ipc, expand))
BOOST_DESCRIBE_STRUCT(OwnerView, (), (lease_s, connected))
BOOST_DESCRIBE_STRUCT(Job, (),
                      (id, name, user, state, reason, spec, gpu_ids, ports, server_url, pid, attempt,
                       submitted_at, started_at, ended_at, exit, position, why, owner, tier, memory_enforced))
BOOST_DESCRIBE_STRUCT(JobList, (), (items, next_cursor))

BOOST_DESCRIBE_STRUCT(OutsideUse, (), (pid, user, mib))
BOOST_DESCRIBE_STRUCT(ReleaseRecord, (),
                      (kind, target, action, outcome, verified_by, count, took_ms, outside, error))
BOOST_DESCRIBE_STRUCT(Report, (),
                      (job, attempt, reason, exit, tier, started_at, stop_requested_at, released_at, complete,
                       releases))

BOOST_DESCRIBE_STRUCT(Gpu, (), (id, uuid, name, state, job, user, why, outside, memory_mib, numa_node))
BOOST_DESCRIBE_STRUCT(Port, (), (port, state, job, user, why))
BOOST_DESCRIBE_STRUCT(Devices, (), (gpus, ports))

BOOST_DESCRIBE_STRUCT(Holder, (), (job, user, gpus))
BOOST_DESCRIBE_STRUCT(Blocker, (), (kind, need, free, held_by, text))
BOOST_DESCRIBE_STRUCT(Why, (), (state, position, blockers))
BOOST_DESCRIBE_STRUCT(Event, (), (seq, at, type, job, user, state, detail))
BOOST_DESCRIBE_STRUCT(User, (), (user_id, name, created_at, admin, templates_only, account, revoked_at))
BOOST_DESCRIBE_STRUCT(UserList, (), (items))
BOOST_DESCRIBE_STRUCT(UserRequest, (), (name, admin, templates_only, account))
BOOST_DESCRIBE_STRUCT(UserKey, (), (user, api_key))
BOOST_DESCRIBE_STRUCT(Problem, (), (type, title, status, detail, pointer))

}  // namespace ebb::model
