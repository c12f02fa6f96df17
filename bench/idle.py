"""What Ebb costs while nothing happens: the daemon's memory and wake-ups, a keeper's memory."""

import pathlib
import re
import time

import lib

SECONDS = 10


def switches(pid):
    """Context switches of all threads, of their own will or not: each wake-up is followed by at least one."""
    total = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", status.read_text()))
    return total


def private_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.MULTILINE))


def children(pid):
    return [int(word) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()]


def measure(_row, _runs):
    with lib.daemon(gpus="declared:4") as daemon:
        pid = daemon.process.pid
        # One job before: what a daemon that never did anything costs is of no interest.
        daemon.wait_state(daemon.submit(["/bin/true"])["id"])
        time.sleep(1)  # timers of that job's end
        before = switches(pid)
        time.sleep(SECONDS)
        wakeups = (switches(pid) - before) / SECONDS
        rss = int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024
        yield lib.result("idle-memory", "daemon's resident memory, idle", rss, "MiB", 1, goal="≤ 30",
                         held=rss <= 30)
        yield lib.result("idle-wakeups", f"daemon's context switches a second, idle for {SECONDS} s", wakeups, "/s", 1,
                         goal="0", held=wakeups == 0)

        job = daemon.submit(["/bin/sleep", "60"])["id"]
        daemon.wait_state(job, "running")
        # A keeper's command line names its attempt; the process that they are forked from is none of them.
        keepers = [child for child in children(pid)
                   if f"{job}.1" in pathlib.Path(f"/proc/{child}/cmdline").read_text()]
        if len(keepers) != 1:
            raise lib.Unmeasured(f"{len(keepers)} keepers among the daemon's children, not 1")
        inits = [private_kib(child) for child in children(keepers[0])]
        keeper = private_kib(keepers[0]) / 1024
        yield lib.result("keeper-memory", "a keeper's private memory", keeper, "MiB", 1, goal="≤ 2", held=keeper <= 2,
                         children=sum(inits) / 1024)
        daemon.ebb("cancel", job)
