"""EBB_SERVER reaches the daemon from within a job, also where the socket lies in the state directory, which is hidden
from jobs; and it reaches the next daemon."""
import json
import os
import pathlib

import harness
from harness import EBB, wait_for


class Socket(harness.Case):
    def daemon_with_socket_in_state(self, **options):
        one = harness.Daemon(start=False, **options)
        one.socket = str(one.state / "ebb.sock")
        self.addCleanup(self._end, one)
        return one.start()

    def test_a_job_asks_its_daemon(self):
        d = self.daemon_with_socket_in_state()
        done = d.ebb("run", "-q", "--", "sh", "-c", 'test "$EBB_SERVER" = "$1" && exec "$0" ps --json', EBB, d.socket)
        self.assertEqual(done.returncode, 0, done.stderr)
        # It may be quicker than the commit that makes it a running one.
        states = [job["state"] for job in json.loads(done.stdout)["items"]]
        self.assertIn(states, (["starting"], ["running"]))

    def test_nothing_else_of_the_state_directory_is_there(self):
        d = self.daemon_with_socket_in_state()
        done = d.ebb("run", "--", "ls", "-A", d.state)
        self.assertEqual(done.returncode, 0, done.stderr)
        if "pidns" in d.http("GET", "/v1/jobs").json["items"][0]["tier"]:
            self.assertEqual(done.stdout.split(), ["ebb.sock", "run"])

    def test_a_job_of_another_user_asks_its_daemon(self):
        d = self.daemon_with_socket_in_state()
        key = d.add_user("visitor")
        # Not by `ebb`: the build may lie where that user cannot look.
        ask = "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['EBB_SERVER']); " \
            "s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); assert b'200 OK' in s.recv(1000)"
        job = d.submit(["/usr/bin/python3", "-c", ask], key=key, workdir="/")["id"]
        d.wait_state(job)
        self.assertEqual(d.report(job)["reason"]["kind"], "completed", d.ebb("logs", job))

    def test_a_job_finds_the_next_daemon(self):
        d = self.daemon_with_socket_in_state(args=["--on-stop", "keep"])
        go = pathlib.Path(d.dir) / "go"
        job = d.submit(["sh", "-c", f'"$0" status "$EBB_JOB_ID" || exit 1; until [ -e {go} ]; do sleep 0.05; done; '
                                    'exec "$0" status "$EBB_JOB_ID"', EBB], workdir="/")["id"]
        wait_for(lambda: job in d.ebb("logs", job).stdout, what="the first answer")
        d.stop()
        self.assertFalse(os.path.lexists(d.socket), "the socket goes with its daemon")
        self.assertFalse(os.path.lexists(d.state / "run" / "ebb.sock"))
        d.start()
        go.touch()
        d.wait_state(job)
        self.assertEqual(d.report(job)["exit"]["code"], 0, d.ebb("logs", job))

    def test_a_socket_of_an_earlier_version_is_replaced(self):
        d = self.daemon_with_socket_in_state()
        d.kill()
        os.unlink(d.socket)
        os.rename(d.state / "run" / "ebb.sock", d.socket)  # a stale socket where the link belongs
        d.start()
        self.assertEqual(os.readlink(d.socket), "run/ebb.sock")
        self.assertEqual(d.ebb("ps").returncode, 0)

    def test_what_is_no_socket_is_left_alone(self):
        d = self.daemon_with_socket_in_state()
        d.stop()
        pathlib.Path(d.socket).write_text("precious")
        with self.assertRaisesRegex(AssertionError, "is there and is no socket"):
            d.start()
        self.assertEqual(pathlib.Path(d.socket).read_text(), "precious")


if __name__ == "__main__":
    harness.main()
