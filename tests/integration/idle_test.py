"""A daemon that nobody needs sleeps, and what it waits for wakes it."""
import fcntl
import os
import pathlib
import socket
import time

import harness
from harness import wait_for


def wakeups(daemon):
    """How often the daemon's threads went to sleep until now."""
    process = pathlib.Path(f"/proc/{daemon.process.pid}")
    threads = sorted((process / "task").iterdir(), key=lambda task: int(task.name))
    # ThreadSanitizer's own thread, which it starts before main(), sleeps for 100 ms again and again.
    if "libtsan" in (process / "maps").read_text():
        del threads[1]
    total = 0
    for task in threads:
        for line in (task / "status").read_text().splitlines():
            if line.startswith(("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")):
                total += int(line.split()[1])
    return total


class Idle(harness.Case):
    def quiet(self, d):
        """Nothing happens for two seconds; tried until what was under way is over."""
        def still():
            before = wakeups(d)
            time.sleep(2)  # this is what is measured, not a wait for something
            return wakeups(d) == before
        wait_for(still, 20, "two seconds without a wake-up")

    def test_an_idle_daemon_does_not_wake_up(self):
        d = self.daemon(config='[history]\njobs = 2\nmin_age = "0s"\n')
        for _ in range(4):
            d.wait_state(d.submit(["true"], workdir="/", gpus=1)["id"])
        wait_for(lambda: len(d.http("GET", "/v1/jobs").json["items"]) == 2, what="the history is short")
        self.quiet(d)

    def test_a_running_and_a_queued_job_do_not_wake_it_up(self):
        d = self.daemon()
        job = d.submit(["sleep", "600"], workdir="/", gpus=4)["id"]
        d.wait_state(job, "running")
        d.submit(["true"], workdir="/", gpus=1)
        self.quiet(d)

    def test_a_device_that_somebody_else_holds_is_used_when_it_comes_free(self):
        d = self.daemon()
        path = d.state / "locks" / "gpu-declared-0"
        with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            job = d.submit(["true"], workdir="/", gpus=4)["id"]
            wait_for(lambda: d.http("GET", "/v1/devices").json["gpus"][0]["state"] == "outside", what="it is seen")
            self.assertEqual(d.job(job)["state"], "queued")
            others = d.submit(["true"], workdir="/", gpus=3)["id"]
            self.assertEqual(d.wait_state(others)["state"], "completed", "the queue goes on with the rest")
        self.assertEqual(d.wait_state(job)["state"], "completed")
        self.quiet(d)

    def test_a_device_that_nobody_waits_for_is_looked_at_when_somebody_asks(self):
        d = self.daemon()
        path = d.state / "locks" / "gpu-declared-0"
        port = d.http("GET", "/v1/devices").json["ports"][0]["port"]

        def states():
            devices = d.http("GET", "/v1/devices").json
            return devices["gpus"][0]["state"], devices["ports"][0]["state"]

        with (open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "a") as lock,
              socket.create_server(("127.0.0.1", port))):
            fcntl.flock(lock, fcntl.LOCK_EX)
            count = len(d.http("GET", "/v1/devices").json["ports"])
            job = d.submit(["true"], workdir="/", gpus=4, ports=count)["id"]
            wait_for(lambda: states() == ("outside", "outside"), what="it is seen")
            d.http("DELETE", f"/v1/jobs/{job}")
            self.assertEqual(states(), ("outside", "outside"))
        self.assertEqual(states(), ("free", "free"))

    def test_a_lock_that_can_never_be_taken_does_not_keep_it_busy(self):
        d = self.daemon()
        (d.state / "locks" / "gpu-declared-0").touch(mode=0o644)  # others could open it, so it is refused
        d.submit(["true"], workdir="/", gpus=4)
        wait_for(lambda: d.http("GET", "/v1/devices").json["gpus"][0]["state"] == "outside", what="it is seen")
        before = wakeups(d)
        time.sleep(3)
        self.assertLess(wakeups(d) - before, 200)


if __name__ == "__main__":
    harness.main()
