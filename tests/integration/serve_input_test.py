"""Bad input in the configuration and at the daemon's start: exit status, words, and that nothing is left of it.
docs/bad-input.md lists all of it; input_test.py has the rest of the command line."""
import os
import stat
import subprocess

import harness
from harness import EBB

SHIM = harness.BIN.parent / "world-shim" / "world.so"
NOBODY = 65534


class Configuration(harness.Case):
    """Bad configuration: exit 2, one line with file, line and key, from `serve` and `config check` alike."""

    def refused(self, text, says):
        file = self.folder() / "ebb.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        state = ["--state", file.parent / "state", "--socket", file.parent / "s"]
        for args in (["config", "check"], ["config", "print"], ["serve", "--listen", "none", *state]):
            with self.subTest(args=args, text=text[:60]):
                done = subprocess.run([EBB, *args, "--config", file], capture_output=True, text=True, timeout=20)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertEqual(done.stdout, "")
                self.assertTrue(done.stderr.startswith("ebb: ") and done.stderr.count("\n") == 1, done.stderr)
                self.assertIn(says.format(file=file), done.stderr)

    def test_unknown_keys(self):
        self.refused("[server]\n\nsockt = '/x'\n", "{file}:3: server.sockt: unknown key; did you mean 'socket'?")
        self.refused("[sever]\nlisten = 'none'\n", "{file}:1: sever: unknown key; did you mean 'server'?")
        self.refused("[jobs]\nfrobnicate = 1\n", "{file}:2: jobs.frobnicate: unknown key; 'ebb config print' lists all")
        self.refused("[defaults]\nretries = 1\n", "{file}:2: defaults.retries: unknown key")
        self.refused("[templates.t]\ncommand = ['x']\nprots = 1\n",
                     "{file}:3: templates.t.prots: unknown key; did you mean 'ports'?")

    def test_wrong_types(self):
        for text, says in (("[server]\nlisten = 8765\n", "{file}:2: server.listen: must be a string, not an integer"),
                           ("[server]\nregistration = 'yes'\n",
                            "{file}:2: server.registration: must be true or false, not a string"),
                           ("[queue]\nmax_running = 2.5\n",
                            "{file}:2: queue.max_running: must be an integer, not a number with a fraction"),
                           ("[jobs]\nkill_timeout = 5\n", "{file}:2: jobs.kill_timeout: must be a string with a unit"),
                           ("[server]\nmax_body = 1048576\n",
                            "{file}:2: server.max_body: must be a string with a unit"),
                           ("[gpus]\nignore = 'Xorg'\n",
                            "{file}:2: gpus.ignore: must be an array of strings, not a string"),
                           ("queue = 3\n", "{file}:1: queue: must be a table"),
                           ("[jobs]\nscratch = 'scratch'\n",
                            "{file}:2: jobs.scratch: 'scratch' is not an absolute path"),
                           ("[defaults]\ngrace = '2 weeks'\n", "{file}:2: defaults.grace: '2 weeks' is no duration")):
            self.refused(text, says)

    def test_values_out_of_range(self):
        for text, says in (("[queue]\nmax_running = 0\n", "{file}:2: queue.max_running: 0 is out of range; 1 to"),
                           ("[ports]\nrange = '39000-38000'\n",
                            "{file}:2: ports.range: port range '39000-38000': it is reversed; did you mean 38000-39000?"),
                           ("[ports]\nrange = '80-90'\n",
                            "{file}:2: ports.range: port range '80-90': ports below 1024 are privileged"),
                           ("[gpus]\nuse = '-1'\n", "{file}:2: gpus.use: "),
                           ("[gpus]\nuse = 'declared:1.5'\n", "{file}:2: gpus.use: "),
                           ("[server]\nlisten = 'localhost'\n", "{file}:2: server.listen: 'localhost' is no address")):
            self.refused(text, says)

    def test_files_that_are_no_configuration(self):
        self.refused("[server\nlisten = 1\n", "{file}:1: ")
        self.refused("[server]\nlisten = \"127.0.0.1\n", "{file}:2: ")
        self.refused("[server]\nlisten = 'none'\nlisten = 'none'\n", "{file}:3: ")
        self.refused(b"[server]\nlisten = '\xff'\n", "{file}:2: ")
        for path, says in (("/no/such/ebb.toml", "/no/such/ebb.toml: No such file"), ("/tmp", "/tmp: Is a directory")):
            done = subprocess.run([EBB, "config", "check", "--config", path], capture_output=True, text=True,
                                  timeout=20)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(says, done.stderr)


