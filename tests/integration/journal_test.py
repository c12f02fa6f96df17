"""The database while the daemon is killed at each of its writes, on a disk that is slow, and with a log whose end the disk
has lost: no acknowledged job is lost or run twice, and `ebb serve` says what it found."""
import os
import select
import signal
import subprocess
import time
import unittest

import harness
from harness import wait_for

STOP_AT = str(harness.BIN.parent / "faults" / "stop_at")
BROKEN_FSYNC = str(harness.BIN.parent / "test-lib" / "broken_fsync.so")
LIVE = "/v1/jobs?state=queued,starting,running,releasing"


class Journal(harness.Case):
    """Jobs that tell a file of the test, by one write each, that they have run."""

    def ready(self, d):
        self.ran = d.dir / "ran"
        self.ran.touch()
        self.acknowledged = []
        return d

    def submit(self, d, *options):
        """`ebb submit`, under way. What it prints is the acknowledgement."""
        # Of those that ask for all GPUs no two may be there at a time.
        alone = f"exec 9>{d.dir}/alone; flock -n 9 || echo beside >>{self.ran}; " if options == ("--gpus", "4") else ""
        client = d.popen("submit", *options, "--", "sh", "-c", f"{alone}echo $EBB_JOB_ID >>{self.ran}")
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        return client

    def take_answers(self, clients):
        for client in clients:
            out, err = client.communicate(timeout=60 * harness.PATIENCE)
            self.assertIn((client.returncode, bool(out)), ((0, True), (1, False), (3, False)), err)
            self.acknowledged += out.split()

    def check_each_once(self, d):
        wait_for(lambda: not d.http("GET", LIVE).json["items"], what="the end of all jobs")
        ran = self.ran.read_text().split()
        self.assertNotIn("beside", ran)
        self.assertEqual(sorted(ran), sorted(set(ran)), "none is run twice")
        for job in {*self.acknowledged, *ran}:
            now = d.job(job)
            self.assertEqual((now["state"], now["attempt"]), ("completed", 1), now)
            self.assertTrue(d.report(job)["complete"])
        self.assertEqual(set(self.acknowledged) - set(ran), set(), "none is lost")


