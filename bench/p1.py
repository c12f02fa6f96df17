"""P1: cancel → processes gone and verified → the next queued job's first instruction.

One GPU, a line of jobs that each need it. The clock starts before the request is sent and stops in the next job's first
instruction. Limit: a bare loop that kills, waits and starts the next under a keeper, as contained as ours are, plus one
durable commit. `plain` is the same loop with bare processes, which contains nothing. The peer contains nothing either,
and its job is killed directly, which spares it a client's start.
"""

import os
import signal
import subprocess
import time

import lib


def measure(_row, runs):
    with lib.folder() as where, lib.daemon() as daemon:
        ours, bare_stamps, kept, theirs = (lib.Stamps(where, name) for name in ("ebb", "bare", "keeper", "tsp"))
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
        keepers = subprocess.Popen([lib.BIN / "keeper_loop", "switch", *kept.command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
        kept.next()
        try:
            ebb, bare, contained, commits, tsp = [], [], [], [], []
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

                keepers.stdin.write(b"\n")
                keepers.stdin.flush()
                start = int(keepers.stdout.readline())
                contained.append((kept.next()[0] - start) / 1e6)

                commits.append(lib.commit_ms(database))

                start = time.monotonic_ns()
                os.kill(their_pid, signal.SIGTERM)
                stamp, their_pid = theirs.next()
                tsp.append((stamp - start) / 1e6)
        finally:
            os.kill(bare_pid, signal.SIGKILL)
            os.waitpid(bare_pid, 0)
            os.kill(their_pid, signal.SIGKILL)
            keepers.communicate(timeout=20)
            spooler.close()
    limit = lib.median(contained) + lib.median(commits)
    yield lib.result("P1", "cancel → next job's first instruction", lib.median(ebb), "ms", runs, limit,
                     goal="ratio ≤ 2", held=lib.median(ebb) <= 2 * limit, peers={"task-spooler": lib.median(tsp)},
                     worst=max(ebb), contained=lib.median(contained), plain=lib.median(bare), commit=lib.median(commits))
