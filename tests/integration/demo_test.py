"""./demo holds: as whoever runs the tests, interrupted, and installed for an ordinary user."""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import unittest

import harness

PYTHON = harness.ROOT / ".venv" / "bin" / "python"


def processes_naming(word):
    lines = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if str(word) in line and "<defunct>" not in line]


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ebb-demo-test-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.tmp = self.folder / "tmp"
        self.tmp.mkdir(mode=0o700)
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(self.tmp), "HOME": str(self.folder),
                    "EBB_LOCK_DIR": f"/tmp/ebb-it-locks-{os.getuid()}"}

    def command(self):
        return [str(harness.ROOT / "demo"), "--bin", str(harness.BIN), "--python", str(PYTHON), "--gpus", "declared:4"]

    def assert_nothing_left(self):
        self.assertEqual(processes_naming(self.tmp), [])
        self.assertEqual(list(self.tmp.iterdir()), [])

    def test_all_of_it_holds(self):
        done = subprocess.run(self.command(), env=self.env, capture_output=True, text=True, timeout=200)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("== all of it held", done.stdout)
        self.assertNotIn("NOT TRUE", done.stdout)
        self.assert_nothing_left()

    def test_interrupted_it_cleans_up_after_itself(self):
        process = subprocess.Popen(self.command(), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        said = self.until(process, "epoch 1/")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=100)
        self.assertEqual(process.returncode, -signal.SIGINT, said + rest)
        self.assert_nothing_left()

    def until(self, process, text):
        said = ""
        for line in process.stdout:
            said += line
            if text in line:
                return said
        self.fail(f"the demo ended without '{text}':\n{said}")

    def test_killed_it_leaves_no_process_and_the_next_one_removes_the_rest(self):
        process = subprocess.Popen(self.command(), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.until(process, "A | epoch 1/")
        process.kill()
        process.wait()
        harness.wait_for(lambda: not processes_naming(self.tmp), 60, "the end of all that the demo had started")
        process = subprocess.Popen(self.command(), env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, start_new_session=True)
        said = self.until(process, "ready:")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=100)
        self.assertEqual(process.returncode, -signal.SIGINT, said + rest)
        self.assert_nothing_left()

    @unittest.skipUnless(os.getuid() == 0, "only root can make an ordinary user to run the demo as")
    def test_installed_it_holds_for_an_ordinary_user(self):
        prefix = self.folder / "ebb"
        subprocess.run(["cmake", "--install", str(harness.BIN.parent), "--prefix", str(prefix)], check=True,
                       stdout=subprocess.DEVNULL)
        for name in ("demo", "scripts/demo", "examples/digits", ".venv"):
            (prefix / name).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", str(harness.ROOT / name), str(prefix / name)], check=True)
        subprocess.run(["chmod", "-R", "a+rX", str(prefix)], check=True)

        name = f"ebbtest{os.getpid()}"
        home = self.folder / "home"
        subprocess.run(["useradd", "--no-log-init", "--create-home", "--home-dir", str(home), "--shell", "/bin/bash",
                        name], check=True, capture_output=True)
        # --force: a zombie that only waits for process 1 must not keep the account.
        self.addCleanup(subprocess.run, ["userdel", "--force", name], check=True, capture_output=True)
        user = pwd.getpwnam(name)
        os.chown(self.tmp, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups",
             str(prefix / "demo"), "--bin", str(prefix / "bin"), "--python", str(prefix / ".venv/bin/python"),
             "--gpus", "declared:4"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "USER": name, "LOGNAME": name,
                 "TMPDIR": str(self.tmp)},
            cwd=home, capture_output=True, text=True, timeout=200)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("== all of it held", done.stdout)
        self.assert_nothing_left()
        left = subprocess.run(["ps", "-o", "ppid=,s=,args=", "-u", name], capture_output=True, text=True).stdout
        # Process 1 reaps orphans when it likes, or, in some containers, never.
        self.assertEqual([line for line in left.splitlines() if line.split()[:2] != ["1", "Z"]], [])


if __name__ == "__main__":
    harness.main()