@unittest.skipUnless(os.getuid() == 0, "only root may trace a daemon that keeps others out")
class KilledBetweenWrites(Journal):
    def hold(self, d, nth):
        """Holds the daemon at the nth of its calls on the database's files, from now on: the tracer."""
        tracer = subprocess.Popen([STOP_AT, str(d.process.pid), f"0:any:enter:path=ebb.db:nth={nth}"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(tracer.stdout.close)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.stdin.close)
        self.assertEqual(tracer.stdout.readline(), b"armed\n")
        return tracer

    @staticmethod
    def hit(tracer, over):
        """Whether the moment has come, before `over()` and what follows at once."""
        while True:
            last = over()
            if select.select([tracer.stdout], [], [], 0.3 if last else 0.02)[0]:
                return True
            if last:
                return False

    def test_of_two_jobs_from_submission_to_report(self):
        d = self.ready(self.daemon(listen="none"))
        moments = 0
        while True:
            tracer = self.hold(d, moments + 1)
            clients = [self.submit(d, "--gpus", "4") for _ in range(2)]
            hit = self.hit(tracer, lambda: all(one.poll() is not None for one in clients)
                           and not d.http("GET", LIVE).json["items"])
            if hit:
                d.kill()
            tracer.stdin.close()
            tracer.wait()
            if not hit:
                self.take_answers(clients)
                break
            moments += 1
            d.start()
            self.take_answers(clients)
            self.check_each_once(d)
        self.check_each_once(d)
        self.assertGreater(moments, 20)

    def test_of_the_end(self):
        """The log is folded into the database, and removed."""
        d = self.ready(self.daemon(listen="none", args=["--on-stop", "keep"]))
        holder = d.submit(["sleep", "1000"], gpus=4)
        running = d.wait_state(holder["id"], "running")
        moments = 0
        while True:
            self.take_answers([self.submit(d, "--gpus", "1")])
            tracer = self.hold(d, moments + 1)
            d.signal(signal.SIGTERM)
            hit = self.hit(tracer, lambda: not d.alive())
            if hit:
                d.kill()
            tracer.stdin.close()
            tracer.wait()
            d.process.wait()
            d.start()
            wait_for(lambda: d.job(holder["id"])["pid"] == running["pid"], what="its keeper's answer")
            queued = [one["id"] for one in d.http("GET", "/v1/jobs?state=queued").json["items"]]
            self.assertEqual(sorted(queued), sorted(self.acknowledged))
            if not hit:
                break
            moments += 1
        self.assertGreater(moments, 5)
        d.http("DELETE", f"/v1/jobs/{holder['id']}?wait=30s")
        self.check_each_once(d)


class Slow(Journal):
    """Each sync takes 10 s."""

    def slow_daemon(self):
        d = harness.Daemon(start=False)
        self.flag = d.dir / "slow"
        d.env["EBB_TEST_FSYNC_SLOW"] = str(self.flag)
        d.env["LD_PRELOAD"] = BROKEN_FSYNC
        d.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.addCleanup(self._end, d)
        self.addCleanup(self.flag.unlink, missing_ok=True)
        return self.ready(d.start())

    def begin(self, d):
        self.flag.touch()
        client = self.submit(d)
        wait_for(lambda: self.flag.stat().st_size, what="the sync")
        return client

    def test_everything_else_answers_meanwhile(self):
        d = self.slow_daemon()
        job = d.submit(["sleep", "1000"], gpus=1)["id"]
        d.wait_state(job, "running")
        client = self.begin(d)
        began = time.monotonic()
        worst = 0
        while client.poll() is None:
            for path in ("/healthz", "/v1/jobs", f"/v1/jobs/{job}", "/v1/devices", "/metrics"):
                asked = time.monotonic()
                self.assertEqual(d.http("GET", path).status, 200)
                worst = max(worst, time.monotonic() - asked)
            time.sleep(0.05)
        took = time.monotonic() - began
        self.assertGreater(took, 8, "nothing was acknowledged before it was on the disk")
        self.assertLess(worst, took / 2, "nobody waited for the disk")
        self.flag.unlink()
        self.take_answers([client])
        self.assertEqual(len(self.acknowledged), 1)
        d.http("DELETE", f"/v1/jobs/{job}?wait=30s")
        self.check_each_once(d)

    def test_a_daemon_that_is_killed_meanwhile(self):
        d = self.slow_daemon()
        holder = d.submit(["sleep", "1000"], gpus=4)["id"]
        self.take_answers([self.submit(d, "--gpus", "1")])
        client = self.begin(d)
        d.kill()
        self.flag.unlink()
        d.start()
        self.take_answers([client])
        d.http("DELETE", f"/v1/jobs/{holder}?wait=30s")
        self.check_each_once(d)


class Tail(Journal):
    """What the disk has made of the log's end while no daemon had it."""

    def begun(self):
        """A daemon with jobs that have ended, run and wait; then killed. Its log's size before the last submission."""
        d = self.ready(self.daemon())
        self.take_answers([self.submit(d) for _ in range(3)])
        wait_for(lambda: not d.http("GET", LIVE).json["items"])
        self.running = d.wait_state(d.submit(["sleep", "1000"], gpus=4)["id"], "running")
        self.take_answers([self.submit(d, "--gpus", "4")])
        self.log = d.state / "ebb.db-wal"
        before = self.log.stat().st_size
        self.last = d.submit(["true"], gpus=4)["id"]
        d.kill()
        return d, before

    def check_rest(self, d):
        """All but what was lost is as it was."""
        wait_for(lambda: d.job(self.running["id"])["pid"] == self.running["pid"], what="its keeper's answer")
        d.http("DELETE", f"/v1/jobs/{self.running['id']}?wait=30s")
        self.assertTrue(d.report(self.running["id"])["complete"])
        self.check_each_once(d)

    def test_whole(self):
        d, _ = self.begun()
        d.start()
        self.assertRegex(d.output(), r"the database had not been closed: \d+ commits of its log taken in\n")
        self.assertRegex(d.output(), r"of 1 job that an earlier daemon had begun: 1 taken over\n")
        self.check_rest(d)
        self.assertEqual(d.wait_state(self.last)["state"], "completed")
        self.assertEqual(d.stop(), 0)
        said = len(d.output())
        d.start()
        self.assertNotRegex(d.output()[said:], "had not been closed|had begun")

    def test_torn_zeroed_and_cut_off(self):
        for name, damage in (("torn", lambda text, at: text[:at + 2000] + os.urandom(len(text) - at - 2000)),
                             ("zeros", lambda text, at: text[:at] + bytes(len(text) - at)),
                             ("cut off", lambda text, at: text[:at + (len(text) - at) // 2])):
            with self.subTest(name):
                d, before = self.begun()
                self.log.write_bytes(damage(self.log.read_bytes(), before))
                d.start()
                self.assertRegex(d.output(), r"\d+ commits of its log taken in; \d+ bytes at its end left out: ")
                self.assertEqual(d.http("GET", f"/v1/jobs/{self.last}").status, 404, "the disk has lost it")
                self.check_rest(d)

    def test_lost_with_all_that_the_jobs_were(self):
        """What nobody knows is ended."""
        d, _ = self.begun()
        self.log.unlink()
        d.start()
        self.assertEqual(d.http("GET", f"/v1/jobs/{self.running['id']}").status, 404)
        wait_for(lambda: not os.path.exists(f"/proc/{self.running['pid']}"), what="the end of the job that nobody knows")
        self.assertIn(f"ended {self.running['id']}.1, an attempt that the database does not know", d.output())
        self.assertEqual(d.wait_state(d.submit(["true"], gpus=4)["id"])["state"], "completed")
        wait_for(lambda: not list((d.state / "attempts").iterdir()), what="its folder to go")
        self.assertEqual(d.ebb("audit").returncode, 0)
        self.assertEqual(d.stop(), 0)

    def test_lost_with_the_beginning_of_a_job(self):
        """Of which nothing but the submission is known: it begins again, when nothing of it runs any more."""
        d = self.ready(self.daemon())
        holder = d.wait_state(d.submit(["sleep", "1000"], gpus=4)["id"], "running")["id"]
        alone = f"exec 9>{d.dir}/lock; flock -n 9 && echo alone >>{self.ran} || echo beside >>{self.ran}; sleep 1000"
        job = d.submit(["sh", "-c", alone], gpus=4, grace_s=0)["id"]
        log = d.state / "ebb.db-wal"
        before = log.stat().st_size
        d.http("DELETE", f"/v1/jobs/{holder}?wait=30s")
        wait_for(lambda: self.ran.read_text())
        d.kill()
        os.truncate(log, before)
        d.start()
        self.assertIn(f"ended {job}.1, an attempt that the database does not know", d.output())
        self.assertEqual(d.wait_state(holder)["reason"]["kind"], "keeper_lost")
        wait_for(lambda: self.ran.read_text().count("\n") == 2, what="its second beginning")
        self.assertEqual(self.ran.read_text(), "alone\nalone\n")
        d.http("DELETE", f"/v1/jobs/{job}?wait=30s")
        self.assertTrue(d.report(job)["complete"])
        self.assertEqual(d.ebb("audit").returncode, 0)


if __name__ == "__main__":
    harness.main()
