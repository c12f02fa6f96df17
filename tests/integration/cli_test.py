"""Every command but `ebb run`, `ebb serve` and `ebb config`, against a real daemon."""
import json
import os
import sqlite3
import subprocess
import time
import unittest

import harness
from harness import EBB, wait_for

COMMANDS = ["run", "submit", "serve", "ps", "status", "why", "logs", "wait", "report", "cancel", "devices", "user",
            "drain", "resume", "config", "audit", "doctor"]


class Help(unittest.TestCase):
    def ebb(self, *args, **env):
        return subprocess.run([EBB, *args], capture_output=True, text=True, timeout=20, env={**os.environ, **env})

    def test_ebb_alone_prints_the_ten_commands_most_used(self):
        done = self.ebb()
        self.assertEqual(done.returncode, 0)
        self.assertEqual(sum(line.startswith("  ebb ") for line in done.stdout.splitlines()), 10)

    def test_every_command_has_help_with_an_example(self):
        listed = self.ebb("--help").stdout
        for command in COMMANDS:
            with self.subTest(command=command):
                self.assertIn(f"ebb {command}", listed)
                done = self.ebb(command, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("Example:", done.stdout)

    def test_usage_errors_are_2(self):
        for args in (["nonsense"], ["run"], ["submit"], ["cancel"], ["wait"], ["status"], ["ps", "--nonsense"],
                     ["user"], ["user", "add"], ["devices", "release"], ["logs", "--stdout", "--stderr", "x"],
                     ["logs", "--tail", "-1", "x"], ["submit", "-c"], ["submit", "-c", "a", "b"], ["ps", "stray"]):
            with self.subTest(args=args):
                done = self.ebb(*args)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertTrue(done.stderr.startswith("ebb: "), done.stderr)
        self.assertEqual(self.ebb("run", "--port", "1", "--", "true").stderr,
                         "ebb: unknown option --port; 'ebb run --help' shows the options\n")

    def test_no_daemon_is_3(self):
        for args in (["ps"], ["status", "7f3a91c2"], ["submit", "true"], ["devices"], ["drain"]):
            with self.subTest(args=args):
                done = self.ebb(args[0], "--server", "/nowhere/s", *args[1:])
                self.assertEqual(done.returncode, 3, done.stderr)

    def test_a_server_that_is_named_never_falls_through(self):
        done = self.ebb("ps", EBB_SERVER="/nowhere/a", EBB_SOCKET="/nowhere/b")
        self.assertEqual(done.returncode, 3)
        self.assertIn("no daemon at /nowhere/a;", done.stderr)

    def test_a_server_that_is_no_server_is_2(self):
        for server in ("https://h", "localhost:1", "http://h:x", "ftp://h"):
            with self.subTest(server=server):
                self.assertEqual(self.ebb("ps", "--server", server).returncode, 2)


class Commands(harness.Case):
    def submit(self, d, *args):
        return d.ebb("submit", *args, check=True).stdout.strip()

    def test_submit_prints_the_id_alone(self):
        d = self.daemon()
        done = d.ebb("submit", "--name", "n", "--", "true")
        self.assertRegex(done.stdout, r"\A[0-9a-f]{8}\n\Z")
        self.assertEqual(d.ebb("wait", done.stdout.strip()).returncode, 0)
        self.assertIn(json.loads(d.ebb("submit", "--json", "--", "true").stdout)["state"],
                      ("queued", "starting", "running"))

    def test_dry_run_makes_no_job(self):
        d = self.daemon()
        done = d.ebb("submit", "--dry-run", "--gpus", "2", "--memory", "1GiB", "--time", "1h", "--", "echo", "{x}")
        spec = json.loads(done.stdout)
        self.assertEqual((spec["command"], spec["gpus"], spec["memory_bytes"], spec["time_s"]),
                         (["echo", "{x}"], 2, 2**30, 3600))
        self.assertEqual(d.http("GET", "/v1/jobs").json["items"], [])

    def test_wait_exits_with_the_first_that_failed_in_argument_order(self):
        d = self.daemon()
        good, three, four = (self.submit(d, "--", "sh", "-c", f"sleep 0.{9 - i}; exit {i}") for i in (0, 3, 4))
        self.assertEqual(d.ebb("wait", good, three, four).returncode, 3)
        self.assertEqual(d.ebb("wait", four, three).returncode, 4)
        self.assertEqual(d.ebb("wait", good).returncode, 0)

    def test_wait_returns_when_the_job_ends_and_not_before(self):
        d = self.daemon()
        job = self.submit(d, "--", "sleep", "1000")
        waiting = d.popen("wait", job)
        d.wait_state(job, "running")
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        d.ebb("cancel", job, check=True)
        self.assertEqual(waiting.wait(30), 143)
        waiting.communicate()

    def test_ids_may_be_shortened_and_near_misses_are_named(self):
        d = self.daemon()
        job = self.submit(d, "--", "true")
        d.wait_state(job)
        for word in (job, job[:4], job[:7], "last"):
            with self.subTest(word=word):
                self.assertEqual(json.loads(d.ebb("status", "--json", word, check=True).stdout)["id"], job)
        wrong = job[:-1] + ("0" if job[-1] != "0" else "1")
        done = d.ebb("status", wrong)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"ebb: no job {wrong}; did you mean {job}? 'ebb ps -a' lists all\n")
        for word in ("abc", "../../etc", "ABCDEFGH", "", "7f3a91c2ff"):
            with self.subTest(word=word):
                self.assertIn(d.ebb("status", word).returncode, (1, 2))

    def test_cancel_returns_when_released_and_prints_the_reports_line(self):
        d = self.daemon()
        job = self.submit(d, "--gpus", "1", "--", "sleep", "1000")
        d.wait_state(job, "running")
        done = d.ebb("cancel", job)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\Areleased in .*GPU 0 verified free")
        self.assertEqual(d.job(job)["state"], "cancelled")
        again = d.ebb("cancel", job)
        self.assertEqual((again.returncode, again.stdout), (0, done.stdout))

    def test_cancel_with_a_grace_of_its_own(self):
        d = self.daemon()
        job = self.submit(d, "--grace", "60s", "--", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
        wait_for(lambda: "up" in d.ebb("logs", job).stdout)
        began = time.monotonic()
        self.assertEqual(d.ebb("cancel", "--grace", "100ms", job).returncode, 0)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(d.ebb("cancel", "--grace", "x", job).returncode, 2)

    def test_cancel_of_several_and_without_waiting(self):
        d = self.daemon()
        jobs = [self.submit(d, "--", "sleep", "1000") for _ in range(3)]
        self.assertEqual(d.ebb("cancel", "--no-wait", *jobs).returncode, 0)
        for job in jobs:
            d.wait_state(job)
        self.assertEqual(d.ebb("cancel", jobs[0], "00000000" if jobs[0] != "00000000" else "00000001").returncode, 1)

    def test_report_of_a_job_that_has_not_ended_is_1(self):
        d = self.daemon()
        job = self.submit(d, "--", "sleep", "1000")
        self.assertEqual(d.ebb("report", job).returncode, 1)
        d.ebb("cancel", job, check=True)
        self.assertEqual(json.loads(d.ebb("report", "--json", job).stdout), d.report(job))
        self.assertGreater(len(d.ebb("report", "-v", job).stdout.splitlines()), 1)

    def test_logs_go_each_to_its_own_stream(self):
        d = self.daemon()
        job = self.submit(d, "--", "sh", "-c", "echo a; echo b >&2; echo c")
        d.wait_state(job)
        done = d.ebb("logs", job)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "a\nc\n", "b\n"))
        done = d.ebb("logs", "--stderr", job)
        self.assertEqual((done.stdout, done.stderr), ("", "b\n"))
        done = d.ebb("logs", "--stdout", "--tail", "1", job)
        self.assertEqual((done.stdout, done.stderr), ("c\n", ""))

    def test_logs_f_ends_with_the_job(self):
        d = self.daemon()
        job = self.submit(d, "--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
        done = d.ebb("logs", "-f", job)
        self.assertEqual((done.returncode, done.stdout), (0, "1\n2\n3\n"))

    def test_logs_path_is_where_the_log_is(self):
        d = self.daemon()
        job = self.submit(d, "--", "echo", "hello")
        d.wait_state(job)
        path = d.ebb("logs", "--path", job, check=True).stdout.strip()
        self.assertTrue(os.path.exists(path), path)

    def test_why_names_who_holds_what_it_waits_for(self):
        d = self.daemon()
        holder = self.submit(d, "--gpus", "4", "--", "sleep", "1000")
        d.wait_state(holder, "running")
        job = self.submit(d, "--gpus", "1", "--", "true")
        done = d.ebb("why", job, check=True)
        self.assertIn("position 1", done.stdout)
        self.assertIn(holder, done.stdout)
        self.assertEqual(json.loads(d.ebb("why", "--json", job).stdout)["state"], "queued")

    def test_ps_lists_those_that_live_and_with_a_all(self):
        d = self.daemon()
        ended = self.submit(d, "--name", "old", "--", "true")
        d.wait_state(ended)
        job = self.submit(d, "--name", "new", "--gpus", "1", "--", "sleep", "1000")
        d.wait_state(job, "running")
        table = d.ebb("ps", check=True).stdout
        self.assertIn(job, table)
        self.assertNotIn(ended, table)
        self.assertIn(ended, d.ebb("ps", "-a", check=True).stdout)
        self.assertIn(job, d.ebb("ps", "--mine", check=True).stdout)
        self.assertEqual([j["id"] for j in json.loads(d.ebb("ps", "--json").stdout)["items"]], [job])

    def test_ps_watch_draws_anew_when_something_happens(self):
        d = self.daemon()
        watch = d.popen("ps", "--watch")
        self.addCleanup(lambda: (watch.kill(), watch.communicate()))
        self.assertIn("ID", watch.stdout.readline())
        job = self.submit(d, "--", "sleep", "1000")
        while job not in watch.stdout.readline():
            pass

    def test_status_shows_a_job_to_people(self):
        d = self.daemon()
        job = self.submit(d, "--gpus", "1", "--name", "n", "--", "sleep", "1000")
        d.wait_state(job, "running")
        text = d.ebb("status", job, check=True).stdout
        for word in (job, "running", "sleep 1000", "GPUs", "started"):
            self.assertIn(word, text)

    def test_devices_show_who_has_which(self):
        d = self.daemon()
        job = self.submit(d, "--gpus", "2", "--ports", "1", "--", "sleep", "1000")
        d.wait_state(job, "running")
        text = d.ebb("devices", check=True).stdout
        self.assertEqual(text.count(job), 3, text)
        self.assertEqual(len(json.loads(d.ebb("devices", "--json").stdout)["gpus"]), 4)
        self.assertEqual(d.ebb("devices", "release", "99").returncode, 1)

    @unittest.skipUnless(os.getuid() == 0, "only root can be another user")
    def test_memory_that_nothing_enforces_is_said(self):
        says = "ebb: --memory 8MiB: counted by the queue, but not enforced here; see 'ebb doctor'\n"
        # An ordinary user's daemon has no controller here, and no v1 group: that is root's.
        own = self.daemon_of(65534)

        def ebb(*words):
            return subprocess.run([*own.as_user, own.program, *words], env=own.client_env(), capture_output=True,
                                  text=True, timeout=60, stdin=subprocess.DEVNULL, cwd="/")
        doctor = {one["name"]: one["good"] for one in json.loads(ebb("doctor", "--json").stdout)}
        self.assertFalse(doctor["--memory"])
        done = ebb("submit", "--json", "--memory", "8MiB", "--", "true")
        self.assertEqual((done.returncode, done.stderr), (0, says))
        self.assertIs(json.loads(done.stdout)["memory_enforced"], False)
        done = ebb("run", "--memory", "8MiB", "--", "true")
        self.assertEqual((done.returncode, done.stderr.count(says)), (0, 1), done.stderr)
        for words in (["run", "-q", "--memory", "8MiB"], ["submit"]):
            self.assertEqual(ebb(*words, "--", "true").stderr, "")
        # Root's daemon enforces it, wherever there is a hierarchy with a memory controller.
        d = self.daemon()
        good = {one["name"]: one["good"] for one in json.loads(d.ebb("doctor", "--json").stdout)}["--memory"]
        done = d.ebb("submit", "--json", "--memory", "8MiB", "--", "true")
        self.assertIs(json.loads(done.stdout)["memory_enforced"], good)
        self.assertEqual(done.stderr, "" if good else says)

    def test_drain_and_resume(self):
        d = self.daemon()
        d.ebb("drain", check=True)
        done = d.ebb("submit", "--", "true")
        self.assertEqual(done.returncode, 1, done.stderr)
        d.ebb("resume", check=True)
        self.assertEqual(d.ebb("wait", self.submit(d, "--", "true")).returncode, 0)

    def test_audit_finds_nothing_and_then_what_is_left(self):
        d = self.daemon()
        self.submit(d, "--gpus", "1", "--", "sleep", "1000")
        done = d.ebb("audit")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        # A stranger in the scratch base, with the name of an attempt that never was.
        left = d.dir / "scratch" / f"{self.submit(d, '--', 'true')}.77"
        left.mkdir()
        done = d.ebb("audit")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(str(left), done.stdout)
        self.assertTrue(json.loads(d.ebb("audit", "--json").stdout)["leftovers"])

    def test_doctor_says_what_the_machine_gives(self):
        d = self.daemon()
        done = d.ebb("doctor", check=True)
        for word in ("containment", "kernel", "GPU driver", "--memory", d.socket):
            self.assertIn(word, done.stdout)
        self.assertTrue(json.loads(d.ebb("doctor", "--json").stdout))


class Users(harness.Case):
    def test_a_key_is_shown_alone_works_over_tcp_rotates_and_is_revoked(self):
        d = self.daemon()
        done = d.ebb("user", "add", "bob", check=True)
        self.assertRegex(done.stdout, r"\Aotk_[0-9a-f]{32}\n\Z")
        key = done.stdout.strip()
        url = f"http://127.0.0.1:{d.port}"
        over_tcp = lambda key, *args: d.ebb(*args, env={"EBB_SERVER": url, "EBB_API_KEY": key})
        self.assertEqual(over_tcp(key, "ps").returncode, 0)
        self.assertEqual(over_tcp("", "ps").returncode, 4)
        self.assertEqual(over_tcp("otk_" + "0" * 32, "ps").returncode, 4)
        done = over_tcp(key, "submit", "--", "true")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--workdir", done.stderr)
        done = over_tcp(key, "run", "-q", "--workdir", "/tmp", "--", "pwd")
        self.assertEqual((done.returncode, done.stdout), (0, "/tmp\n"), done.stderr)
        self.assertIn("bob", d.ebb("user", "list", check=True).stdout)
        new = d.ebb("user", "rotate", "bob", check=True).stdout.strip()
        self.assertEqual((over_tcp(key, "ps").returncode, over_tcp(new, "ps").returncode), (4, 0))
        d.ebb("user", "revoke", "bob", check=True)
        self.assertEqual(over_tcp(new, "ps").returncode, 4)
        self.assertEqual(d.ebb("user", "revoke", "nobody-here").returncode, 1)

    def test_a_key_in_a_file_that_others_can_read_is_refused(self):
        d = self.daemon()
        key = d.add_user("carol")
        home = self.folder()
        (home / ".config" / "ebb").mkdir(parents=True)
        file = home / ".config" / "ebb" / "key"
        file.write_text(key + "\n")
        env = {"EBB_SERVER": f"http://127.0.0.1:{d.port}", "HOME": str(home)}
        file.chmod(0o644)
        self.assertEqual(d.ebb("ps", env=env).returncode, 4)
        file.chmod(0o600)
        self.assertEqual(d.ebb("ps", env=env).returncode, 0)

    def test_users_of_the_original_keep_their_keys(self):
        d = self.daemon()
        file = self.folder() / "scheduler_users.db"
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE users (user_id TEXT PRIMARY KEY, username TEXT UNIQUE NOT NULL, "
                       "api_key TEXT UNIQUE NOT NULL, created_at TEXT NOT NULL, is_admin INTEGER DEFAULT 0)")
            db.execute("INSERT INTO users VALUES ('user_1','dave','otk_" + "a" * 32 + "','2025-01-01',0)")
            db.execute("INSERT INTO users VALUES ('user_2','root2','otk_" + "b" * 32 + "','2025-01-02',1)")
        done = d.ebb("user", "import", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 of 2", done.stderr)
        env = {"EBB_SERVER": f"http://127.0.0.1:{d.port}", "EBB_API_KEY": "otk_" + "a" * 32}
        self.assertEqual(d.ebb("ps", env=env).returncode, 0)
        self.assertEqual(d.ebb("user", "list", env=env).returncode, 4)
        env["EBB_API_KEY"] = "otk_" + "b" * 32
        self.assertEqual(d.ebb("user", "list", env=env).returncode, 0)
        self.assertEqual(d.ebb("user", "import", __file__).returncode, 2)

    def test_users_of_the_original_whose_names_cannot_be_kept_keep_their_keys(self):
        d = self.daemon()
        file = self.folder() / "scheduler_users.db"
        names = ["Carla Müller", "Bob", "root", "nobody", "eve"]
        with sqlite3.connect(file) as db:
            db.execute("CREATE TABLE users (user_id TEXT PRIMARY KEY, username TEXT UNIQUE NOT NULL, "
                       "api_key TEXT UNIQUE NOT NULL, created_at TEXT NOT NULL, is_admin INTEGER DEFAULT 0)")
            for i, name in enumerate(names):
                db.execute("INSERT INTO users VALUES (?,?,?,?,0)", (f"user_0000000{i}", name, f"otk_{i}" + "c" * 31,
                                                                    f"2025-01-0{i + 1}"))
        done = d.ebb("user", "import", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        *lines, last = done.stderr.splitlines()
        self.assertIn("5 of 5", last)
        self.assertEqual([line.split(":")[1].strip() for line in lines],
                         [f"{name} is imported as user_0000000{i}" for i, name in enumerate(names[:4])])
        self.assertEqual({user["name"] for user in d.http("GET", "/v1/users").json["items"]},
                         {"user_00000000", "user_00000001", "user_00000002", "user_00000003", "eve"})
        for i in range(5):
            self.assertEqual(d.http("GET", "/v1/jobs", key=f"otk_{i}" + "c" * 31).status, 200)
        # A second time nobody is made, under whatever name, and who was revoked stays so.
        d.ebb("user", "revoke", "user_00000001", check=True)
        done = d.ebb("user", "import", file)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("0 of 5", done.stderr)
        self.assertEqual(d.http("GET", "/v1/jobs", key="otk_1" + "c" * 31).status, 401)


if __name__ == "__main__":
    harness.main()
