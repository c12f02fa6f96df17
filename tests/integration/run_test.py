"""`ebb run`: it lives and ends together with its job, whichever of the two ends first, and however."""
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time
import unittest

import harness
from harness import EBB, wait_for

REWARD = "exec python3 -u -c \"" \
    "import http.server,sys;" \
    "h=type('H',(http.server.BaseHTTPRequestHandler,),dict(" \
    "do_GET=lambda s:(s.send_response(200),s.send_header('Content-Length','2'),s.end_headers(),s.wfile.write(b'ok'))));" \
    "http.server.HTTPServer(('127.0.0.1',int(sys.argv[1])),h).serve_forever()\" {port}"


def processes_with(text):
    """Pids whose command line contains `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


class Run(harness.Case):
    def job_id(self, daemon):
        jobs = daemon.http("GET", "/v1/jobs").json["items"]
        return jobs[0]["id"] if jobs else None

    def running(self, daemon):
        return wait_for(lambda: next((j for j in daemon.http("GET", "/v1/jobs").json["items"]
                                      if j["state"] == "running"), None), what="a running job")

    def start_run(self, daemon, *args, **options):
        run = daemon.popen("run", *args, **options)
        self.addCleanup(self.end_run, run)
        return run

    @staticmethod
    def end_run(run):
        if run.poll() is None:
            run.kill()
        run.wait()
        for stream in (run.stdout, run.stderr):
            if stream:
                stream.close()

    def finish(self, run, timeout=30):
        out, err = run.communicate(timeout=timeout)
        return run.returncode, out, err

    # ---- ends by itself

    def test_the_jobs_bytes_alone_are_on_stdout_and_stderr(self):
        d = self.daemon()
        done = d.ebb("run", "-q", "--", "sh", "-c", "printf 'a\\0b'; printf c >&2")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "a\0b", "c"))

    def test_where_the_job_runs_is_said_before_its_first_line(self):
        d = self.daemon()
        run = self.start_run(d, "--gpus", "1", "--", "sh", "-c", "echo out; exec sleep 0.3", stderr=subprocess.STDOUT)
        said = run.stdout.readline()
        self.assertRegex(said, r"\Aebb: job \w{8} runs on GPU 0\n\Z")
        self.assertEqual(run.stdout.readline(), "out\n")
        self.finish(run)

    def test_exit_status_is_the_jobs(self):
        d = self.daemon()
        for command, status in [(["true"], 0), (["sh", "-c", "exit 3"], 3), (["sh", "-c", "kill -9 $$"], 137),
                                (["/no/such/program"], 127), (["/etc/passwd"], 126), (["/tmp"], 126)]:
            with self.subTest(command=command):
                self.assertEqual(d.ebb("run", "-q", "--", *command).returncode, status)
        self.assertEqual(d.ebb("run", "-q", "--time", "200ms", "--", "sleep", "60").returncode, 124)

    def test_a_quoted_shell_string_is_refused_with_what_was_meant(self):
        d = self.daemon()
        done = d.ebb("run", "sleep 1")
        self.assertEqual(done.returncode, 127)
        self.assertIn("-c 'sleep 1'", done.stderr)
        self.assertIsNone(self.job_id(d))

    def test_shell_string(self):
        d = self.daemon()
        self.assertEqual(d.ebb("run", "-q", "-c", "echo $((1+1)); [ -d / ]").stdout, "2\n")

    def test_all_of_a_long_output_arrives(self):
        d = self.daemon()
        done = d.ebb("run", "-q", "--", "sh", "-c", "seq 1 300000")
        self.assertEqual(done.stdout, "".join(f"{i}\n" for i in range(1, 300001)))

    def test_environment_folder_and_umask_are_the_submitters(self):
        d = self.daemon()
        folder = self.folder()
        done = d.ebb("run", "-q", "--env", "B=2", "--", "sh", "-c", "pwd; echo $A$B; umask", cwd=folder,
                     env={"A": "1"}, umask=0o027)
        self.assertEqual(done.stdout, f"{folder}\n12\n0027\n")

    def test_words_after_the_command_are_not_ebbs(self):
        d = self.daemon()
        done = d.ebb("run", "-q", "echo", "--gpus", "9", "-q", "--", "[a,b]")
        self.assertEqual(done.stdout, "--gpus 9 -q -- [a,b]\n")

    def test_defect_20_a_normal_end_is_completed(self):
        d = self.daemon()
        self.assertEqual(d.ebb("run", "-q", "--gpus", "1", "--", "true").returncode, 0)
        job = d.job(self.job_id(d))
        self.assertEqual((job["state"], job["reason"]["kind"]), ("completed", "completed"))

    # ---- refusals

    def test_no_daemon_is_3_and_names_the_place(self):
        d = self.daemon()
        done = d.ebb("run", "--server", "/nowhere/ebb.sock", "--", "true")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon at /nowhere/ebb.sock", done.stderr)

    def test_requests_that_can_never_run_are_2(self):
        d = self.daemon()
        for args in (["--gpus", "5"], ["--gpus", "-1"], ["--gpus", "1.5"], ["--gpus", "x"], ["--after", "x"],
                     ["--array", "3"], ["--retries", "1"], ["--ray", "a=1"], ["--gpu-ids", "9"], ["--time", "x"],
                     ["--memory", "-1"], ["--env-file", "/no/such/file"], ["--env", "NO_SUCH_VARIABLE_HERE"]):
            with self.subTest(args=args):
                done = d.ebb("run", *args, "--", "true")
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr.startswith("ebb: "), done.stderr)
        self.assertIsNone(self.job_id(d))

    def test_a_placeholder_that_the_job_lacks_is_2(self):
        d = self.daemon()
        done = d.ebb("run", "--", "echo", "a", "b", "{port}")
        self.assertEqual(done.returncode, 2)
        self.assertIn("{port} in argument 3", done.stderr)
        self.assertEqual(d.ebb("run", "-q", "--no-expand", "--", "echo", "{port}").stdout, "{port}\n")
        done = d.ebb("run", "--", "echo", "{sidecar.x.url}")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--sidecar x", done.stderr)

    # ---- interrupted

    def interrupted(self, number, *args, when=None):
        d = self.daemon()
        run = self.start_run(d, "--gpus", "2", "--ports", "1", *args, "--", "sh", "-c", "echo up; exec sleep 1000")
        when = when or self.running
        when(d)
        run.send_signal(number)
        status, out, err = self.finish(run)
        self.assertEqual(status, -number, err)
        job = d.wait_state(self.job_id(d))
        self.assertEqual(job["state"], "cancelled", job)
        return d, job, err

    def test_each_signal_cancels_and_is_what_it_dies_of(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                d, job, err = self.interrupted(number)
                name = signal.Signals(number).name
                self.assertEqual(job["reason"]["detail"], name)
                self.assertIn(f"ebb: {name}: cancelling {job['id']}", err)
                self.assertRegex(err, r"ebb: released in .*GPU 0 1 verified free.*port \d+ free")
                self.assertTrue(d.report(job["id"])["complete"])

    def test_transcript_of_the_main_job(self):
        """The transcript in the contract, line for line but for numbers."""
        d = self.daemon()
        holder = d.submit(["sleep", "1000"], gpus=4)
        d.wait_state(holder["id"], "running")
        run = self.start_run(d, "--gpus", "2", "--ports", "1", "--grace", "1s", "--sidecar", f"reward={REWARD}",
                             "--sidecar-ready", "reward=/health", "--", "sh", "-c",
                             "echo epoch 1/5 {sidecar.reward.url}; exec sleep 1000")
        wait_for(lambda: len(d.http("GET", "/v1/jobs").json["items"]) == 2)
        mine = self.job_id(d)
        wait_for(lambda: d.job(mine)["why"])
        d.ebb("cancel", holder["id"], check=True)
        first = run.stdout.readline()
        before = ""
        for line in run.stderr:
            before += line
            if " runs on " in line:
                break
        run.send_signal(signal.SIGINT)
        status, out, err = self.finish(run)
        err = before + err
        self.assertEqual(status, -signal.SIGINT)
        lines = err.splitlines()
        patterns = [r"ebb: reward is up at http://127.0.0.1:\d+ \(\d+\.\d s\)",
                    rf"ebb: job {mine} is queued, position 1: waits for 2 GPUs; \S+ {holder['id']} holds 0 1 2 3",
                    rf"ebb: job {mine} runs on GPU 0 1, port \d+",
                    rf"ebb: SIGINT: cancelling {mine} \(Ctrl\+C again: leave now, the daemon goes on releasing\)",
                    r"ebb: released in \d+(\.\d+)? m?s: \d+ process(es)? ended · GPU 0 1 verified free · port \d+ free"
                    r".*scratch removed",
                    r"ebb: reward stopped \(SIGTERM, \d+(\.\d+)? m?s\)"]
        at = 0
        for pattern in patterns:
            found = next((i for i in range(at, len(lines)) if re.match(pattern, lines[i])), None)
            self.assertIsNotNone(found, f"no line after {at} is like {pattern}:\n{err}")
            at = found + 1
        self.assertRegex(first + out, r"\Aepoch 1/5 http://127.0.0.1:\d+\n\Z")

    def test_defect_9_ctrl_c_while_queued_leaves_no_job_behind(self):
        d = self.daemon()
        holder = d.submit(["sleep", "1000"], gpus=4)
        d.wait_state(holder["id"], "running")
        run = self.start_run(d, "--gpus", "1", "--", "sleep", "1000")
        wait_for(lambda: len(d.http("GET", "/v1/jobs?state=queued").json["items"]) == 1)
        queued = self.job_id(d)
        run.send_signal(signal.SIGINT)
        status, _, err = self.finish(run)
        self.assertEqual(status, -signal.SIGINT, err)
        job = d.wait_state(queued)
        self.assertEqual((job["state"], job["attempt"]), ("cancelled", 0))

    def test_ctrl_c_while_the_job_starts(self):
        starting = lambda d: wait_for(lambda: d.http("GET", "/v1/jobs?state=starting").json["items"])
        self.interrupted(signal.SIGINT, "--ready", "/never", "--ready-timeout", "50s", when=starting)

    def test_ctrl_c_before_there_is_a_job(self):
        d = self.daemon()
        run = self.start_run(d, "--sidecar", "slow=exec sleep 543217", "--sidecar-ready", "slow=/never", "--", "true")
        wait_for(lambda: processes_with("sleep\000543217"))
        run.send_signal(signal.SIGINT)
        status, _, err = self.finish(run)
        self.assertEqual(status, -signal.SIGINT)
        self.assertRegex(err, r"\Aebb: SIGINT: there is no job yet\nebb: slow stopped \(SIGTERM, .*\)\n\Z")
        self.assertIsNone(self.job_id(d))

    def test_defect_21_a_second_ctrl_c_leaves_at_once_and_the_daemon_goes_on(self):
        d = self.daemon()
        go = self.folder() / "go"
        run = self.start_run(d, "--grace", "60s", "--gpus", "1", "--", "sh", "-c",
                             f"trap '' TERM; echo up; while [ ! -e {go} ]; do sleep 0.05; done")
        self.running(d)
        wait_for(lambda: "up" in d.http("GET", f"/v1/jobs/{self.job_id(d)}/logs").body.decode())
        run.send_signal(signal.SIGINT)
        self.assertTrue(any("cancelling" in line for line in run.stderr))
        time.sleep(0.15)  # a person's second Ctrl+C, not one key press that arrives twice
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(20), -signal.SIGINT)
        self.assertEqual(d.job(self.job_id(d))["state"], "releasing")
        go.touch()
        job = d.wait_state(self.job_id(d))
        self.assertEqual(job["state"], "cancelled")
        self.assertTrue(d.report(job["id"])["complete"])

    def test_the_next_queued_job_starts_by_itself(self):
        d = self.daemon()
        run = self.start_run(d, "--gpus", "4", "--", "sleep", "1000")
        self.running(d)
        queued = d.submit(["true"], gpus=4)
        run.send_signal(signal.SIGTERM)
        self.finish(run)
        self.assertEqual(d.wait_state(queued["id"])["state"], "completed")

    # ---- killed, hung up, closed

    def test_defect_8_kill_9_ends_the_job_and_the_sidecars(self):
        d = self.daemon()
        run = self.start_run(d, "--gpus", "4", "--sidecar", "side=exec sleep 987654", "--", "sleep", "1000")
        self.running(d)
        wait_for(lambda: processes_with("sleep\000987654"))
        run.kill()
        run.communicate()
        job = d.wait_state(self.job_id(d))
        self.assertEqual((job["state"], job["reason"]["kind"]), ("cancelled", "owner_lost"))
        self.assertTrue(d.report(job["id"])["complete"])
        wait_for(lambda: not processes_with("987654"), what="the sidecar's end")

    def test_defect_8_a_terminal_that_is_closed_ends_the_job(self):
        d = self.daemon()
        main, side = pty.openpty()
        run = subprocess.Popen([EBB, "run", "--sidecar", "side=exec sleep 876543", "--", "sh", "-c",
                                "echo up; exec sleep 1000"], env=d.client_env(), stdin=side, stdout=side, stderr=side,
                               start_new_session=True, preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
        os.close(side)
        self.addCleanup(lambda: run.poll() is None and run.kill())
        self.running(d)
        os.close(main)
        run.wait(20)
        job = d.wait_state(self.job_id(d))
        self.assertEqual(job["state"], "cancelled")
        wait_for(lambda: not processes_with("876543"), what="the sidecar's end")

    def test_a_reader_that_goes_ends_the_job(self):
        d = self.daemon()
        run = self.start_run(d, "--", "sh", "-c", "while :; do echo x; sleep 0.01; done", stderr=subprocess.DEVNULL)
        run.stdout.readline()
        run.stdout.close()
        self.assertEqual(run.wait(20), -signal.SIGPIPE)
        self.assertEqual(d.wait_state(self.job_id(d))["reason"]["detail"], "SIGPIPE")

    def test_a_reader_that_rests_keeps_the_job_and_loses_nothing(self):
        d = self.daemon()
        run = self.start_run(d, "--owner-lease", "2s", "--", "sh", "-c", "seq 1 200000; echo end >&2",
                             stderr=subprocess.DEVNULL)
        wait_for(lambda: self.job_id(d))
        # Nothing is read until the job, which writes more than pipes hold, has ended.
        d.wait_state(self.job_id(d))
        out, _ = run.communicate(timeout=30)
        self.assertEqual(run.returncode, 0)
        self.assertEqual(out, "".join(f"{i}\n" for i in range(1, 200001)))

    def test_nohup_keeps_sighup_away(self):
        d = self.daemon()
        run = self.start_run(d, "--", "sh", "-c", "echo up; sleep 0.5", preexec_fn=lambda: signal.signal(
            signal.SIGHUP, signal.SIG_IGN))
        self.running(d)
        run.send_signal(signal.SIGHUP)
        status, out, _ = self.finish(run)
        self.assertEqual((status, out), (0, "up\n"))

    # ---- Ctrl+Z

    @staticmethod
    def wait_stopped(run):
        state = lambda: pathlib.Path(f"/proc/{run.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        wait_for(lambda: state() == "T", what="the client's stop")

    @staticmethod
    def wait_continued(run):
        """Until it takes SIGTSTP itself again: before, one would stop it as it stops any program."""
        status = lambda: pathlib.Path(f"/proc/{run.pid}/status").read_text()
        blocked = lambda: int(re.search(r"^SigBlk:\s*(\w+)", status(), re.MULTILINE)[1], 16)
        wait_for(lambda: blocked() >> (signal.SIGTSTP - 1) & 1, what="the client's signal mask")

    def check_stopped_clock(self, d, run):
        """The client stops; its job, of a lease of 1 s, goes on until it is continued and interrupted."""
        self.wait_stopped(run)
        self.running(d)
        time.sleep(2.5)  # longer than the lease: nothing tells when a clock has not run out
        self.assertEqual(d.job(self.job_id(d))["state"], "running")
        run.send_signal(signal.SIGCONT)
        wait_for(lambda: d.job(self.job_id(d))["owner"]["connected"])
        run.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(run)[0], -signal.SIGINT)

    def submit_to_a_stopped_daemon(self, d, *args):
        """A client whose request the daemon has not read yet, in a process group as at a shell."""
        d.signal(signal.SIGSTOP)
        self.addCleanup(lambda: d.alive() and d.signal(signal.SIGCONT))
        run = self.start_run(d, *args, process_group=0)
        files = lambda: [os.readlink(file) for file in pathlib.Path(f"/proc/{run.pid}/fd").iterdir()]
        wait_for(lambda: any(file.startswith("socket:") for file in files()), what="the client's connection")
        return run

    def test_ctrl_z_before_the_answer_waits_for_it_and_tells_the_daemon(self):
        d = self.daemon()
        run = self.submit_to_a_stopped_daemon(d, "--owner-lease", "1s", "--", "sleep", "1000")
        run.send_signal(signal.SIGTSTP)
        self.assertEqual(run.stderr.readline(), "ebb: SIGTSTP: waiting for the server to say whether there is a job, "
                                                "to tell it (Ctrl+Z again: stop now)\n")
        d.signal(signal.SIGCONT)
        self.check_stopped_clock(d, run)

    def test_ctrl_z_twice_before_the_answer_stops_at_once_and_ctrl_c_ends_the_wait(self):
        d = self.daemon()
        run = self.submit_to_a_stopped_daemon(d, "--", "sleep", "1000")
        run.send_signal(signal.SIGTSTP)
        self.assertIn("SIGTSTP", run.stderr.readline())
        run.send_signal(signal.SIGTSTP)
        self.wait_stopped(run)
        run.send_signal(signal.SIGCONT)
        self.wait_continued(run)
        run.send_signal(signal.SIGTSTP)
        self.assertIn("SIGTSTP", run.stderr.readline())
        run.send_signal(signal.SIGINT)
        self.assertIn("SIGINT", run.stderr.readline())
        d.signal(signal.SIGCONT)
        self.assertEqual(self.finish(run)[0], -signal.SIGINT)
        self.assertEqual(d.wait_state(self.job_id(d))["state"], "cancelled")

    def test_ctrl_z_stands_the_owners_clock_still(self):
        d = self.daemon()
        # A group of its own, whose parent is in another one of this session: the kernel stops no orphaned group.
        run = self.start_run(d, "--owner-lease", "1s", "--", "sleep", "1000", process_group=0)
        self.running(d)
        run.send_signal(signal.SIGTSTP)
        self.check_stopped_clock(d, run)

    def test_death_while_stopped_still_ends_the_job(self):
        d = self.daemon()
        run = self.start_run(d, "--", "sleep", "1000", process_group=0)
        self.running(d)
        run.send_signal(signal.SIGTSTP)
        self.wait_stopped(run)
        run.kill()
        run.communicate()
        self.assertEqual(d.wait_state(self.job_id(d))["reason"]["kind"], "owner_lost")

    # ---- the server goes

    def test_interrupted_while_the_server_is_stopped_it_leaves_within_five_seconds(self):
        d = self.daemon()
        run = self.start_run(d, "--sidecar", "side=exec sleep 765432", "--", "sleep", "1000")
        self.running(d)
        d.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            run.send_signal(signal.SIGINT)
            status, _, err = self.finish(run)
            self.assertEqual(status, -signal.SIGINT, err)
            self.assertLess(time.monotonic() - began, 20)
            self.assertIn("ebb: side stopped (SIGTERM", err)
        finally:
            d.signal(signal.SIGCONT)
        self.assertEqual(d.wait_state(self.job_id(d))["state"], "cancelled")

    def test_a_new_daemon_takes_over_and_no_byte_is_lost_or_doubled(self):
        d = self.daemon()
        run = self.start_run(d, "--", "sh", "-c", "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done")
        run_id = self.running(d)["id"]
        d.kill()
        d.start()
        status, out, err = self.finish(run, 60)
        self.assertEqual(status, 0, err)
        self.assertIn("ebb: lost the server", err)
        self.assertIn("ebb: the server is back", err)
        self.assertEqual(out, "".join(f"{i}\n" for i in range(1, 301)))
        self.assertEqual(d.job(run_id)["state"], "completed")

    def test_a_server_that_stays_stopped_counts_as_gone(self):
        d = self.daemon(config='[jobs]\ndaemon_gone = "1s"\n')
        run = self.start_run(d, "--", "sleep", "765434")
        job = self.running(d)["id"]
        d.signal(signal.SIGSTOP)
        try:
            wait_for(lambda: processes_with("765434") == [run.pid], what="the end of the job")
        finally:
            d.signal(signal.SIGCONT)
        status, _, err = self.finish(run)
        self.assertEqual(status, 143, err)
        reason = d.job(job)["reason"]
        self.assertEqual((reason["kind"], reason["by"]), ("daemon_stopped", "keeper"), reason)

    def test_a_daemon_that_ends_cancels_the_job_and_says_so(self):
        d = self.daemon()
        run = self.start_run(d, "--", "sleep", "1000")
        self.running(d)
        d.signal(signal.SIGTERM)
        status, _, err = self.finish(run, 90)
        self.assertEqual(status, 143, err)
        self.assertIn("daemon_stopped", err)

    # ---- side processes

    def test_defect_22_a_sidecars_output_is_drained_for_ever(self):
        d = self.daemon()
        noisy = "exec python3 -u -c \"" \
            "import http.server,sys;" \
            "h=type('H',(http.server.BaseHTTPRequestHandler,),dict(" \
            "do_GET=lambda s:(sys.stderr.write('x'*100000),s.send_response(200)," \
            "s.send_header('Content-Length','0'),s.end_headers()),log_message=lambda *a:None));" \
            "http.server.HTTPServer(('127.0.0.1',int(sys.argv[1])),h).serve_forever()\" {port}"
        done = d.ebb("run", "-q", "--sidecar", f"r={noisy}", "--sidecar-ready", "r=/", "--", "python3", "-c",
                     "import sys,urllib.request\n"
                     "for i in range(1000): urllib.request.urlopen(sys.argv[1]).read()\nprint('done')",
                     "{sidecar.r.url}")
        self.assertEqual((done.returncode, done.stdout), (0, "done\n"))

    def test_a_sidecar_that_fails_ends_the_run_before_there_is_a_job(self):
        d = self.daemon()
        done = d.ebb("run", "--sidecar", "bad=echo broken; exit 7", "--sidecar-ready", "bad=/", "--", "true")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "ebb: side process bad ended before the job: exit code 7; the end of its "
                         "output:\nbroken\n")
        self.assertIsNone(self.job_id(d))

    def test_a_sidecar_that_ignores_term_is_killed(self):
        d = self.daemon()
        done = d.ebb("run", "--sidecar", "s=trap '' TERM; while :; do sleep 654321; done", "--", "sleep", "0.3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("ebb: s stopped (SIGKILL", done.stderr)
        wait_for(lambda: not processes_with("654321"))

    def test_killed_between_submission_and_owners_stream_the_job_ends(self):
        d = self.daemon()
        for _ in range(5):
            run = self.start_run(d, "--", "sleep", "1000")
            wait_for(lambda: self.job_id(d))
            run.kill()
            run.communicate()
        wait_for(lambda: all(j["state"] in harness.TERMINAL for j in d.http("GET", "/v1/jobs").json["items"]))


if __name__ == "__main__":
    harness.main()
