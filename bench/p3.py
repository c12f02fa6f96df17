"""P3: `kill -9` of the client, the keeper or the job's leader → all of its tree is gone and verified, its report on disk.

A tree of 100 processes, which end by SIGTERM; then one that ignores it, with no grace period. And the end of 500
processes that ignore SIGTERM beside what the kernel alone takes for as many: `cgroup.kill`, until the group is empty.
"""

import os
import pathlib
import signal
import subprocess
import time

import lib

# The leader counts; they all inherit what it ignores.
TREE = 'i=1; while [ $i -lt {count} ]; do sleep 1000 & i=$((i+1)); done; echo ready; wait; sleep 1000'


def tree(count, stubborn):
    return ["sh", "-c", ('trap "" TERM; ' if stubborn else "") + TREE.format(count=count)]


class Job:
    """An attached job of `count` processes, all there."""

    def __init__(self, daemon, count, stubborn):
        grace = ["--grace", "0s"] if stubborn else []
        self.client = daemon.popen("run", "-q", *grace, "--", *tree(count, stubborn), stderr=subprocess.DEVNULL)
        if self.client.stdout.readline() != "ready\n":
            raise lib.Unmeasured("the job did not start")
        job = daemon.http("GET", "/v1/jobs?state=running").json["items"][0]
        self.id, self.leader = job["id"], job["pid"]
        self.keeper = int(pathlib.Path(f"/proc/{self.leader}/stat").read_text().rsplit(")", 1)[1].split()[1])
        if pathlib.Path(f"/proc/{self.keeper}/comm").read_text() == "ebb-init\n":
            self.keeper = int(pathlib.Path(f"/proc/{self.keeper}/stat").read_text().rsplit(")", 1)[1].split()[1])
        # An event is told when it is on disk, and with it the report.
        self.stream = daemon.connect(timeout=60)
        self.stream.request("GET", "/v1/events")
        self.events = self.stream.getresponse()

    def end_ms(self, strike):
        start = time.monotonic_ns()
        strike(self)
        while not self.has_ended(self.events.readline()):
            pass
        took = (time.monotonic_ns() - start) / 1e6
        self.client.kill()
        self.client.communicate()
        self.stream.close()
        return took

    def has_ended(self, line):
        if not line:
            raise lib.Unmeasured("the events ended")
        return b'"job.ended"' in line and self.id.encode() in line


STRIKES = {
    "client": lambda job: job.client.kill(),
    "keeper": lambda job: os.kill(job.keeper, signal.SIGKILL),
    "leader": lambda job: os.kill(job.leader, signal.SIGKILL),
}


def checked(daemon, job, took):
    report = daemon.report(job.id)
    if not report["complete"]:
        raise lib.Unmeasured(f"not everything was released: {report}")
    return took


def own_group():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            own = [line for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
            return pathlib.Path(line.split()[4] + own[0][3:])
    raise lib.Unmeasured("there is no cgroup v2 here")


def kernel_ms(count):
    """cgroup.kill of as many processes, until the group says that it is empty."""
    group = own_group() / f"ebb-bench-{os.getpid()}"
    group.mkdir()
    try:
        def enter():
            (group / "cgroup.procs").write_text(str(os.getpid()))
        shell = subprocess.Popen(tree(count, True), stdout=subprocess.PIPE, text=True, preexec_fn=enter)
        shell.stdout.readline()
        start = time.monotonic_ns()
        (group / "cgroup.kill").write_text("1")
        while "populated 1" in (group / "cgroup.events").read_text():
            pass
        took = (time.monotonic_ns() - start) / 1e6
        shell.communicate()
        return took
    finally:
        group.rmdir()


def measure(_row, runs):
    with lib.daemon() as daemon:
        for stubborn in (False, True):
            took = {name: [] for name in STRIKES}
            for _ in range(runs):
                for name, strike in STRIKES.items():
                    job = Job(daemon, 100, stubborn)
                    took[name].append(checked(daemon, job, job.end_ms(strike)))
            what = "TERM ignored, grace 0" if stubborn else "ended by TERM"
            for name, all_of_it in took.items():
                yield lib.result("P3", f"kill -9 of the {name} → 100 processes, {what}, verified free",
                                 lib.median(all_of_it), "ms", runs, goal="≤ 50 ms", held=lib.median(all_of_it) <= 50,
                                 worst=max(all_of_it))
        ours, kernels = [], []
        for _ in range(runs):
            job = Job(daemon, 500, True)
            ours.append(checked(daemon, job, job.end_ms(STRIKES["client"])))
            kernels.append(kernel_ms(500))
        yield lib.result("P3", "kill -9 of the client → 500 processes verified free, beside cgroup.kill alone",
                         lib.median(ours), "ms", runs, lib.median(kernels), goal="ratio ≤ 2",
                         held=lib.median(ours) <= 2 * lib.median(kernels), worst=max(ours))
