"""The daemon on disks that are full, broken, read-only, or hold somebody else's database. The disk is a small file
system of the daemon's own, in a mount namespace of its own."""
import os
import pathlib
import pty
import re
import shutil
import signal
import sqlite3
import subprocess

import harness
from harness import BIN, wait_for

BROKEN_FSYNC = str(BIN.parent / "test-lib" / "broken_fsync.so")


def keepers_of(job):
    """Pids of the keepers whose command line names the job."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if b"ebb-keeper" in words and job.encode() in words:
            found.append(int(entry.name))
    return found


class OwnDisk(harness.Daemon):
    """A daemon whose state directory is a tmpfs that only it and its jobs see."""

    def __init__(self, size, **options):
        self.size = size
        super().__init__(start=False, **options)
        self.state.mkdir(mode=0o700)

    def command(self):
        unshare = ["unshare", "--mount", "--propagation", "private"]
        if os.getuid() != 0:
            unshare += ["--user", "--map-current-user", "--keep-caps"]
        mount = f'mount -t tmpfs -o size={self.size},mode=0700 none {self.state} && exec "$@"'
        return [*unshare, "sh", "-c", mount, "sh", *super().command()]

    def inside(self, *words, **options):
        """A command that sees the daemon's disk."""
        enter = ["nsenter", "-t", str(self.process.pid), "-m"]
        if os.getuid() != 0:
            enter += ["-U", "--preserve-credentials"]
        return subprocess.run([*enter, *map(str, words)], capture_output=True, text=True, **options)

    def fill(self):
        """Takes all the room that there is, to the last block."""
        for block in ("64k", "4k"):
            self.inside("sh", "-c", f"dd if=/dev/zero bs={block} >>{self.state}/filler")

    def make_room(self):
        self.inside("rm", self.state / "filler", check=True)


class Full(harness.Case):
    def full_daemon(self):
        d = OwnDisk("16m")
        self.addCleanup(self._end, d)
        return d.start()

    def refused(self, d):
        """Submits until the disk refuses one; that answer. The log of the database has a little room of its own."""
        for _ in range(500):
            answer = d.http("POST", "/v1/jobs", {"command": ["true"], "workdir": "/", "env": {"A": "x" * 20000}})
            if answer.status != 201:
                return answer
        raise AssertionError("the disk never became full")

    def test_a_full_disk_refuses_submissions_clearly_and_everything_else_answers(self):
        d = self.full_daemon()
        job = d.submit(["sleep", "600"], workdir="/")["id"]
        pid = d.wait_state(job, "running")["pid"]
        d.fill()
        answer = self.refused(d)
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("Retry-After", answer.headers)
        self.assertIn("full", answer.json["detail"])
        done = d.ebb("submit", "--env", "A=" + "x" * 20000, "--", "true")
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn("full", done.stderr)
        for path in ("/v1/jobs", f"/v1/jobs/{job}", f"/v1/jobs/{job}/why", "/v1/devices", "/healthz", "/metrics"):
            self.assertEqual(d.http("GET", path).status, 200, path)
        os.kill(pid, 0)  # it goes on

    def test_a_refused_job_has_been_given_nothing_and_never_runs(self):
        d = self.full_daemon()
        holder = d.submit(["sleep", "600"], workdir="/", gpu_ids=[0])["id"]
        d.wait_state(holder, "running")
        d.fill()
        ran = pathlib.Path(self.folder()) / "ran"
        for _ in range(500):  # they queue, until the log of the database has no room left
            if d.http("POST", "/v1/jobs", {"command": ["true"], "workdir": "/", "gpu_ids": [0]}).status != 201:
                break
        # This one could start at once, so its lease was to be recorded with it.
        request = {"command": ["touch", str(ran)], "workdir": "/", "gpu_ids": [1], "name": "refused"}
        answer = d.http("POST", "/v1/jobs", request)
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("full", answer.json["detail"])
        self.assertEqual(d.http("GET", "/v1/devices").json["gpus"][1]["state"], "free")
        d.make_room()
        after = d.submit(["true"], workdir="/", gpu_ids=[1])["id"]
        self.assertEqual(d.wait_state(after)["state"], "completed")
        self.assertEqual(d.http("GET", "/v1/jobs?name=refused").json["items"], [])
        self.assertFalse(ran.exists())

    def test_what_ends_meanwhile_is_kept_and_written_when_there_is_room(self):
        d = self.full_daemon()
        ids = [d.submit(["sleep", "600"], workdir="/", gpus=1)["id"] for _ in range(4)]
        for job in ids:
            d.wait_state(job, "running")
        waiting = d.submit(["true"], workdir="/", gpus=1)["id"]
        d.fill()
        self.refused(d)
        for job in ids:
            d.http("DELETE", f"/v1/jobs/{job}?grace=0s")
        wait_for(lambda: d.http("GET", "/readyz").status == 503, what="not ready while nothing can be written")
        answer = d.http("POST", "/v1/jobs", {"command": ["true"], "workdir": "/"})
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("full", answer.json["detail"])
        self.assertNotEqual(d.job(ids[0])["state"], "cancelled", "its report is on no disk")
        d.make_room()
        for job in ids:
            self.assertEqual(d.wait_state(job)["state"], "cancelled")
            self.assertTrue(d.report(job)["complete"])
        self.assertEqual(d.wait_state(waiting)["state"], "completed")
        wait_for(lambda: d.http("GET", "/readyz").status == 200, what="ready")
        self.assertEqual(d.wait_state(d.submit(["true"], workdir="/")["id"])["state"], "completed")

    def test_the_end_of_the_daemon_says_what_it_could_not_end(self):
        d = self.full_daemon()
        job = d.submit(["sleep", "600"], workdir="/")["id"]
        pid = d.wait_state(job, "running")["pid"]
        d.fill()
        self.refused(d)
        d.signal(signal.SIGTERM)
        self.assertEqual(d.process.wait(30), 1)
        self.assertRegex(d.output(), r"1 job has not ended.*stays with its keeper")
        self.assertNotIn("nothing is left behind", d.output())
        os.kill(pid, 0)
        # Its disk is nobody's any more, so no daemon can adopt it.
        for keeper in keepers_of(job):
            os.kill(keeper, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), what="the end of the job")

    def test_a_disk_that_is_full_at_the_start(self):
        d = OwnDisk("16k")
        self.addCleanup(self._end, d)
        with self.assertRaisesRegex(AssertionError, r"exit 1(.|\n)*(full|No space left)"):
            d.start()


