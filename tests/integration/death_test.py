"""What becomes of a job when one of the processes around it dies, stops, or is replaced, as far as the fault matrix
(tests/faults) does not tell: clients past their leases, upgrades, ebb-nvml, other boots, and numbers of processes that are
strangers' by now."""
import os
import shutil
import signal
import sqlite3
import subprocess
import unittest

import harness
import hostile
from harness import wait_for

COUNT = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo $i; sleep 0.01; done; exit 7"
COUNTED = "".join(f"{i}\n" for i in range(1, 401))


class Client(harness.Case):
    def test_stopped_past_its_lease_it_counts_as_dead(self):
        d = self.daemon()
        for over in ("socket", "tcp"):
            with self.subTest(over):
                env = {} if over == "socket" else {"EBB_SERVER": f"http://127.0.0.1:{d.port}",
                                                   "EBB_API_KEY": d.add_user("far")}
                run = d.popen("run", "--owner-lease", "1s", "--gpus", "1", "--workdir", "/", "--", "sleep", "1000", env=env)
                self.addCleanup(run.communicate)
                self.addCleanup(run.kill)
                job = wait_for(lambda: next(iter(d.http("GET", "/v1/jobs?state=running").json["items"]), None))["id"]
                run.send_signal(signal.SIGSTOP)
                ended = d.wait_state(job)
                self.assertEqual((ended["state"], ended["reason"]["kind"]), ("cancelled", "owner_lost"))
                self.assertTrue(d.report(job)["complete"])
                self.assertIsNone(run.poll())
                run.send_signal(signal.SIGCONT)
                _, said = run.communicate(timeout=30 * harness.PATIENCE)
                self.assertEqual(run.returncode, 143, said)
                self.assertIn("owner_lost", said)


# In the place of ebb-keeper: takes the first request, starts what a keeper would have started, and dies before it says
# so.
DYING_NURSERY = """#!/usr/bin/python3
import os, socket, sys
channel = socket.socket(fileno=int(sys.argv[1].split(":")[1]))
packet, descriptors, _, _ = socket.recv_fds(channel, 4096, 253)
job, attempt = packet[4:].decode().split(".")
until_it_executes, held = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.closerange(3, held)
    os.closerange(held + 1, 1024)
    os.execve("/bin/sleep", ["sleep", "1000"], {"EBB_JOB_ID": job, "EBB_ATTEMPT": attempt})
os.close(held)
os.read(until_it_executes, 1)  # before that it has no marker, by which alone the daemon could find it
"""


class Nursery(hostile.Case):
    def test_killed_before_it_could_answer_nothing_of_the_job_stays(self):
        d = hostile.Daemon(self, "subreaper")
        self.addCleanup(self._end, d)
        (d.programs / "ebb-keeper").unlink()
        (d.programs / "ebb-keeper").write_text(DYING_NURSERY)
        (d.programs / "ebb-keeper").chmod(0o755)
        d.start()
        job = d.submit(["true"], gpus=1)["id"]
        ended = d.wait_state(job)
        self.assertEqual(ended["reason"]["kind"], "start_failed", ended)
        report = d.report(job)
        self.assertTrue(report["complete"], report)
        processes = next(one for one in report["releases"] if one["kind"] == "processes")
        self.assertEqual(processes["verified_by"], "no process has its marker", report)
        wanted = f"EBB_JOB_ID={job}".encode()
        left = [one for one in hostile.census.processes()
                if wanted in hostile.census._read(f"/proc/{one.pid}/environ").split(b"\0")]
        self.assertEqual(left, [])


class Upgrade(harness.Case):
    """`ebb serve --on-stop keep`, then another program in another place, where the keepers' is no more."""

    def serve_from(self, d, programs):
        words = harness.Daemon.command(d)
        d.command = lambda: [str(programs / "ebb"), *words[1:]]

    def test_it_ends_no_job_and_no_client_loses_a_byte(self):
        old, new = self.folder(), self.folder()
        harness.copy_programs(old)
        harness.copy_programs(new)
        d = harness.Daemon(start=False, args=["--on-stop", "keep"])
        self.addCleanup(self._end, d)
        self.serve_from(d, old)
        d.start()
        run = d.popen("run", "--gpus", "1", "--", "sh", "-c", COUNT)
        self.addCleanup(run.communicate)
        self.addCleanup(run.kill)
        detached = d.submit(["sh", "-c", COUNT], gpus=1)["id"]
        pids = {job["id"]: job["pid"] for job in wait_for(
            lambda: (lambda jobs: jobs if len(jobs) == 2 else None)(d.http("GET", "/v1/jobs?state=running").json["items"]))}
        waits = d.submit(["true"], gpus=4)["id"]
        self.assertEqual(d.stop(), 0, d.output())
        shutil.rmtree(old)
        self.serve_from(d, new)
        d.start()
        for job, pid in pids.items():
            wait_for(lambda: d.job(job)["pid"] == pid, what="its keeper's answer")
        self.assertIn("of 2 jobs that an earlier daemon had begun: 2 taken over", d.output())
        out, said = run.communicate(timeout=60 * harness.PATIENCE)
        self.assertEqual((run.returncode, out), (7, COUNTED), said)
        self.assertEqual(d.wait_state(detached)["exit"], {"code": 7, "signal": None})
        self.assertEqual(d.http("GET", f"/v1/jobs/{detached}/logs").body.decode(), COUNTED)
        self.assertEqual(d.wait_state(waits)["state"], "completed")
        for job in pids:
            self.assertEqual((d.job(job)["attempt"], d.report(job)["complete"]), (1, True))
        self.assertEqual(d.ebb("audit").returncode, 0)


