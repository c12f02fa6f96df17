"""What is kept of ended jobs, as their users see it."""
import os
import signal

import harness
from harness import wait_for


class History(harness.Case):
    def run_jobs(self, d, count, command=("echo", "said")):
        ids = [d.submit(command, workdir="/")["id"] for _ in range(count)]
        for job in ids:
            # The first ones may be dropped before they are asked for.
            wait_for(lambda: (lambda seen: seen.get("state") in harness.TERMINAL or seen.get("type") == "job-dropped")(
                d.job(job)), what=f"job {job} has ended")
        return ids

    def kept(self, d):
        return [job["id"] for job in d.http("GET", "/v1/jobs?limit=1000").json["items"]]

    def test_jobs_over_the_limit_are_dropped_and_say_so(self):
        d = self.daemon(config='[history]\njobs = 3\nmin_age = "0s"\n[queue]\nmax_running = 1\n')
        live = d.submit(["sleep", "600"], workdir="/")["id"]
        d.wait_state(live, "running")
        d.http("DELETE", f"/v1/jobs/{live}?wait=30s&grace=0s")
        ids = [live] + self.run_jobs(d, 6)
        wait_for(lambda: sorted(self.kept(d)) == sorted(ids[-3:]), what="three jobs are left")
        wait_for(lambda: sorted(os.listdir(d.state / "logs")) == sorted(f"{i}.1" for i in ids[-3:]), what="their logs")

        for path in ("", "/report", "/logs", "/why"):
            answer = d.http("GET", f"/v1/jobs/{ids[1]}{path}")
            self.assertEqual((answer.status, answer.json["type"]), (404, "job-dropped"), path)
        for command in ("status", "report", "logs", "cancel", "wait"):
            done = d.ebb(command, ids[1])
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(f"job {ids[1]} has ended and is no longer kept", done.stderr, command)
        self.assertEqual(d.ebb("report", ids[-1]).returncode, 0)

        # What such a job might have left is still the daemon's to find.
        self.assertEqual(d.ebb("audit").returncode, 0)
        left = d.dir / "scratch" / f"{ids[1]}.1"
        left.mkdir()
        audit = d.ebb("audit")
        self.assertEqual(audit.returncode, 1, audit.stdout)
        self.assertIn(str(left), audit.stdout)
        left.rmdir()

        # Its id stays known, and the next daemon goes on with the numbering.
        d.stop()
        d.start()
        self.assertIn("no longer kept", d.ebb("status", ids[1]).stderr)
        newest = self.run_jobs(d, 1)[0]
        wait_for(lambda: sorted(self.kept(d)) == sorted(ids[-2:] + [newest]), what="the oldest is gone")
        self.assertEqual(self.kept(d)[0], newest, "newest first")

    def test_cursors_go_on_over_what_was_dropped(self):
        d = self.daemon(config='[history]\njobs = 4\nmin_age = "0s"\n')
        self.run_jobs(d, 4)
        page = d.http("GET", "/v1/jobs?limit=2").json
        self.assertTrue(page["next_cursor"])
        more = self.run_jobs(d, 3)
        wait_for(lambda: set(more) < set(self.kept(d)) and len(self.kept(d)) == 4, what="four jobs are left")
        rest = d.http("GET", f"/v1/jobs?limit=2&cursor={page['next_cursor']}").json
        self.assertFalse(set(job["id"] for job in rest["items"]) & set(job["id"] for job in page["items"]))
        self.assertLessEqual(len(rest["items"]), 1)

    def test_the_log_of_the_oldest_goes_first_and_its_report_stays(self):
        d = self.daemon(config='[history]\nlogs = "1MiB"\nmin_age = "0s"\n[queue]\nmax_running = 1\n')
        jobs = self.run_jobs(d, 3, ["sh", "-c", "head -c 400000 /dev/zero"])
        wait_for(lambda: not (d.state / "logs" / f"{jobs[0]}.1").exists(), what="the first log is gone")
        done = d.ebb("logs", jobs[0])
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"the log of job {jobs[0]} is no longer kept", done.stderr)
        self.assertIn("1 MiB", done.stderr)
        self.assertEqual(d.ebb("logs", "-f", jobs[0]).returncode, 1)
        self.assertEqual(d.ebb("logs", "--path", jobs[0]).returncode, 1)
        self.assertEqual(len(d.ebb("logs", jobs[2]).stdout), 400000)
        self.assertEqual(d.report(jobs[0])["reason"]["kind"], "completed")
        d.stop()
        d.start()
        self.assertIn("is no longer kept", d.ebb("logs", jobs[0]).stderr)

    def test_a_job_that_never_had_a_log_is_not_said_to_have_lost_it(self):
        d = self.daemon(config='[history]\nlogs = "0B"\nmin_age = "0s"\n')
        waits = d.submit(["true"], workdir="/", gpus=4)
        d.wait_state(waits["id"])
        blocker = d.submit(["sleep", "600"], workdir="/", gpus=4)["id"]
        d.wait_state(blocker, "running")
        queued = d.submit(["true"], workdir="/", gpus=1)["id"]
        d.http("DELETE", f"/v1/jobs/{queued}")
        d.wait_state(queued)
        done = d.ebb("logs", queued)
        self.assertNotIn("no longer kept", done.stderr)

    def test_a_client_hears_of_the_end_although_nothing_is_kept(self):
        d = self.daemon(config='[history]\njobs = 0\nlogs = "0B"\n')  # but for the grace of a minute
        for _ in range(5):
            done = d.ebb("run", "--", "sh", "-c", "echo out; exit 3")
            self.assertEqual((done.returncode, done.stdout), (3, "out\n"), done.stderr)

    def test_a_killed_daemon_leaves_nothing_half_dropped(self):
        d = self.daemon(config='[history]\njobs = 5\nmin_age = "0s"\n')
        everything = []
        for _ in range(4):
            everything += [d.submit(["echo", "said"], workdir="/")["id"] for _ in range(10)]
            wait_for(lambda: d.job(everything[-10]).get("state") in (*harness.TERMINAL, None), what="some ended")
            d.signal(signal.SIGKILL)
            d.process.wait()
            d.start()
        for job in everything:
            wait_for(lambda: d.job(job).get("state") in (*harness.TERMINAL, None), what="an end")
        wait_for(lambda: len(self.kept(d)) == 5, what="five are left")
        kept = self.kept(d)
        wait_for(lambda: sorted(os.listdir(d.state / "logs")) == sorted(f"{job}.1" for job in kept),
                 what="no log without its job")
        for job in everything:
            answer = d.http("GET", f"/v1/jobs/{job}")
            self.assertEqual(answer.status, 200 if job in kept else 404)


if __name__ == "__main__":
    harness.main()
