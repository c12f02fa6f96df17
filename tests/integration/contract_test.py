"""The contract, sentence by sentence, where no other test holds it: shapes of answers, exit statuses, options, what a
job finds around it."""
import json
import os
import pathlib
import pty
import re
import signal
import sqlite3
import subprocess

import harness
from harness import EBB, wait_for

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
JOB = {"id", "name", "user", "state", "reason", "spec", "gpu_ids", "ports", "server_url", "pid", "attempt",
       "submitted_at",
       "started_at", "ended_at", "exit", "position", "why", "owner", "tier", "memory_enforced"}
SPEC = {"command", "gpus", "gpu_ids", "ports", "cpus", "memory_bytes", "time_s", "grace_s", "priority", "name", "group",
        "env",
        "clean_env", "workdir", "ready", "owner", "log_limit_bytes", "share_ipc", "expand"}
REPORT = {"job", "attempt", "reason", "exit", "tier", "started_at", "stop_requested_at", "released_at", "complete",
          "releases"}
RELEASE = {"kind", "target", "action", "outcome", "verified_by", "count", "took_ms", "outside", "error"}


class Answers(harness.Case):
    def test_a_job_and_its_report_have_every_field_always(self):
        d = self.daemon(config="[queue]\nmax_running = 1\n")
        running = d.submit(["sleep", "1000"], gpus=2, ports=1, owner={"lease_s": 60})["id"]
        job = d.wait_state(running, "running")
        queued = d.job(d.submit(["true"])["id"])
        ended = d.http("DELETE", f"/v1/jobs/{running}?wait=20s&grace=0").json
        for one in (job, queued, d.job(running)):
            self.assertEqual((set(one), set(one["spec"]), set(one["exit"])), (JOB, SPEC, {"code", "signal"}))
        for name in ("submitted_at", "started_at"):
            self.assertRegex(job[name], rf"\A{TIME}\Z")
        self.assertEqual((job["owner"], job["gpu_ids"], len(job["ports"])),
                         ({"lease_s": 60, "connected": False}, [0, 1], 1))
        self.assertEqual(job["server_url"], f"http://127.0.0.1:{job['ports'][0]}")
        self.assertEqual((queued["position"], queued["owner"], queued["pid"], queued["tier"]), (1, None, None, None))
        self.assertIn("waits for", queued["why"])
        self.assertEqual(set(ended), REPORT)
        self.assertEqual((ended["job"], ended["attempt"], ended["complete"], set(ended["reason"])),
                         (running, 1, True, {"kind", "by", "detail"}))
        for release in ended["releases"]:
            self.assertEqual(set(release), RELEASE)
        self.assertLessEqual({"processes", "gpu", "port", "scratch"},
                             {release["kind"] for release in ended["releases"]})
        self.assertTrue(set(ended["tier"].split("+")) <= {"cgroup", "pidns", "subreaper"})

    def test_a_job_that_never_ran_has_a_report_of_attempt_0(self):
        d = self.daemon()
        d.wait_state(d.submit(["sleep", "1000"], gpus=4)["id"], "running")
        queued = d.submit(["true"], gpus=1)["id"]
        report = d.http("DELETE", f"/v1/jobs/{queued}?wait=20s").json
        self.assertEqual((report["attempt"], report["releases"], report["complete"], report["reason"]["kind"]),
                         (0, [], True, "cancelled"))

    def test_null_means_the_default(self):
        d = self.daemon(config="[defaults]\ngpus = 1\nports = 1\ncpus = 2.5\nmemory = '64MiB'\ntime = '1h'\n"
                               "grace = '3s'\npriority = -5\nready_timeout = '11s'\nowner_lease = '12s'\n"
                               "log_limit = '1MiB'\nshare_ipc = true\nclean_env = true\n")
        want = {"gpus": 1, "ports": 1, "cpus": 2.5, "memory_bytes": 64 << 20, "time_s": 3600, "grace_s": 3,
                "priority": -5,
                "log_limit_bytes": 1 << 20, "share_ipc": True, "clean_env": True, "expand": True, "name": None,
                "gpu_ids": None,
                "ready": {"path": "/h", "timeout_s": 11}, "owner": {"lease_s": 12}}
        for body in ({}, {name: None for name in SPEC - {"command"}}):
            job = d.submit(["sleep", "1000"], **{**body, "ready": {"path": "/h"}, "owner": {}})
            self.assertEqual({name: job["spec"][name] for name in want}, want)
            self.assertEqual(d.http("DELETE", f"/v1/jobs/{job['id']}?wait=20s").status, 200)

    def test_why_for_each_kind(self):
        d = self.daemon(config="[queue]\nmax_running = 3\n")
        shape = {"kind", "need", "free", "held_by", "text"}

        def blocker(kind, **spec):
            job = d.submit(["true"], **spec)["id"]
            why = d.http("GET", f"/v1/jobs/{job}/why").json
            self.assertEqual((set(why), why["state"]), ({"state", "position", "blockers"}, "queued"))
            found = next((b for b in why["blockers"] if b["kind"] == kind), None)
            self.assertIsNotNone(found, why)
            self.assertEqual(set(found), shape)
            self.assertIn(found["text"], d.ebb("why", job, check=True).stdout)
            d.http("DELETE", f"/v1/jobs/{job}?wait=20s")
            return found

        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4
        holder = d.submit(["sleep", "1000"], gpus=3, ports=20, memory_bytes=memory)["id"]
        d.wait_state(holder, "running")
        user = d.job(holder)["user"]
        gpu = blocker("gpu", gpus=2)
        self.assertEqual((gpu["need"], gpu["free"], gpu["held_by"]), (2, 1,
                                                                      [{"job": holder, "user": user,
                                                                        "gpus": [0, 1, 2]}]))
        self.assertEqual(gpu["text"], f"waits for 2 GPUs; {user}'s {holder} holds 0 1 2")
        port = blocker("port", ports=1)
        self.assertEqual((port["need"], port["free"], port["held_by"][0]["job"]), (1, 0, holder))
        self.assertEqual(blocker("memory", memory_bytes=memory)["held_by"][0]["job"], holder)
        for _ in range(2):
            d.wait_state(d.submit(["sleep", "1000"])["id"], "running")
        self.assertIn("3", blocker("limit")["text"])
        waiting = d.submit(["true"], gpus=2)["id"]
        d.ebb("drain", check=True)
        kinds = [b["kind"] for b in d.http("GET", f"/v1/jobs/{waiting}/why").json["blockers"]]
        self.assertIn("drain", kinds)
        self.assertIn("resume", d.ebb("why", waiting).stdout)

    def test_full_queue_quota_and_draining(self):
        d = self.daemon(config="[queue]\nmax_queued = 1\nmax_per_user = 3\n")
        holder = d.submit(["sleep", "1000"], gpus=4)["id"]
        d.wait_state(holder, "running")
        d.submit(["true"], gpus=1)

        def refused(status, kind):
            answer = d.http("POST", "/v1/jobs", {"command": ["true"], "gpus": 1})
            self.assertEqual((answer.status, answer.json["type"]), (status, kind), answer)
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
            for verb in ("submit", "run"):
                done = d.ebb(verb, "--gpus", "1", "--", "true")
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertEqual(done.stderr, f"ebb: {answer.json['detail']}\n")

        refused(429, "queue-full")
        d.ebb("drain", check=True)
        refused(503, "draining")
        self.assertEqual(d.http("GET", "/readyz").status, 503)
        d.ebb("resume", check=True)
        self.assertEqual(d.http("GET", "/readyz").status, 200)
        d.ebb("cancel", holder, check=True)
        few = self.daemon(config="[queue]\nmax_per_user = 1\n")
        few.submit(["sleep", "1000"])
        d = few
        refused(429, "over-quota")

    def test_lists(self):
        d = self.daemon()
        key = d.add_user("lister")
        jobs = [d.submit(["true"], name=f"n{i % 2}", group="g" if i < 2 else None)["id"] for i in range(5)]
        theirs = d.submit(["true"], key=key, workdir="/tmp")
        for job in [*jobs, theirs["id"]]:
            d.wait_state(job)
        ids = lambda query, **o: [j["id"] for j in d.http("GET", f"/v1/jobs{query and '?' + query}", **o).json["items"]]
        newest = list(reversed([*jobs, theirs["id"]]))
        self.assertEqual(ids(""), newest)
        self.assertEqual(ids("name=n1"), [jobs[3], jobs[1]])
        self.assertEqual(ids("group=g"), [jobs[1], jobs[0]])
        self.assertEqual(ids("user=lister"), [theirs["id"]])
        self.assertEqual(ids("mine=1"), newest[1:])
        self.assertEqual(ids("mine=1", key=key), [theirs["id"]])
        self.assertEqual(ids("state=completed&state=failed"), newest)
        self.assertEqual(ids("state=queued,running"), [])
        self.assertEqual(ids("since=" + theirs["submitted_at"]), [theirs["id"]])
        self.assertEqual(ids("id=" + jobs[0][:5]), sorted(j for j in newest if j.startswith(jobs[0][:5])))
        pages, cursor = [], ""
        while True:
            page = d.http("GET", f"/v1/jobs?limit=2{cursor}").json
            self.assertEqual(set(page), {"items", "next_cursor"})
            pages.append([j["id"] for j in page["items"]])
            if page["next_cursor"] is None:
                break
            cursor = "&cursor=" + page["next_cursor"]
        self.assertEqual(pages, [newest[:2], newest[2:4], newest[4:]])

    def test_last_and_mine_are_the_askers_even_for_an_admin(self):
        d = self.daemon()
        admin = {"EBB_SERVER": f"http://127.0.0.1:{d.port}", "EBB_API_KEY": d.add_user("boss", admin=True)}
        mine = d.ebb("submit", "--workdir", "/tmp", "--", "true", env=admin, check=True).stdout.strip()
        theirs = d.ebb("submit", "--", "true", check=True).stdout.strip()
        self.assertEqual(json.loads(d.ebb("status", "--json", "last", env=admin, check=True).stdout)["id"], mine)
        self.assertEqual(json.loads(d.ebb("status", "--json", "last", check=True).stdout)["id"], theirs)
        self.assertEqual([j["id"] for j in json.loads(d.ebb("ps", "-a", "--mine", "--json",
                                                            env=admin).stdout)["items"]], [mine])
        new = {**admin, "EBB_API_KEY": d.add_user("new")}
        done = d.ebb("ps", "--mine", env=new)
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 1), done.stderr)
        done = d.ebb("cancel", "last", env=new)
        self.assertEqual((done.returncode, done.stderr), (1, "ebb: you have no job yet\n"))

    def test_delete_answers_202_and_the_job_while_it_is_releasing(self):
        d = self.daemon()
        job = d.submit(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"], grace_s=60)["id"]
        wait_for(lambda: d.http("GET", f"/v1/jobs/{job}/logs").body)
        d.wait_state(job, "running")  # its output may be read before its start is heard of
        answer = d.http("DELETE", f"/v1/jobs/{job}?wait=100ms")
        self.assertEqual((answer.status, answer.json["id"], answer.json["state"]),
                         (202, job, "releasing"))  # within its grace
        self.assertEqual([j["id"] for j in d.http("GET", "/v1/jobs?state=releasing").json["items"]], [job])
        self.assertEqual(answer.json["reason"]["kind"], "cancelled")
        answer = d.http("DELETE", f"/v1/jobs/{job}?grace=0&wait=30s")
        self.assertEqual((answer.status, answer.json["complete"]), (200, True))

    def events(self, d, headers, count):
        connection = d.connect()
        connection.request("GET", "/v1/events", headers=headers)
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/event-stream"))
        found, event = [], {}
        for line in answer:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name in ("id", "event", "data"):
                event[name] = value
            elif event:
                found.append(event)
                event = {}
                if len(found) == count:
                    connection.sock and connection.sock.close()
                    return found

    def test_events_resume_or_reset(self):
        d = self.daemon()
        for _ in range(2):
            d.wait_state(d.submit(["true"])["id"])
        all_of_them = self.events(d, {"Last-Event-ID": "0"}, 6)
        ids = [int(e["id"]) for e in all_of_them]
        self.assertEqual(ids, sorted(ids))
        self.assertEqual(json.loads(all_of_them[0]["data"])["type"], all_of_them[0]["event"])
        self.assertEqual(self.events(d, {"Last-Event-ID": str(ids[2])}, 3), all_of_them[3:])
        self.assertEqual(d.stop(), 0)
        with sqlite3.connect(d.state / "ebb.db") as db:
            db.execute("DELETE FROM events WHERE seq <= ?", (ids[3],))
        d.start()
        self.assertEqual(self.events(d, {"Last-Event-ID": str(ids[0])}, 1)[0]["event"], "reset")
        self.assertEqual(self.events(d, {"Last-Event-ID": str(ids[3])}, 1), all_of_them[4:5])
        self.assertEqual(self.events(d, {"Last-Event-ID": "999999999"}, 1)[0]["event"], "reset")


class CommandLine(harness.Case):
    def test_subcommands_have_help(self):
        for args in (["user", "add"], ["user", "import"], ["devices", "release"], ["config", "check"]):
            done = subprocess.run([EBB, *args, "--help"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("Example:" if args[0] != "devices" else "GPU", done.stdout)

    def test_json_of_every_command_that_prints_data(self):
        d = self.daemon()
        run = lambda *args: json.loads(d.ebb(*args, "--json", check=True).stdout)
        job = json.loads(d.ebb("submit", "--json", "--", "true", check=True).stdout)["id"]
        self.assertEqual(run("wait", job)["id"], job)
        self.assertEqual(run("status", job), d.job(job))
        self.assertEqual(run("report", job), d.report(job))
        self.assertEqual(run("cancel", job), d.report(job))
        self.assertEqual(run("why", job), d.http("GET", f"/v1/jobs/{job}/why").json)
        self.assertEqual(run("ps", "-a"), d.http("GET", "/v1/jobs").json)
        self.assertEqual(run("devices"), d.http("GET", "/v1/devices").json)
        self.assertEqual(run("devices", "release", "0"), d.http("GET", "/v1/devices").json)
        self.assertEqual(set(run("user", "add", "carl")), {"user", "api_key"})
        self.assertEqual(run("user", "list"), d.http("GET", "/v1/users").json)
        self.assertEqual(run("user", "rotate", "carl")["user"]["name"], "carl")
        self.assertIsNotNone(run("user", "revoke", "carl")["revoked_at"])
        self.assertEqual(run("audit")["leftovers"], [])
        self.assertTrue(run("doctor"))
        self.assertEqual(json.loads(d.ebb("cancel", "--no-wait", "--json", job).stdout)["job"], job)

    def test_colour_is_for_terminals_that_want_it(self):
        d = self.daemon()
        job = d.submit(["true"])["id"]
        d.wait_state(job)
        for command in (["ps", "-a"], ["status", job], ["devices"], ["report", "-v", job], ["doctor"], ["audit"],
                        ["ps", "--nonsense"]):
            for env in ({}, {"NO_COLOR": "1"}):
                main, side = pty.openpty()
                try:
                    subprocess.run([EBB, *command], env={**d.client_env(), "TERM": "xterm-256color", **env}, stdin=side,
                                   stdout=side, stderr=side, timeout=20)
                    os.close(side)
                    out = b""
                    while True:
                        try:
                            piece = os.read(main, 65536)
                        except OSError:
                            break
                        if not piece:
                            break
                        out += piece
                finally:
                    os.close(main)
                if env:
                    self.assertNotIn(b"\x1b", out, command)
            self.assertNotIn("\x1b", d.ebb(*command, env={"NO_COLOR": ""}).stdout)

    def test_what_a_job_finds_around_it_over_the_socket(self):
        d = self.daemon()
        folder = self.folder()
        out = d.ebb("run", "-q", "--gpus", "2", "--ports", "2", "--", "sh", "-c",
                    "env; echo cwd=$(pwd) umask=$(umask) nofile=$(ulimit -Sn) stdin=$(readlink /proc/self/fd/0)",
                    check=True, cwd=folder, umask=0o027,
                    env={"MINE": "yes"}, preexec_fn=lambda: __import__("resource").setrlimit(7, (512, 4096))).stdout
        found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        job = d.http("GET", "/v1/jobs").json["items"][0]
        self.assertEqual(found["MINE"], "yes")
        self.assertIn(f"cwd={folder} umask=0027 nofile=512 stdin=/dev/null", out)
        for name, value in (("EBB_JOB_ID", job["id"]), ("EBB_ATTEMPT", "1"), ("EBB_GPUS", "0,1"),
                            ("CUDA_VISIBLE_DEVICES", "0,1"),
                            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), ("EBB_PORT", str(job["ports"][0])),
                            ("EBB_PORTS", ",".join(map(str, job["ports"]))),
                            ("EBB_SERVER", d.socket)):
            self.assertEqual(found[name], value, name)
        self.assertIn(job["id"], found["EBB_SCRATCH"])
        out = d.ebb("run", "-q", "--clean-env", "--env", "A=1", "--env", "HOME", "--", "env", check=True,
                    env={"HOME": "/h", "CUDA_VISIBLE_DEVICES": "7"}).stdout
        found = dict(line.split("=", 1) for line in out.splitlines())
        self.assertEqual((found["A"], found["HOME"], found["CUDA_VISIBLE_DEVICES"]), ("1", "/h", ""))
        self.assertNotIn("EBB_KEY", found)
        self.assertEqual(d.ebb("run", "-q", EBB, "ps", "--json", check=True).returncode, 0)

    def test_what_a_job_finds_around_it_over_tcp(self):
        d = self.daemon()
        env = {"EBB_SERVER": f"http://127.0.0.1:{d.port}", "EBB_API_KEY": d.add_user("remote"), "MINE": "no"}
        out = d.ebb("run", "-q", "--workdir", "/tmp", "--env", "A=1", "--", "sh", "-c", "env; pwd", env=env,
                    check=True).stdout
        found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
        self.assertTrue(out.endswith("/tmp\n"))
        self.assertEqual((found["PATH"], found["A"]), ("/usr/local/bin:/usr/bin:/bin", "1"))
        self.assertNotIn("MINE", found)
        self.assertLessEqual({"HOME", "USER", "LOGNAME", "SHELL"}, set(found))

    def test_limits_that_the_daemon_needs_are_its_own(self):
        d = harness.Daemon(start=False)
        self.addCleanup(self._end, d)
        words = d.command()
        d.command = lambda: ["prlimit", "--nofile=900:", "--core=0:1", *words]
        d.start()
        limit = lambda text, name: re.search(rf"Max {name} +(\w+)", text)[1]
        own = pathlib.Path(f"/proc/{d.process.pid}/limits").read_text()
        self.assertGreater(int(limit(own, "open files")), 900)
        self.assertEqual(limit(own, "core file size"), "1", "a dump of the daemon would hold keys")
        out = d.ebb("run", "-q", "--workdir", "/tmp", "--", "cat", "/proc/self/limits", check=True,
                    env={"EBB_SERVER": f"http://127.0.0.1:{d.port}", "EBB_API_KEY": d.add_user("remote")}).stdout
        self.assertEqual((limit(out, "open files"), limit(out, "core file size")), ("900", "0"))

    def test_exit_statuses(self):
        d = self.daemon()
        run = d.popen("run", "-q", "--", "sleep", "1000")
        job = wait_for(lambda: d.http("GET", "/v1/jobs?state=running").json["items"])[0]["id"]
        d.ebb("cancel", job, check=True)
        run.communicate(timeout=20)
        self.assertEqual(run.returncode, 143)
        self.assertEqual(d.ebb("wait", job).returncode, 143)
        key = d.add_user("far")
        lost = d.submit(["sleep", "1000"], key=key, workdir="/tmp", owner={"lease_s": 0.2})["id"]
        unready = d.submit(["sleep", "1000"], ports=1, ready={"path": "/", "timeout_s": 0.3})["id"]
        for one, kind, status in ((lost, "owner_lost", 143), (unready, "start_failed", 125)):
            self.assertEqual(d.ebb("wait", one).returncode, status)
            self.assertEqual(d.job(one)["reason"]["kind"], kind)

    def test_a_keeper_that_is_killed_is_125(self):
        d = self.daemon()
        job = d.submit(["sleep", "1000"])["id"]
        d.wait_state(job, "running")
        keeper = next(int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit() and self.is_keeper(p, job))
        os.kill(keeper, signal.SIGKILL)
        self.assertEqual(d.ebb("wait", job).returncode, 125)
        self.assertEqual(d.job(job)["reason"]["kind"], "keeper_lost")

    @staticmethod
    def is_keeper(process, job):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            return False
        return b"ebb-keeper" in words and job.encode() in words

    def test_not_allowed_is_4(self):
        d = self.daemon()
        job = d.ebb("submit", "--", "sleep", "1000", check=True).stdout.strip()
        env = {"EBB_SERVER": f"http://127.0.0.1:{d.port}", "EBB_API_KEY": d.add_user("little")}
        for args in (["cancel", job], ["logs", job], ["report", job], ["why", job], ["drain"], ["user", "list"],
                     ["devices", "release", "0"],
                     ["user", "add", "x"]):
            with self.subTest(args=args):
                done = d.ebb(*args, env=env)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertTrue(done.stderr.startswith("ebb: "))
        self.assertEqual(d.ebb("status", job, env=env).returncode, 0)
        env["EBB_API_KEY"] = d.add_user("forms", templates_only=True)
        done = d.ebb("submit", "--workdir", "/tmp", "--", "true", env=env)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("templates only", done.stderr)

    def test_dry_run_starts_nothing(self):
        d = self.daemon()
        done = d.ebb("run", "--dry-run", "--gpus", "1", "--sidecar", "s=sleep 1000", "--", "echo", "{sidecar.s.url}",
                     check=True)
        self.assertEqual(json.loads(done.stdout)["gpus"], 1)
        self.assertEqual(done.stderr, "")
        self.assertEqual(set(json.loads(done.stdout)), SPEC)
        self.assertEqual(d.http("GET", "/v1/jobs").json["items"], [])
        self.assertEqual(subprocess.run([EBB, "submit", "--dry-run", "--server", "/nowhere/s", "--", "true"],
                                        capture_output=True).returncode, 0)

    def test_releasing_a_device(self):
        d = self.daemon()
        job = d.submit(["sleep", "1000"], gpus=1)["id"]
        d.wait_state(job, "running")
        for device, says in (("9", "no device '9'"), ("x", "no device 'x'"),
                             ("0", "device 0 is leased; cancel its job first"), ("../x", "no device")):
            done = d.ebb("devices", "release", device)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(says, done.stderr)
        self.assertEqual(d.ebb("devices", "release", "1").returncode, 0)

    def test_doctor_says_which_daemon_and_every_path_that_was_tried(self):
        home = self.folder()
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}
        done = subprocess.run([EBB, "ps"], env=env, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 3)
        places = ["/run/ebb/ebb.sock"] if os.getuid() == 0 else [f"{home}/run/ebb/ebb.sock", "/run/ebb/ebb.sock"]
        self.assertIn("no daemon at " + " or ".join(places) + "; start one: 'ebb serve &' or 'systemctl", done.stderr)

    def test_env_file_and_order(self):
        d = self.daemon()
        file = self.folder() / "e"
        file.write_text("# no\n\nA=file\nB=\"quoted\"\nMINE\n")
        out = d.ebb("run", "-q", "--env", "A=option", "--env-file", file, "--", "sh", "-c", "echo $A $B $MINE",
                    env={"MINE": "m"}, check=True).stdout
        self.assertEqual(out, 'option "quoted" m\n')

    def test_cancel_of_one_that_waits_and_of_one_that_has_ended(self):
        d = self.daemon()
        holder = d.submit(["sleep", "1000"], gpus=4)["id"]
        d.wait_state(holder, "running")
        queued = d.submit(["true"], gpus=4)["id"]
        done = d.ebb("cancel", queued)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, d.ebb("report", queued, check=True).stdout)
        done = d.ebb("cancel", holder, queued)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith(f"{holder}: released in") and f"\n{queued}: " in done.stdout,
                        done.stdout)


if __name__ == "__main__":
    harness.main()
