"""`ebb audit --prove`: what it shows, and that nothing of it stays, however it ends."""
import json
import os
import pathlib
import signal
import socket
import subprocess

import harness
from harness import EBB, wait_for


class Prove(harness.Case):
    def setUp(self):
        super().setUp()
        # What it leaves, if anything, is in here alone.
        self.place = self.folder()
        self.env = {**os.environ, "TMPDIR": str(self.place), "EBB_LOCK_DIR": f"/tmp/ebb-it-locks-{os.getuid()}"}

    def start(self, *words, **options):
        return subprocess.Popen([EBB, "audit", "--prove", *words], env=self.env, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, **options)

    def processes(self):
        """Of all that it starts: each has the folder in its command line or environment."""
        found = []
        for name in os.listdir("/proc"):
            try:
                text = b"".join(pathlib.Path(f"/proc/{name}/{file}").read_bytes() for file in ("cmdline", "environ"))
            except OSError:
                continue
            if name.isdigit() and str(self.place).encode() + b"/ebb-prove-" in text:
                found.append(int(name))
        return found

    def test_a_connection_that_has_just_ended_on_its_port_is_no_hindrance(self):
        for port in range(38000, 38005):  # where its leases begin; in TIME_WAIT for a minute
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind(("127.0.0.1", port))
                except OSError:
                    continue  # another's
                listener.listen()
                with socket.create_connection(("127.0.0.1", port)) as client:
                    listener.accept()[0].close()
                    self.assertEqual(client.recv(1), b"")
        proves = self.start()
        out, _ = proves.communicate(timeout=120 * harness.PATIENCE)
        self.assertEqual(proves.returncode, 0, out)

    def test_it_shows_that_nothing_is_left_and_touches_no_other_job(self):
        d = self.daemon()
        other = d.submit(["sleep", "600"], workdir="/", gpus=4, ports=1)["id"]
        d.wait_state(other, "running")
        proves = self.start("--json")
        out, _ = proves.communicate(timeout=120 * harness.PATIENCE)
        self.assertEqual(proves.returncode, 0, out)
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(lines[-1]["wrong"], 0, out)
        self.assertGreaterEqual(lines[-1]["ends"], 10, out)
        for line in lines[:-1]:
            self.assertEqual(line["left"], [], line)
            self.assertTrue(line["complete"], line)
        self.assertIn("keeper_lost", [line["reason"] for line in lines[:-1]])
        self.assertEqual(os.listdir(self.place), [])
        self.assertEqual(self.processes(), [])
        self.assertEqual(d.job(other)["state"], "running")

    def test_interrupted_it_dies_of_the_signal_and_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            proves = self.start()
            wait_for(lambda: len(self.processes()) > 3, what="a job of it runs")
            proves.send_signal(number)
            proves.communicate(timeout=60 * harness.PATIENCE)
            self.assertEqual(proves.returncode, -number)
            self.assertEqual(self.processes(), [])
            self.assertEqual(os.listdir(self.place), [])

    def test_killed_its_processes_go_and_the_next_one_removes_its_folder(self):
        proves = self.start()
        wait_for(lambda: len(self.processes()) > 3, what="a job of it runs")
        proves.kill()
        proves.communicate()
        wait_for(lambda: self.processes() == [], what="the end of all that it started")
        left = os.listdir(self.place)
        self.assertEqual(len(left), 1)
        other = self.place / "ebb-prove-other"
        other.mkdir()
        if os.getuid() == 0:
            os.chown(other, 65534, -1)
        again = self.start()
        wait_for(lambda: self.place / left[0] not in self.place.iterdir(), what="the old folder is removed")
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=60 * harness.PATIENCE)
        # Another user's is not ours to remove.
        self.assertEqual(os.listdir(self.place), [other.name] if os.getuid() == 0 else [])

    def test_it_is_about_no_other_daemon(self):
        done = subprocess.run([EBB, "audit", "--prove", "--state", "/tmp"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)


if __name__ == "__main__":
    harness.main()