class Serve(harness.Case):
    """`ebb serve` that does not start: the exit status, what it says, and that it leaves nothing."""

    def refused(self, *args, says, status=1, env=None, prefix=(), program=EBB):
        given = [str(word).split("=")[0] for word in args]
        usual = [word for word in ("--listen=none", "--gpus=declared:4") if word.split("=")[0] not in given]
        with self.subTest(args=args):
            done = subprocess.run([*prefix, program, "serve", *usual, *map(str, args)],
                                  env={**os.environ, "EBB_LOCK_DIR": str(self.folder()), **(env or {})},
                                  capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, status, done.stderr)
            for text in [says] if isinstance(says, str) else says:
                self.assertIn(text, done.stderr)
            return done.stderr

    def places(self):
        folder = self.folder()
        file = folder / "ebb.toml"
        file.write_text(f"[jobs]\nscratch = '{folder}/scratch'\n")
        return folder, ["--config", file, "--socket", folder / "s"]

    def test_options(self):
        folder, places = self.places()
        places += ["--state", folder / "state"]
        for args, says in ((["--gpus=-1"],
                            "--gpus: '-1': '-1' is no GPU's number; give auto, none, 0,1,2,3 or declared:4"),
                           (["--gpus=1.5"], "--gpus"),
                           (["--gpus=two"], "--gpus"),
                           (["--gpus=declared:-1"], "--gpus"), (["--gpus=0,0"], "GPU 0 is named twice"),
                           (["--ports=38099-38000"],
                            "--ports: port range '38099-38000': it is reversed; did you mean 38000-38099?"),
                           (["--ports=80-1030"], "--ports: port range '80-1030': ports below 1024 are privileged"),
                           (["--ports=65000-65536"], "ports end at 65535"), (["--ports=few"], "give FROM-TO"),
                           (["--listen=localhost:1"], "--listen: 'localhost:1' is no address"),
                           (["--listen=127.0.0.1:70000"], "no address"),
                           (["--on-stop=perhaps"], "--on-stop"), (["stray"], "stray"), (["--nonsense"], "--nonsense")):
            self.refused(*args, *places, says=says, status=2)
        self.assertEqual([path.name for path in folder.iterdir()], ["ebb.toml"])

    def test_a_state_directory_that_is_not_there_is_made_closed_to_others(self):
        d = self.daemon()
        self.assertEqual(stat.S_IMODE(d.state.stat().st_mode), 0o700)

    def test_a_state_directory_that_cannot_be_made(self):
        folder, args = self.places()
        (folder / "file").write_text("")
        self.refused(*args, "--state", folder / "file", says=f"{folder}/file")
        self.refused(*args, "--state", folder / "file" / "state", says=(f"{folder}/file", "Not a directory"))
        self.refused(*args, "--state", "/proc/ebb", says=("/proc/ebb", "--state"))

    def test_a_state_directory_that_is_not_writable(self):
        folder, args = self.places()
        (folder / "state").mkdir(mode=0o700)
        prefix, program = self.unprivileged()
        if os.getuid() != 0:
            (folder / "state").chmod(0o500)
        self.refused(*args, "--state", folder / "state", says=(f"{folder}/state", "--state DIR"), prefix=prefix,
                     program=program)

    def unprivileged(self):
        """How to run a program without rights of ours, and where one lies that anybody may execute."""
        if os.getuid() != 0:
            return [], EBB
        bin = self.folder()
        harness.copy_programs(bin)
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"], str(bin / "ebb")

    def test_a_state_directory_on_a_network_file_system(self):
        folder, args = self.places()
        (folder / "state").mkdir()
        said = self.refused(*args, "--state", folder / "state", status=2,
                            env={"LD_PRELOAD": str(SHIM), "EBB_TEST_NETWORK": str(folder),
                                 "ASAN_OPTIONS": "verify_asan_link_order=0"},
                            says=(f"the state directory {folder}/state lies on a network file system (NFS)",
                                  "--state DIR"))
        self.assertEqual(list((folder / "state").iterdir()), [], said)

    def test_a_state_directory_of_a_living_daemon(self):
        d = self.daemon()
        folder, args = self.places()
        who = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
        self.refused(*args, "--state", d.state, says=(f"a daemon already uses the state directory {d.state}",
                                                      f"pid {d.process.pid}", f"user {who}", d.socket))
        self.assertEqual(d.ebb("run", "-q", "--", "echo", "up").stdout, "up\n")

    def test_a_socket_that_is_something_else(self):
        folder, args = self.places()
        (folder / "s").write_text("mine")
        self.refused(*args, "--state", folder / "state",
                     says=f"{folder}/s is there and is no socket; choose another --socket")
        self.assertEqual((folder / "s").read_text(), "mine")

    def test_ports_that_run_out(self):
        d = harness.Daemon(start=False)
        self.addCleanup(self._end, d)
        first = int(d.ports.split("-")[0])
        d.ports = f"{first}-{first + 1}"
        d.start()
        holder = d.submit(["sleep", "1000"], ports=2)
        d.wait_state(holder["id"], "running")
        waiting = d.ebb("submit", "--ports", "1", "--", "true", check=True).stdout.strip()
        self.assertRegex(d.ebb("why", waiting, check=True).stdout, rf"waits for 1 port; held by \S+ {holder['id']}")
        done = d.ebb("submit", "--ports", "3", "--", "true")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"--ports 3: this server's range has 2 ({d.ports}); it would wait for ever", done.stderr)
        d.ebb("cancel", holder["id"], check=True)
        self.assertEqual(d.ebb("wait", waiting).returncode, 0)


if __name__ == "__main__":
    harness.main()
