"""Bad input to `ebb run` and `ebb submit`: what each answers, that it says what to do, and that no job was made of it.
docs/bad-input.md lists all of it; serve_input_test.py has the daemon's start, api_input_test.py the HTTP surface."""
import os
import subprocess

import harness
from harness import EBB


class CommandLine(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.d = harness.Daemon()
        cls.addClassCleanup(cls.d.cleanup)

    def jobs(self):
        return self.d.http("GET", "/v1/jobs?limit=1000").json["items"]

    def refused(self, *args, says, status=2, verbs=("run", "submit"), **options):
        """One line on stderr that begins with `ebb: ` and has each of `says`; no job, nothing on stdout."""
        before = len(self.jobs())
        for verb in verbs:
            with self.subTest(verb=verb, args=[a[:60] for a in args]):
                done = self.d.ebb(verb, *args, **options)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(done.stdout, "")
                self.assertTrue(done.stderr.startswith("ebb: ") and done.stderr.count("\n") == 1, done.stderr)
                for text in [says] if isinstance(says, str) else says:
                    self.assertIn(text, done.stderr)
        self.assertEqual(len(self.jobs()), before)

    def runs(self, *args, **options):
        done = self.d.ebb("run", "-q", *args, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    # ---- numbers

    def test_gpu_counts(self):
        for value, says in (("-1", "--gpus must be 0 to 4096, not -1"), ("1.5", "--gpus 1.5: a whole number is needed"),
                            ("two", "--gpus two: a whole number is needed"), ("", "--gpus"),
                            ("0x2", "--gpus 0x2: a whole number"), ("9" * 30, "--gpus " + "9" * 30),
                            ("5", "--gpus 5: this server has 4; it would wait for ever, so it was not queued")):
            self.refused("--gpus", value, "--", "true", says=says)

    def test_gpu_ids(self):
        for value, says in (("4", "--gpu-ids 4: this server has no GPU 4 (it has 0 1 2 3)"),
                            ("-1", "--gpu-ids[0] must"),
                            ("1,1", "--gpu-ids names GPU 1 twice"), ("1,", "--gpu-ids"), ("a", "--gpu-ids a"),
                            ("0-2", "--gpu-ids 0-2"), ("", "--gpu-ids")):
            self.refused("--gpu-ids", value, "--", "true", says=says)
        self.refused("--gpus", "3", "--gpu-ids", "0,1", "--", "true", says="--gpus is 3, but gpu_ids names 2")

    def test_other_numbers(self):
        for option, value, says in (
                ("--ports", "-1", "--ports must be 0 to 100"), ("--ports", "1.5", "--ports 1.5"),
                ("--ports", "21", f"--ports 21: this server's range has 20 ({self.d.ports})"),
                ("--memory", "1PiB", "--memory"), ("--memory", "lots", "--memory lots: 'lots' is no size"),
                ("--memory", "-1", "no size"), ("--memory", "10TiB", "--memory 10 TiB: this server has"),
                ("--time", "10", "--time 10: '10' is no duration; write for example"),
            ("--time", "0", "--time must be"),
                ("--time", "-1s", "no duration"), ("--grace", "2d", "--grace must be"),
            ("--grace", "soon", "--grace soon"),
                ("--priority", "1001", "--priority must be -1000 to 1000"), ("--priority", "x", "--priority x"),
                ("--cpus", "0", "--cpus must be"), ("--cpus", "many", "--cpus many: a number is needed"),
                ("--cpus", "nan", "--cpus"), ("--log-limit", "1B", "--log-limit must be"),
                ("--ready-timeout", "1s", "--ready-timeout needs --ready PATH"),
                ("--ready", "health", "--ready must begin with '/'"), ("--name", "n" * 129, "--name has 129 bytes"),
                ("--name", "a\x1bb", "--name contains a control character")):
            extra = ["--ports", "1"] if option == "--ready" else []
            self.refused(option, value, *extra, "--", "true", says=says)
        self.refused("--ready", "/health", "--", "true", says="add --ports 1")
        self.refused("--ports", "1", "--ready", "/h", "--ready-timeout", "0", "--", "true",
                     says="--ready-timeout must be")
        self.refused("--owner-lease", "1us", "--", "true", says="--owner-lease must be", verbs=("run",))

    # ---- what to execute

    def test_a_command_that_cannot_be_executed(self):
        folder = self.folder()
        plain = folder / "plain"
        plain.write_text("no program\n")
        script = folder / "script"
        script.write_text("#!/no/such/interpreter\n")
        noline = folder / "noline"
        noline.write_bytes(b"\x00\x01\x02")
        for path in (script, noline):
            path.chmod(0o755)
        for word, status, says in (("no-such-command-here", 127, "command not found: no-such-command-here (PATH is "),
                                   (str(folder / "none"), 127, f"command not found: {folder}/none"),
                                   (str(plain), 126, f"cannot execute {plain}: Permission denied"),
                                   (str(folder), 126, f"cannot execute {folder}: it is a directory"),
                                   (str(script), 126, "the interpreter in its first line does not exist"),
                                   (str(noline), 126, "it is no program and has no #! line")):
            with self.subTest(word=word):
                done = self.d.ebb("run", word, "argument")
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(says, done.stderr)
                job = self.d.ebb("submit", word, "argument", check=True).stdout.strip()
                self.assertEqual(self.d.ebb("wait", job).returncode, status)
                reason = self.d.job(job)["reason"]
                self.assertEqual(reason["kind"], "start_failed")
                self.assertIn(says, reason["detail"])

    def test_a_quoted_shell_string(self):
        self.refused("python3 train.py --lr 1", status=127,
                     says=("'python3 train.py --lr 1' is one word with spaces in it", "-c 'python3 train.py --lr 1'"))
        url, key = f"http://127.0.0.1:{self.d.port}", self.d.add_user("quoted")
        self.refused("--workdir", "/tmp", "sleep 1", status=127, says="-c 'sleep 1'",
                     env={"EBB_SERVER": url, "EBB_API_KEY": key})

    def test_an_argument_that_the_kernel_does_not_take(self):
        """The kernel takes none over 131,071 bytes from a shell either, so it comes by a placeholder or a file."""
        folder = self.folder()
        (folder / "big.env").write_text("BIG=" + "x" * 131_068 + "\n")
        self.refused("--env-file", str(folder / "big.env"), "--", "true",
                     says="--env BIG has 131072 bytes; the kernel takes at most 131071 in one argument or variable")
        (folder / "most.env").write_text("BIG=" + "x" * 131_067 + "\n")
        self.assertEqual(self.runs("--env-file", str(folder / "most.env"), "--", "sh", "-c", "echo ${#BIG}"),
                         "131067\n")
        word = "x" * 131_060 + "{scratch}"
        self.assertEqual(self.d.ebb("run", word[:131_060], "{scratch}").returncode, 127)
        done = self.d.ebb("run", "true", word)
        self.assertEqual(done.returncode, 126, done.stderr)
        self.assertIn("cannot execute", done.stderr)

    def test_bytes_that_are_no_utf8_are_never_changed_in_silence(self):
        latin = b"caf\xe9"
        folder = self.folder()
        for args, says in ((["echo", latin], "argument 1 is no UTF-8 text"),
                           (["--name", latin, "true"], "--name is no UTF-8"),
                           (["--group", latin, "true"], "--group is no UTF-8"),
                           (["--env", b"K=" + latin, "true"], "--env K is no UTF-8"),
                           (["--workdir", b"/tmp/" + latin, "true"], "--workdir is no UTF-8")):
            self.refused(*map(os.fsdecode, args), says=says)
        # The submitter's own environment and folder need no JSON: they arrive as they are.
        there = os.fsencode(folder) + b"/" + latin
        os.mkdir(there)
        os.chmod(there, 0o755)
        done = subprocess.run([EBB, "run", "-q", "--", "sh", "-c", 'pwd; echo "$K"; echo "$1"', "-", "{workdir}"],
                              cwd=there,
                              env={**{os.fsencode(k): os.fsencode(v) for k, v in self.d.client_env().items()},
                                   b"K": latin},
                              capture_output=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (0, there + b"\n" + latin + b"\n" + there + b"\n"),
                         done.stderr)
        # And a shell can make any byte.
        self.assertEqual(self.d.ebb("run", "-q", "-c", r"printf 'caf\xe9' | od -An -c").stdout.split(),
                         ["c", "a", "f", "351"])

    def test_nul_bytes(self):
        file = self.folder() / "nul.env"
        file.write_bytes(b"A=1\nB=x\x00y\n")
        self.refused("--env-file", str(file), "--", "true", says=f"{file}:2: there is a NUL byte in this line")

    def test_a_hundred_thousand_variables(self):
        count = lambda env: subprocess.run([EBB, "run", "-q", "--", "sh", "-c", "env | wc -l"],
                                           env=env, capture_output=True, text=True, timeout=60)
        base = {**self.d.client_env(), "PATH": "/usr/bin:/bin"}
        done = count({**base, **{f"V{i}": "" for i in range(99_000)}})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertGreater(int(done.stdout), 99_000)
        done = count({**base, **{f"V{i}": "" for i in range(100_001)}})
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"has 1000\d\d variables, and at most 100000 are passed on; .*--clean-env")
        self.assertEqual(subprocess.run([EBB, "run", "-q", "--clean-env", "--", "true"], timeout=60,
                                        env={**base, **{f"V{i}": "" for i in range(100_001)}}).returncode, 0)
        file = self.folder() / "many.env"
        file.write_text("".join(f"V{i}=\n" for i in range(100_000)))
        self.refused("--env-file", str(file), "--", "true", says="larger than")

    # ---- placeholders

    def test_a_placeholder_that_the_job_lacks(self):
        self.refused("echo", "a", "b", "{port}",
                     says="{port} in argument 3, but the job asks for no port; add --ports 1 or --no-expand")
        self.refused("--ports", "1", "echo", "x{port:1}",
                     says="{port:1} in argument 1, but the job asks for 1 port, numbered from 0; add --ports 2 or --no-expand")
        self.refused("--env", "K={port}", "true", says="{port} in --env K, but the job asks for no port")
        self.refused("echo", "{sidecar.reward.url}", says="add --sidecar reward=CMD", verbs=("submit",))
        self.refused("echo", "{sidecar.reward.url}", says="--sidecar reward=", verbs=("run",))
        self.assertEqual(self.runs("--no-expand", "echo", "{port} {sidecar.reward.url}"),
                         "{port} {sidecar.reward.url}\n")

    def test_other_braces_pass_unchanged(self):
        words = ["{print $1}", "BEGIN{x=1}{port=2}", '{"port": 1, "gpus": [0]}', '{"a":{"b":{}}}',
                 "data.{train,val}={a,b}",
                 "hydra.run.dir={now:%Y}", "${port}x", "{{.Job}}", "{{port}}", "{ port }", "{Port}", "{port", "port}",
                 "{}",
                 "{port:x}", "{port:}", "{unknown}", "{a.b.c}", "{sidecar.url}", "{sidecar..url}", "{gpu}",
                 "{job_id:1}", "{{{", "}}}"]
        words.remove("${port}x")   # a shell has put its own in before we see it; what is left is our placeholder
        words.remove("{{port}}")   # and this is one within braces of others
        out = self.runs("--", "printf", "%s\\n", *words)
        self.assertEqual(out.splitlines(), words)
        self.assertRegex(self.runs("--ports", "1", "--", "echo", "{{port}}", "${port}x"), r"\A\{\d+\} \$\d+x\n\Z")

    def test_what_is_put_in_is_not_looked_at_again(self):
        folder = self.folder() / "{gpus}"
        folder.mkdir()
        self.assertEqual(self.runs("--", "echo", "{workdir}", cwd=folder), f"{folder}\n")

    # ---- options

    def test_options_that_do_not_exist_yet_are_unknown(self):
        for args in (["--after", "last"], ["--array", "3"], ["--retries", "2"], ["--ray", "head=1"]):
            self.refused(*args, "--", "true", says=args[0])
        self.assertEqual(self.d.http("POST", "/v1/jobs", {"command": ["true"], "retries": 1}).json["type"],
                         "unknown-field")


if __name__ == "__main__":
    harness.main()