class Driver(harness.Case):
    """ebb-nvml, with the stand-in driver."""

    def gpu_daemon(self):
        table = self.folder() / "gpus"
        table.write_text("".join(f"gpu {n} uuid=GPU-death-{os.getpid()}-{n}\n" for n in (0, 1)))
        return self.daemon(gpus="auto", config='[jobs]\ngpu_release_timeout = "1s"\n', env={
            "EBB_NVML_LIBRARY": str(harness.BIN.parent / "nvml-stub/libnvidia-ml.so.1"), "EBB_NVML_STUB": str(table)})

    def helper(self, d):
        found = subprocess.run(["pgrep", "-P", str(d.process.pid), "ebb-nvml"], capture_output=True, text=True).stdout
        return int(found) if found else None

    def test_killed_it_is_replaced(self):
        d = self.gpu_daemon()
        for _ in range(3):
            job = d.submit(["sleep", "1000"], gpus=2)["id"]
            d.wait_state(job, "running")
            killed = wait_for(lambda: self.helper(d), what="ebb-nvml")
            os.kill(killed, signal.SIGKILL)
            d.http("DELETE", f"/v1/jobs/{job}?wait=30s&grace=0s")
            self.assertTrue(d.report(job)["complete"])
            self.assertNotEqual(self.helper(d), killed)

    def test_stopped_it_delays_nobody_and_costs_the_gpus_that_it_was_to_verify(self):
        d = self.gpu_daemon()
        job = d.submit(["sleep", "1000"], gpus=1)["id"]
        gpu = d.wait_state(job, "running")["gpu_ids"][0]
        helper = wait_for(lambda: self.helper(d), what="ebb-nvml")
        os.kill(helper, signal.SIGSTOP)
        try:
            self.assertEqual(d.wait_state(d.submit(["true"])["id"])["state"], "completed")
            answer = d.http("DELETE", f"/v1/jobs/{job}?wait=10s&grace=0s")
            self.assertEqual(answer.status, 200, "the decision is bounded")
            self.assertFalse(answer.json["complete"])
            self.assertEqual(d.http("GET", "/v1/devices").json["gpus"][gpu]["state"], "quarantined")
        finally:
            try:
                os.kill(helper, signal.SIGCONT)
            except ProcessLookupError:
                pass  # it was replaced
        self.assertEqual(d.wait_state(d.submit(["true"], gpus=2)["id"])["state"], "completed")


class Recovery(hostile.Case):
    def dead_keeper(self, tier):
        """A daemon that is not there, nor is anything of its job's: (daemon, job)."""
        d = self.hostile_daemon(tier)
        job, _ = self.start(d, "open(os.environ['EBB_SCRATCH'] + '/file', 'w').close()\nup()\nrest()\n")
        keeper, leader = d.keeper_of(job), d.job(job)["pid"]
        d.kill()
        os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{leader}"), what="the leader's end")
        return d, job

    def rewrite(self, d, what, *values):
        with sqlite3.connect(d.state / "ebb.db") as database:
            self.assertGreater(database.execute(f"UPDATE attempts SET {what}", values).rowcount, 0)
        database.close()

    @hostile.needs_root
    def test_another_boot_settles_everything_as_reboot(self):
        d, job = self.dead_keeper("cgroup+pidns")
        self.rewrite(d, "boot_id = ?", "00000000-0000-0000-0000-000000000000")
        d.start()
        self.assertIn("of 1 job that an earlier daemon had begun: 1 gone with an earlier boot", d.output())
        ended = d.wait_state(job)
        self.assertEqual((ended["state"], ended["exit"]), ("failed", {"code": None, "signal": None}))
        self.assertEqual(d.ebb("wait", job).returncode, 125)
        self.check_released(d, job, "reboot")
        self.assertEqual(list((d.dir / "scratch").iterdir()), [])
        self.check_gone(d)

    @hostile.needs_root
    def test_a_stranger_with_the_leaders_number_is_left_alone(self):
        for tier in hostile.PLACES:
            with self.subTest(tier):
                d, job = self.dead_keeper(tier)
                stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                self.addCleanup(stranger.wait)
                self.addCleanup(stranger.kill)
                self.rewrite(d, "pid = ?", stranger.pid)
                d.start()
                self.check_released(d, job, "keeper_lost")
                self.assertIsNone(stranger.poll())
                self.check_gone(d)


if __name__ == "__main__":
    harness.main()