class Broken(harness.Case):
    def broken_daemon(self, terminal=None, how="fails", **options):
        d = harness.Daemon(start=False, **options)
        self.flag = d.dir / f"fsync-{how}"
        d.env[f"EBB_TEST_FSYNC_{how.upper()}"] = str(self.flag)
        d.env["LD_PRELOAD"] = BROKEN_FSYNC
        d.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.addCleanup(self._end, d)
        self.addCleanup(self.flag.unlink, missing_ok=True)  # before the daemon's end
        return d.start(terminal=terminal)

    def lives(self, job):
        return job is not None and os.path.exists(f"/proc/{job['pid']}")

    def check_recovery(self, d, running, says="jobs stay with their keepers"):
        """The daemon has ended or ends, in time; its jobs have not. Then there is another one."""
        self.assertEqual(d.process.wait(30), 1)
        self.assertRegex(d.output(), says)
        self.assertNotIn("nothing is left behind", d.output())
        self.assertTrue(self.lives(running))
        self.flag.unlink()
        d.start()

    def check_adoption(self, d, running):
        d.wait_state(running["id"], "running")
        again = wait_for(lambda: (lambda job: job if job["pid"] else None)(d.job(running["id"])), what="its keeper's answer")
        self.assertEqual((again["pid"], again["attempt"]), (running["pid"], 1))
        d.http("DELETE", f"/v1/jobs/{running['id']}?wait=30s")
        self.assertTrue(d.report(running["id"])["complete"])

    def test_a_failed_fsync_at_a_submission_ends_the_daemon_and_no_job(self):
        d = self.broken_daemon()
        job = d.submit(["sleep", "600"], workdir="/", gpus=1)
        running = d.wait_state(job["id"], "running")
        self.flag.touch()
        refused = d.ebb("submit", "--", "true")
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(refused.stdout, "", "nobody was told that it was accepted")
        self.check_recovery(d, running)
        self.check_adoption(d, running)

    def test_a_disk_that_never_answers_again_does_not_hold_up_the_end(self):
        d = self.broken_daemon(how="hangs")
        running = d.wait_state(d.submit(["sleep", "600"], workdir="/", gpus=1)["id"], "running")
        d.add_user("bob")  # is confirmed when all before it is: what hangs is the write that says to stop
        self.flag.touch()
        d.signal(signal.SIGTERM)
        self.check_recovery(
            d, running, r"1 job has not ended.*has not taken a write to \S+/ebb.db within 15 s.*stays with its keeper")
        # That it was to stop had been written, only never confirmed; the next daemon reads it and ends the job.
        ended = d.wait_state(running["id"])
        self.assertEqual((ended["state"], ended["reason"]["kind"], ended["attempt"]), ("cancelled", "daemon_stopped", 1))
        self.assertTrue(d.report(running["id"])["complete"])

    def test_nor_one_that_hung_at_a_submission_while_jobs_are_kept(self):
        d = self.broken_daemon(how="hangs", args=["--on-stop", "keep"])
        running = d.wait_state(d.submit(["sleep", "600"], workdir="/", gpus=1)["id"], "running")
        self.flag.touch()
        client = d.popen("submit", "--", "true")
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        wait_for(lambda: self.flag.stat().st_size, what="the write that hangs")
        d.signal(signal.SIGTERM)
        self.check_recovery(d, running, r"could not be written down: .* within 15 s")
        self.check_adoption(d, running)

    def test_what_it_logs_has_no_colour_even_on_a_terminal(self):
        main, side = pty.openpty()
        self.addCleanup(os.close, main)
        d = self.broken_daemon(env={"TERM": "xterm-256color"}, terminal=side)
        os.close(side)
        self.flag.touch()
        self.assertNotEqual(d.ebb("submit", "--", "true").returncode, 0)
        self.assertEqual(d.process.wait(20), 1)
        said = b""
        try:
            while piece := os.read(main, 65536):
                said += piece
        except OSError:  # nobody has the other side any more
            pass
        self.assertIn(b"jobs stay with their keepers", said)
        self.assertNotIn(b"\x1b", said)

    def test_a_failed_fsync_at_a_jobs_end_ends_the_daemon_and_no_other_job(self):
        d = self.broken_daemon()
        job = d.submit(["sleep", "600"], workdir="/", gpus=1)
        running = d.wait_state(job["id"], "running")
        go = d.dir / "go"
        ends = d.submit(["sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done"], workdir="/", gpus=1)["id"]
        d.wait_state(ends, "running")
        self.flag.touch()
        go.touch()
        self.check_recovery(d, running)
        self.check_adoption(d, running)
        self.assertEqual(d.wait_state(ends)["state"], "completed", "its keeper has kept how it ended")


