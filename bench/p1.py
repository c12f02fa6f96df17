"""P1: cancel → processes gone and verified → the next queued job's first instruction.

One GPU, a line of jobs that each need it. The clock starts before the request is sent and stops in the next job's first
instruction. Limit: a bare loop that kills, waits and spawns, plus one durable commit. The peer's job is killed
directly, which spares it a client's start.
"""

import os
import signal
import time

import lib


def measure(runs):
    with lib.folder() as where, lib.daemon() as daemon:
        ours, bare_stamps, theirs = (lib.Stamps(where, name) for name in ("ebb", "bare", "tsp"))
        spooler = lib.Spooler(where, slots=1)
        database = lib.open_database(where)
        connection = daemon.connect()
        jobs = [daemon.submit(ours.command, gpus=1)["id"] for _ in range(runs + 1)]
        ours.next()
        for _ in range(runs + 1):
            spooler.run("-n", *theirs.command)
        _, their_pid = theirs.next()
        bare_pid = os.posix_spawn(bare_stamps.command[0], bare_stamps.command, {})
        bare_stamps.next()
        try:
            ebb, bare, commits, tsp = [], [], [], []
            for job in jobs[:runs]:
                start = time.monotonic_ns()
                connection.request("DELETE", f"/v1/jobs/{job}")
                ebb.append((ours.next()[0] - start) / 1e6)
                connection.getresponse().read()

                start = time.monotonic_ns()
                os.kill(bare_pid, signal.SIGTERM)
                os.waitpid(bare_pid, 0)
                bare_pid = os.posix_spawn(bare_stamps.command[0], bare_stamps.command, {})
                bare.append((bare_stamps.next()[0] - start) / 1e6)

                commits.append(lib.commit_ms(database))

                start = time.monotonic_ns()
                os.kill(their_pid, signal.SIGTERM)
                stamp, their_pid = theirs.next()
                tsp.append((stamp - start) / 1e6)
        finally:
            os.kill(bare_pid, signal.SIGKILL)
            os.waitpid(bare_pid, 0)
            os.kill(their_pid, signal.SIGKILL)
            spooler.close()
    limit = lib.median(bare) + lib.median(commits)
    yield lib.result("P1", "cancel → next job's first instruction", lib.median(ebb), "ms", runs, limit,
                     goal="ratio ≤ 2", held=lib.median(ebb) <= 2 * limit, peers={"task-spooler": lib.median(tsp)},
                     worst=max(ebb), bare=lib.median(bare), commit=lib.median(commits))
