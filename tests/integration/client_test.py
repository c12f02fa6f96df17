"""`ebb run` and its kin where things go wrong around them: descriptors that are closed or full, a server
that does not answer, a keeper that is killed."""
import os
import pathlib
import signal
import socket
import subprocess
import unittest

import harness
import run_test
from harness import EBB, wait_for
from run_test import processes_with


class Client(harness.Case):
    def job(self, daemon, state=None):
        """The newest job, once it is in `state`."""
        def look():
            jobs = daemon.http("GET", "/v1/jobs").json["items"]
            return jobs[0] if jobs and (state is None or jobs[0]["state"] == state) else None
        return wait_for(look, what=f"a job that is {state}")

    start_run = run_test.Run.start_run
    end_run = staticmethod(run_test.Run.end_run)

    # ---- descriptors

    def test_closed_descriptors_are_as_dev_null(self):
        d = self.daemon()
        done = subprocess.run(["sh", "-c", f"exec {EBB} run -- sh -c 'echo 12345678; echo 12345678 >&2' <&- >&- 2>&-"],
                              env=d.client_env(), timeout=30)
        job = self.job(d)
        self.assertEqual((done.returncode, job["state"]), (0, "completed"), job["reason"])

    def test_a_command_whose_output_cannot_be_written_says_so(self):
        d = self.daemon()
        for command in (["ps"], ["ps", "--json"]):
            with self.subTest(command=command), open("/dev/full", "w") as full:
                done = subprocess.run([EBB, *command], env=d.client_env(), stdout=full, stderr=subprocess.PIPE,
                                      text=True, timeout=30)
                self.assertEqual((done.returncode, done.stderr), (1, "ebb: cannot write: No space left on device\n"))

    def test_a_full_stdout_ends_the_job_and_says_why(self):
        d = self.daemon()
        with open("/dev/full", "w") as full:
            run = self.start_run(d, "--", "sh", "-c", "echo x; exec sleep 1000", stdout=full)
            _, err = run.communicate(timeout=30)
        self.assertEqual(run.returncode, -signal.SIGPIPE)
        self.assertIn("ebb: cannot write the output: No space left on device\n", err)
        self.assertEqual(d.wait_state(self.job(d)["id"])["state"], "cancelled")

    def test_one_ctrl_c_is_enough_when_only_the_reader_rests(self):
        d = self.daemon()
        # More than a pipe holds, less than is read ahead: the job has ended, and its log was read to the end.
        run = self.start_run(d, "--", "sh", "-c", "head -c 200000 /dev/zero; echo end >&2")
        lines = iter(run.stderr.readline, "")
        self.assertTrue(any(line.startswith("ebb: released in") for line in lines))
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(30), -signal.SIGINT)

    # ---- before there is a job

    def test_interrupted_in_its_submission_it_says_what_it_waits_for(self):
        d = self.daemon()
        d.signal(signal.SIGSTOP)
        try:
            run = self.start_run(d, "--", "sleep", "1000")
            status = pathlib.Path(f"/proc/{run.pid}/status")
            blocked = lambda: int(next(line.split()[1] for line in status.read_text().splitlines()
                                       if line.startswith("SigBlk")), 16)
            wait_for(lambda: blocked() & 1 << signal.SIGINT - 1, what="the client's attention to signals")
            run.send_signal(signal.SIGINT)
            _, err = run.communicate(timeout=20)
        finally:
            d.signal(signal.SIGCONT)
        self.assertEqual(run.returncode, -signal.SIGINT)
        self.assertEqual(err, "ebb: SIGINT: waiting for the server to say whether there is a job (Ctrl+C again: leave "
                         "now)\nebb: the server does not answer; the job, if there is one, ends with this process\n")
        wait_for(lambda: all(job["state"] in harness.TERMINAL for job in d.http("GET", "/v1/jobs").json["items"]))

    def test_a_daemon_that_dies_with_the_request_is_sought_like_one_that_has_the_job(self):
        d = self.daemon(listen="none")
        d.stop()
        # In its place somebody who reads the request and dies, as the daemon may when the job is on disk already.
        dying = socket.socket(socket.AF_UNIX)
        self.addCleanup(dying.close)
        dying.bind(d.socket)
        dying.listen()
        client = d.popen("run", "--", "echo", "came through")
        self.addCleanup(client.kill)
        peer, _ = dying.accept()
        request = b""
        while b"\r\n\r\n" not in request:
            request += peer.recv(65536)
        self.assertTrue(request.startswith(b"POST /v1/jobs "), request)
        dying.close()
        os.unlink(d.socket)
        peer.close()
        d.start()
        output, errors = client.communicate(timeout=30)
        self.assertEqual((client.returncode, output), (0, "came through\n"), errors)

    def test_the_owners_lease_is_the_daemons_default(self):
        d = self.daemon(config='[defaults]\nowner_lease = "7s"\n')
        for args, lease in ((), 7), (("--owner-lease", "3s"), 3):
            self.assertEqual(d.ebb("run", *args, "--", "true").returncode, 0)
            self.assertEqual(self.job(d)["spec"]["owner"]["lease_s"], lease)

    def test_a_key_that_is_missing_is_asked_for(self):
        d = self.daemon()
        done = d.ebb("ps", env={"EBB_SERVER": f"http://127.0.0.1:{d.port}"})
        self.assertEqual(done.returncode, 4)
        self.assertIn("the key goes into EBB_API_KEY, or into ~/.config/ebb/key", done.stderr)

    # ---- side processes

    def test_nobody_starts_side_processes_for_a_daemon_that_is_not_there(self):
        d = self.daemon()
        folder = self.folder()
        done = d.ebb("run", "--server", "/nowhere/ebb.sock", "--sidecar", f"s=touch {folder}/ran; exec sleep 1000",
                     "--", "true")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(list(folder.iterdir()), [])

    def test_all_of_a_side_process_ends_when_its_keeper_is_killed(self):
        d = self.daemon()
        sleep = f"sleep 32{os.getpid()}"  # by which no other run's is found
        run = self.start_run(d, "--sidecar", f"side={sleep} & (setsid {sleep} &); wait", "--", "sleep", "1000")
        self.job(d, "running")
        wait_for(lambda: len(processes_with(sleep.replace(" ", "\0"))) == 2)
        keeper = subprocess.run(["ps", "-o", "pid=", "--ppid", str(run.pid)], capture_output=True, text=True)
        os.kill(int(keeper.stdout.split()[0]), signal.SIGKILL)
        wait_for(lambda: not processes_with(sleep.replace(" ", "\0")), what="the side process's end")
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
        self.assertEqual(run.returncode, -signal.SIGINT)
        self.assertIn("side ended by itself (its keeper died)", err)


if __name__ == "__main__":
    harness.main()
