#!/usr/bin/env python3
"""Planted secrets, looked for wherever they must not be: words of processes, logs, reports, errors, lists, events, files."""
import json
import os
import pathlib

import harness
from harness import wait_for

VALUE = "planted-value-5b1c"  # of a variable in a job's environment
HEADER = {"Accept": "text/event-stream"}


def words_of_processes():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            pass
    return b"\n".join(found)


class Secrets(harness.Case):
    def setUp(self):
        self.d = self.daemon()
        self.key = self.d.add_user("alice", account="nobody" if os.getuid() == 0 else None)
        self.other = self.d.add_user("bob")

    def absent(self, secret, text, where):
        text = text.encode() if isinstance(text, str) else text
        self.assertNotIn(secret.encode(), text, where)

    def test_a_key_is_nowhere_but_with_its_owner(self):
        far = {"EBB_SERVER": f"http://127.0.0.1:{self.d.port}", "EBB_API_KEY": self.key}
        run = self.d.popen("run", "--workdir", "/", "--sidecar", "s=exec sleep 600", "--", "sleep", "600", env=far)
        self.addCleanup(lambda: (run.kill(), run.communicate()))
        job = wait_for(lambda: next(iter(self.d.http("GET", "/v1/jobs?state=running").json["items"]), None))["id"]
        self.absent(self.key, words_of_processes(), "argv")
        answers = [self.d.http("GET", f"/v1/jobs?name={self.key}", over="tcp"),
                   self.d.http("GET", f"/v1/jobs/{self.key}", key=self.key),
                   self.d.http("POST", "/v1/jobs", {"command": [self.key], "gpus": -1}, key=self.key),
                   self.d.http("POST", "/v1/users/import", {"name": "carol", "api_key": [self.key]}),
                   self.d.http("GET", "/v1/users"), self.d.http("GET", f"/v1/jobs/{job}"), self.d.http("GET", "/metrics"),
                   self.d.http("GET", "/v1/jobs", headers={"Authorization": f"Basic {self.key}"}, over="tcp")]
        for answer in answers:
            self.absent(self.key, answer.body, answer)
        run.terminate()
        out, err = run.communicate(timeout=30)
        self.absent(self.key, out + err, "what ebb run says")
        self.absent(self.key, self.d.http("GET", f"/v1/jobs/{job}/report").body, "report")
        self.absent(self.key, self.d.output(), "the daemon's log")
        seen = 0
        for path in self.d.dir.rglob("*"):
            if path.is_file():
                self.absent(self.key, path.read_bytes(), path)
                seen += 1
        self.assertGreater(seen, 3)

    def test_a_jobs_environment_is_its_owners_alone(self):
        spec = {"command": ["sh", "-c", "echo up; sleep 600"], "workdir": "/", "env": {"PLANTED": VALUE}}
        job = self.d.submit(spec.pop("command"), key=self.key, **spec)["id"]
        wait_for(lambda: self.d.http("GET", f"/v1/jobs/{job}/logs", key=self.key).body)
        self.assertEqual(self.d.job(job, key=self.key)["spec"]["env"], {"PLANTED": VALUE})
        self.absent(VALUE, words_of_processes(), "argv")
        for path in ("/v1/jobs", f"/v1/jobs/{job}/why", f"/v1/jobs/{job}/logs", "/list_jobs", f"/job_status/{job}"):
            self.absent(VALUE, self.d.http("GET", path, key=self.key).body, path)
        for path in ("/v1/jobs", f"/v1/jobs/{job}", f"/v1/jobs/{job}/logs", f"/v1/jobs/{job}/why", f"/job_status/{job}"):
            self.absent(VALUE, self.d.http("GET", path, key=self.other).body, f"{path} for another user")
        for bad in ({"env": {"PLANTED": VALUE, "A=B": VALUE}}, {"env": {"PLANTED": VALUE}, "gpus": 99},
                    {"env": {"PLANTED": VALUE + "\0"}}, {"env": VALUE}, {"env": {"PLANTED": {"x": VALUE}}}):
            answer = self.d.http("POST", "/v1/jobs", {"command": ["true"], "workdir": "/", **bad}, key=self.key)
            self.assertGreaterEqual(answer.status, 400)
            self.absent(VALUE, answer.body, bad)
        self.d.http("DELETE", f"/v1/jobs/{job}?grace=0&wait=20s", key=self.key)
        self.absent(VALUE, json.dumps(self.d.report(job)), "report")
        self.absent(VALUE, self.d.output(), "the daemon's log")
        events = self.d.connect()
        self.addCleanup(events.close)
        events.request("GET", "/v1/events", headers={**HEADER, "Last-Event-ID": "0"})
        stream, text = events.getresponse(), b""
        while b"job.ended" not in text:
            text += stream.readline()
        self.absent(VALUE, text, "events")

    def test_what_is_kept_is_kept_from_others(self):
        for path in (self.d.state, self.d.state / "ebb.db"):
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)


if __name__ == "__main__":
    harness.main()
