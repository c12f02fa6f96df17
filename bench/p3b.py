"""P3b: a daemon is killed with 200 jobs that run and 10,000 that wait, and started again → it answers, and has taken all
200 over: each keeper is connected with it.

P4b: the same with one that runs and 100,000 that wait → it answers.
"""

import os
import pathlib
import threading
import time

import lib


def queue(daemon, count):
    """Submits as many jobs that wait, over several connections."""
    share, workers = divmod(count, 16)

    def submit(many):
        connection = daemon.connect(timeout=120)
        for _ in range(many):
            answer = daemon.http("POST", "/v1/jobs", {"command": ["true"], "gpus": 1, "workdir": "/"},
                                 connection=connection)
            if answer.status != 201:
                failures.append(answer)
                return
        connection.close()

    failures = []
    threads = [threading.Thread(target=submit, args=(share + (number < workers),)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise lib.Unmeasured(f"a submission was refused: {failures[0]!r}")


def keepers_connected(pid):
    """The daemon's connected sequential-packet sockets: one for each keeper, and that of the nursery."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(link))
        except OSError:
            pass
    connected = 0
    for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        connected += words[4:6] == ["0005", "03"] and f"socket:[{words[6]}]" in inodes
    return connected


def restart_s(daemon, keepers):
    """Seconds until it answers, and until this many keepers are connected."""
    daemon.kill()
    start = time.monotonic()
    daemon.start(deadline=120)
    answered = time.monotonic() - start
    while keepers_connected(daemon.process.pid) < keepers:
        if time.monotonic() - start > 120:
            raise lib.Unmeasured("not all keepers were taken over within 120 s")
    return answered, time.monotonic() - start


def restarts(daemon, runs, keepers):
    """Medians of both over a few restarts."""
    took = [restart_s(daemon, keepers) for _ in range(min(runs, 5))]
    return lib.median(one[0] for one in took), lib.median(one[1] for one in took), len(took)


def measure(_row, runs):
    with lib.daemon(config="[queue]\nmax_running = 300\n") as daemon:
        before = keepers_connected(daemon.process.pid)
        jobs = [daemon.submit(["sleep", "3600"], gpus=int(number == 0))["id"] for number in range(200)]
        for job in jobs:
            daemon.wait_state(job, "running")
        queue(daemon, 10_000)
        answering, adopted, count = restarts(daemon, runs, before + 200)
        for job in jobs:
            if daemon.job(job)["state"] != "running":
                raise lib.Unmeasured(f"a job did not survive: {daemon.job(job)}")
        yield lib.result("P3b", "kill -9 and start, 200 running and 10,000 queued → answering and adopted", adopted, "s",
                         count, goal="≤ 2 s", held=adopted <= 2, answering=answering)
    with lib.daemon(gpus="declared:1") as daemon:
        # One that runs, for which the others wait, is there at every start.
        daemon.wait_state(daemon.submit(["sleep", "3600"], gpus=1)["id"], "running")
        queue(daemon, 100_000)
        answering, _, count = restarts(daemon, runs, 0)
        yield lib.result("P4b", "kill -9 and start with 100,000 queued → answering", answering, "s", count,
                         goal="≤ 2 s", held=answering <= 2)