class Database(harness.Case):
    def start_fails(self, d):
        """`ebb serve` ends with 1, and what it said."""
        done = subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1, done.stderr)
        return done.stderr

    def stopped_daemon(self):
        d = self.daemon()
        d.submit(["true"], workdir="/")
        d.stop()
        self.database = d.state / "ebb.db"
        return d

    def test_a_newer_version_is_refused_and_left_alone(self):
        d = self.stopped_daemon()
        with sqlite3.connect(self.database) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        before = self.database.read_bytes()
        said = self.start_fails(d)
        self.assertRegex(said, r"ebb\.db has version 99, and this program knows up to \d+: use the newer ebb")
        self.assertEqual(self.database.read_bytes(), before)

    def test_a_damaged_one_is_refused_and_left_alone(self):
        d = self.stopped_daemon()
        for damage in (lambda text: b"garbage " * 64 + text[512:], lambda text: text[:4096] + b"\xff" * 4096 + text[8192:]):
            shutil.copy(self.database, d.dir / "whole")
            self.database.write_bytes(damage(self.database.read_bytes()))
            before = self.database.read_bytes()
            said = self.start_fails(d)
            self.assertRegex(said, r"ebb\.db is (damaged|no database)|not a database|is not one of Ebb's")
            self.assertIn(str(self.database), said)
            self.assertEqual(self.database.read_bytes(), before)
            shutil.copy(d.dir / "whole", self.database)
        d.start()
        self.assertEqual(len(d.http("GET", "/v1/jobs").json["items"]), 1, "nothing was lost")

    def test_a_read_only_file_system_is_a_clear_error(self):
        d = self.stopped_daemon()
        plain = d.command()
        command = ["unshare", "--mount", "--propagation", "private"]
        if os.getuid() != 0:
            command += ["--user", "--map-current-user", "--keep-caps"]
        command += ["sh", "-c", f'mount --bind {d.state} {d.state} && mount -o remount,bind,ro {d.state} && exec "$@"', "sh"]
        done = subprocess.run([*command, *plain], env=d.env, capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, re.escape(str(d.state)) + r".*Read-only file system")
        d.start()
        self.assertEqual(len(d.http("GET", "/v1/jobs").json["items"]), 1)


if __name__ == "__main__":
    harness.main()
