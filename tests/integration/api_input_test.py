"""Bad input over HTTP, on the socket and on TCP: the status, the problem's type and pointer, and that nothing was made
of it. docs/bad-input.md lists all of it; input_test.py has the command line, clients_input_test.py those who ask."""
import json
import threading
import time

import harness


class Requests(harness.Case):
    """Everything here is tried on both surfaces: as this user over the socket, and by a key over TCP."""
    @classmethod
    def setUpClass(cls):
        cls.d = harness.Daemon()
        cls.addClassCleanup(cls.d.cleanup)
        cls.key = cls.d.add_user("tester")

    def refused(self, answer, status, kind, pointer=None, says=()):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        problem = answer.json
        self.assertEqual(set(problem), {"type", "title", "status", "detail", "pointer"})
        self.assertEqual((problem["type"], problem["pointer"], problem["status"]), (kind, pointer, status), answer)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, problem["detail"])
        if status == 401:
            self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
        if status in (429, 503):
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)

    def both(self):
        return None, self.key

    def jobs(self):
        return self.d.http("GET", "/v1/jobs?limit=1000").json["items"]

    def post(self, key, body, **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body, separators=(",", ":")).encode()
        return self.d.http("POST", "/v1/jobs", body, {"Content-Type": "application/json", **headers}, key=key)

    def fields(self, *rows, command=("true",), workdir="/tmp"):
        """Rows of (the body's other fields, status, type, pointer, what it says)."""
        before = len(self.jobs())
        for key in self.both():
            for fields, status, kind, pointer, says in rows:
                with self.subTest(fields=str(fields)[:80]):
                    self.refused(self.post(key, {"command": list(command), "workdir": workdir, **fields}), status, kind,
                                 pointer, says)
        self.assertEqual(len(self.jobs()), before)

    def test_gpu_counts(self):
        self.fields(({"gpus": -1}, 422, "invalid-request", "/gpus", "gpus must be 0 to 4096, not -1"),
                    ({"gpus": 5}, 422, "impossible-request", "/gpus",
                     "--gpus 5: this server has 4; it would wait for ever"),
                    ({"gpus": 1.5}, 422, "invalid-request", "/gpus", "gpus must be a whole number, not 1.5"),
                    ({"gpus": "2"}, 422, "invalid-request", "/gpus", 'gpus must be a whole number, not "2"'),
                    ({"gpus": True}, 422, "invalid-request", "/gpus", "gpus must be a whole number, not true"),
                    ({"gpus": [1]}, 422, "invalid-request", "/gpus", "gpus must be a whole number, not a list"),
                    ({"gpus": 2**63}, 422, "invalid-request", "/gpus", "out of range"),
                    ({"gpu_ids": [4]}, 422, "impossible-request", "/gpu_ids/0",
                     "this server has no GPU 4 (it has 0 1 2 3)"),
                    ({"gpu_ids": [0, -1]}, 422, "invalid-request", "/gpu_ids/1", "gpu_ids[1]"),
                    ({"gpu_ids": [1, 1]}, 422, "invalid-request", "/gpu_ids", "names GPU 1 twice"),
                    ({"gpu_ids": "0"}, 422, "invalid-request", "/gpu_ids", "must be a list"))

    def test_other_fields(self):
        self.fields(({"ports": 21}, 422, "impossible-request", "/ports",
                     f"this server's range has 20 ({self.d.ports})"),
                    ({"ports": -1}, 422, "invalid-request", "/ports", "must be 0 to 100"),
                    ({"memory_bytes": 1 << 49}, 422, "impossible-request", "/memory_bytes", "this server has"),
                    ({"time_s": 0}, 422, "invalid-request", "/time_s", "must be 0.001 to"),
                    ({"time_s": "1h"}, 422, "invalid-request", "/time_s", "must be a number"),
                    ({"ready": {"path": "/h"}}, 422, "invalid-request", "/ready", "asks for no port"),
                    ({"ports": 1, "ready": {"path": "h"}}, 422, "invalid-request", "/ready/path",
                     "must begin with '/'"),
                    ({"ports": 1, "ready": {}}, 422, "invalid-request", "/ready/path", "ready.path is missing"),
                    ({"owner": {"lease_s": 0}}, 422, "invalid-request", "/owner/lease_s", "must be"),
                    ({"owner": {"lease": 1}}, 422, "unknown-field", "/owner/lease", 'did you mean "lease_s"?'),
                    ({"retries": 1}, 422, "unknown-field", "/retries", "unknown field"),
                    ({"gpu": 1}, 422, "unknown-field", "/gpu", 'did you mean "gpus"?'),
                    ({"env": {"A": 1}}, 422, "invalid-request", "/env/A", "must be a string, not 1"),
                    ({"env": {"A=B": "x"}}, 422, "invalid-request", "/env/A=B", "cannot contain '='"),
                    ({"env": {"": "x"}}, 422, "invalid-request", "/env/", "without a name"),
                    ({"workdir": "tmp"}, 422, "invalid-request", "/workdir", "absolute path"),
                    ({"name": "a\nb"}, 422, "invalid-request", "/name", "control character"))

    def test_commands(self):
        for key in self.both():
            for command, pointer, says in ((None, "/command", "command is missing"),
                                           ([], "/command", "at least the program"),
                                           ([""], "/command/0", "must name the program"),
                                           ("ls -l", "/command", "must be a list"),
                                           (["ls", 1], "/command/1", "must be a string"),
                                           (["ls -l"], "/command/0", ("'ls -l' is one word with spaces", "-c 'ls -l'")),
                                           (["echo", "x" * 131_072], "/command/1", "at most 131071")):
                with self.subTest(command=str(command)[:40]):
                    self.refused(self.post(key, {"command": command, "workdir": "/tmp"}), 422, "invalid-request",
                                 pointer, says)
            longest = self.post(key, {"command": ["sh", "-c", "echo ${#1}", "-", "x" * 131_071], "workdir": "/tmp"})
            self.assertEqual(longest.status, 201, longest)
            self.d.wait_state(longest.json["id"])
            self.assertEqual(self.d.http("GET", f"/v1/jobs/{longest.json['id']}/logs", key=key).body, b"131071\n")

    def test_over_tcp_a_workdir_is_needed(self):
        self.refused(self.post(self.key, {"command": ["true"]}), 422, "missing-field", "/workdir",
                     '"workdir": "/an/absolute/path"')

    def test_placeholders(self):
        self.fields(({"command": ["echo", "{port}"]}, 422, "unknown-placeholder", "/command/1",
                     "{port} in argument 1, but the job asks for no port"),
                    ({"command": ["echo", "{port:2}"], "ports": 2}, 422, "unknown-placeholder", "/command/1",
                     "asks for 2 ports"),
                    ({"env": {"K": "{port}"}}, 422, "unknown-placeholder", "/env/K", "{port} in"),
                    ({"command": ["echo", "{sidecar.r.url}"]}, 422, "unknown-placeholder", "/command/1", "no sidecar"))
        words = ["{print $1}", '{"a":{"port":1}}', "x={a,b}", "{{.Job}}", "{}", "{unknown}", "{port:x}"]
        for key in self.both():
            job = self.post(key, {"command": ["printf", "%s\n", *words], "workdir": "/tmp"}).json
            self.d.wait_state(job["id"])
            self.assertEqual(self.d.http("GET", f"/v1/jobs/{job['id']}/logs", key=key).body.decode().splitlines(),
                             words)

    def test_json(self):
        deep = b'{"command":' + b"[" * 40 + b"]" * 40 + b"}"
        for key in self.both():
            for body, kind, pointer, says in ((b"", "malformed-json", None, "the body is empty"),
                                              (b"{", "malformed-json", None, "cut off at byte 1"),
                                              (b'{"command":["a"]', "malformed-json", None, "cut off at byte 16"),
                                              (b'{"command":["a"]} x', "malformed-json", None, "at byte"),
                                              (b"\xef\xbb\xbf{}", "malformed-json", None, "at byte"),
                                              (b"{'command':1}", "malformed-json", None, "at byte"),
                                              (b'{"command":["a",]}', "malformed-json", None, "at byte"),
                                              (b'{"gpus":NaN}', "malformed-json", None, "at byte"),
                                              (deep, "malformed-json", None, "deeper than 32 levels"),
                                              (b'{"name":"\xff"}', "malformed-json", None, "at byte"),
                                              (b'{"name":"\\ud800"}', "malformed-json", None, "at byte"),
                                              (b'{"command":["a\\u0000"]}', "malformed-json", "/command/0", "NUL"),
                                              (b'{"gpus":1,"gpus":2}', "duplicate-key", "/gpus",
                                               'the key "gpus" stands twice'),
                                              (b'{"env":{"A":"1","A":"2"}}', "duplicate-key", "/env/A", "twice")):
                with self.subTest(body=body[:40]):
                    self.refused(self.post(key, body), 400, kind, pointer, says)
            for body in (b"[]", b"null", b'"x"', b"3"):
                self.refused(self.post(key, body), 422, "invalid-request", None, "must be an object")
            self.refused(self.post(key, b'{"name":"' + b"x" * (1 << 20) + b'"}'), 413, "payload-too-large", None,
                         "1 MiB")

    def test_a_hundred_thousand_variables(self):
        """Most of what a body may hold, and nobody else waits for it."""
        env = {f"V{i:x}": "" for i in range(80_000)}
        for key in self.both():
            worst, over = [0.0], threading.Event()
            other = threading.Thread(target=self.ask_until, args=(over, worst))
            other.start()
            self.addCleanup(over.set)
            job = self.post(key, {"command": ["sh", "-c", "env | wc -l"], "workdir": "/tmp",
                                  "clean_env": True, "env": env})
            self.assertEqual(job.status, 201, job)
            # Not by wait_state(): a job shows its whole environment to its owner.
            ended = lambda: [j["id"] for j in self.d.http("GET", "/v1/jobs?state=completed").json["items"]]
            harness.wait_for(lambda: job.json["id"] in ended())
            over.set()
            other.join()
            self.assertLess(worst[0], 5 * harness.PATIENCE)  # no bound of Ebb's, but its pace
            self.assertGreater(int(self.d.http("GET", f"/v1/jobs/{job.json['id']}/logs", key=key).body), 80_000)
        huge = harness.Daemon(config="[server]\nmax_body = \"16MiB\"\n")
        self.addCleanup(huge.cleanup)
        answer = huge.http("POST", "/v1/jobs",
                           {"command": ["true"], "env": {f"V{i}": "x" * 10 for i in range(100_000)}})
        self.refused(answer, 422, "invalid-request", "/env", "the kernel takes at most 2 MiB")

    def ask_until(self, over, worst):
        connection = self.d.connect()
        while not over.is_set():
            began = time.monotonic()
            self.d.http("GET", "/healthz", connection=connection)
            worst[0] = max(worst[0], time.monotonic() - began)
        connection.close()

    def test_methods_and_content_types(self):
        for key in self.both():
            for method, path, allow in (("PUT", "/v1/jobs", "POST, GET, HEAD"),
                                        ("POST", "/v1/jobs/7f3a91c2", "GET, HEAD, DELETE"),
                                        ("DELETE", "/v1/devices", "GET, HEAD"), ("GET", "/v1/drain", "POST"),
                                        ("PATCH", "/v1/jobs/7f3a91c2/report", "GET, HEAD"),
                                        ("BREW", "/v1/events", "GET, HEAD")):
                answer = self.d.http(method, path, key=key)
                self.refused(answer, 405, "method-not-allowed", None, allow)
                self.assertEqual(answer.headers["Allow"], allow)
            for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx", "",
                         "multipart/form-data; boundary=x"):
                self.refused(self.d.http("POST", "/v1/jobs", b'{"command":["true"]}', {"Content-Type": kind}, key=key),
                             415,
                             "unsupported-media-type", None, "application/json")
            self.refused(self.d.http("POST", "/v1/users", b"name=x", {"Content-Type": "text/plain"}, key=key), 415,
                         "unsupported-media-type")
            answer = self.d.http("POST", "/v1/jobs", b'{"command":["true"],"workdir":"/tmp"}',
                                 {"Content-Type": "application/json ; charset=utf-8"}, key=key)
            self.assertEqual(answer.status, 201, answer)

    def test_queries(self):
        for key in self.both():
            for query, kind, says in (("limit=0", "invalid-request", "'limit': an integer from 1 to 1000"),
                                      ("limit=1001", "invalid-request", "1 to 1000"),
                                      ("limit=1.5", "invalid-request", "integer"),
                                      ("limit=", "invalid-request", "integer"),
                                      ("limit=-1", "invalid-request", "integer"),
                                      ("state=done", "invalid-request", "queued, starting, running"),
                                      ("state=", "invalid-request", "queued"),
                                      ("since=yesterday", "invalid-request", "RFC 3339"),
                                      ("cursor=abc", "invalid-cursor", "not given by this server"),
                                      ("cursor=-1", "invalid-cursor", "not given by this server"),
                                      ("stat=queued", "unknown-field", "there is no query parameter 'stat' here"),
                                      ("limit=1&limit=2", "invalid-request", "'limit': given more than once")):
                with self.subTest(query=query):
                    self.refused(self.d.http("GET", f"/v1/jobs?{query}", key=key), 422, kind, None, says)
            job = self.post(key, {"command": ["sleep", "1000"], "workdir": "/tmp"}).json["id"]
            for query, says in (("grace=3", "'grace': '3' is no duration"), ("grace=-1s", "duration"),
                                ("wait=61s", "at most 60s"), ("wait=x", "duration"),
                                ("wait=1s&wait=2s", "more than once")):
                with self.subTest(query=query):
                    self.refused(self.d.http("DELETE", f"/v1/jobs/{job}?{query}", key=key), 422, "invalid-request",
                                 None, says)
            self.assertNotEqual(self.d.job(job)["state"], "cancelled")
            for query, says in (("stream=all", "both, stdout or stderr"), ("offset=-1", "integer"),
                                ("offset=x", "integer"), ("tail=-1", "integer"),
                                ("follow=maybe", "1 or 0"), ("offset=0&tail=1", "exclude each other")):
                with self.subTest(query=query):
                    self.refused(self.d.http("GET", f"/v1/jobs/{job}/logs?{query}", key=key), 422, "invalid-request",
                                 None, says)
            self.assertEqual(self.d.http("DELETE", f"/v1/jobs/{job}?wait=20s&grace=0", key=key).status, 200)
            self.refused(self.d.http("GET", "/v1/events", headers={"Last-Event-ID": "x"}, key=key), 422,
                         "invalid-request", None, "Last-Event-ID")
            for value in ("", "a b", "x" * 256, "\xe9"):
                self.refused(self.post(key, {"command": ["true"], "workdir": "/tmp"}, **{"Idempotency-Key": value}),
                             422, "invalid-request", None, "Idempotency-Key")
            for path in ("/v1/jobs?x=%00", "/v1/jobs?user=%ff", "/v1/jobs/%2e%2e/x", "/v1//jobs?%zz=1"):
                self.assertIn(self.d.http("GET", path, key=key).status, (400, 404), path)

    def test_foreign_hosts_and_origins(self):
        get = lambda over, path, **headers: self.d.http("GET", path, headers=headers, over=over)
        for host in ("evil.example", "evil.example:8765", f"127.0.0.1.evil.example:{self.d.port}",
                     "localhost.evil.example"):
            self.assertIn(get("tcp", "/v1/devices", Host=host).status, (400, 403), host)
        self.refused(get("tcp", "/v1/devices", Host="evil.example"), 403, "foreign-host", None, "advertise")
        for over in ("tcp", "socket"):
            for origin in ("http://evil.example", "null", f"http://localhost.evil.example:{self.d.port}", "file://"):
                self.refused(get(over, "/v1/devices", Origin=origin), 403, "foreign-origin")
        # A page cannot send these without a preflight, which is refused too.
        self.refused(self.d.http("OPTIONS", "/v1/jobs", headers={"Origin": "http://evil.example"}, over="tcp"), 403,
                     "foreign-origin")

    # ---- who

    def test_keys(self):
        for path in ("/v1/jobs", "/v1/devices", "/v1/users", "/v1/events", "/v1/jobs/7f3a91c2/logs"):
            self.refused(self.d.http("GET", path, over="tcp"), 401, "unauthenticated", None, "Authorization")
            for key in ("otk_" + "0" * 32, "otk_", "x"):
                self.refused(self.d.http("GET", path, key=key), 401, "invalid-key", None,
                             "not known here, or was revoked")
                self.refused(self.d.http("GET", path, key=key, over="socket"), 401, "invalid-key")
            for value in ("", "Bearer", f"Basic {self.key}", f"Bearer {self.key} x", self.key):
                self.refused(self.d.http("GET", path, headers={"Authorization": value}, over="tcp"), 401,
                             "unauthenticated")
        gone = self.d.add_user("gone")
        self.d.http("DELETE", "/v1/users/gone")
        self.refused(self.d.http("GET", "/v1/jobs", key=gone), 401, "invalid-key")
        self.refused(self.d.http("POST", "/v1/users/gone/rotate"), 409, "revoked", None, "new name")
        self.refused(self.d.http("DELETE", "/v1/users/never-was"), 404, "no-such-user", None, "ebb user list")
        self.refused(self.d.http("GET", f"/v1/jobs?name={self.key}", over="tcp"), 400, "key-in-url", None,
                     "Authorization header")

    def test_users_that_cannot_be(self):
        for body, kind, pointer in (({}, "invalid-request", "/name"), ({"name": "Bob"}, "invalid-name", "/name"),
                                    ({"name": ""}, "invalid-name", "/name"),
                                    ({"name": "a" * 33}, "invalid-name", "/name"),
                                    ({"name": "../x"}, "invalid-name", "/name"),
                                    ({"name": "a", "account": "no-such-account"}, "no-such-account", "/account"),
                                    ({"name": "a", "admin": "yes"}, "invalid-request", "/admin"),
                                    ({"name": "a", "role": 1}, "unknown-field", "/role")):
            with self.subTest(body=body):
                self.refused(self.d.http("POST", "/v1/users", body), 422, kind, pointer)
        self.refused(self.d.http("POST", "/v1/users", {"name": "tester"}), 409, "user-exists", "/name")

    def test_only_an_admin(self):
        for method, path, body in (("GET", "/v1/users", None), ("POST", "/v1/users", {"name": "x"}),
                                   ("DELETE", "/v1/users/tester", None),
                                   ("POST", "/v1/users/root2/rotate", None), ("POST", "/v1/drain", None),
                                   ("POST", "/v1/resume", None),
                                   ("POST", "/v1/devices/0/release", None),
                                   ("POST", "/v1/users/import", {"name": "x", "api_key": "k" * 32})):
            with self.subTest(method=method, path=path):
                self.refused(self.d.http(method, path, body, key=self.key), 403, "admin-only")

    ROUTES = (("GET", ""), ("DELETE", ""), ("GET", "/report"), ("GET", "/logs"), ("GET", "/why"), ("GET", "/owner"))

    def test_ids_that_are_none(self):
        for key in self.both():
            for method, rest in self.ROUTES:
                for word in ("x", "7F3A91C2", "7f3a91c", "7f3a91c2x", "%2e%2e", "00000000'", "last", "7f3a%20c2",
                             "x" * 3000):
                    answer = self.d.http(method, f"/v1/jobs/{word}{rest}", key=key)
                    self.assertIn(answer.status, (400, 404) if word == "%2e%2e" else (404,), answer)
                self.refused(self.d.http(method, f"/v1/jobs/00000000{rest}", key=key), 404, "no-such-job", None,
                             "no job 00000000")
            self.refused(self.d.http("POST", "/v1/jobs/00000000/owner", {"suspended": True}, key=key), 404,
                         "no-such-job")

    def test_jobs_of_another_user(self):
        other = self.d.add_user("other")
        job = self.post(self.key, {"command": ["sleep", "1000"], "workdir": "/tmp", "name": "mine", "group": "secret",
                                   "gpus": 1, "ports": 1,
                                   "env": {"SECRET": "s"}, "owner": {"lease_s": 60}}).json
        self.d.wait_state(job["id"], "running")
        for method, rest in self.ROUTES[1:]:
            self.refused(self.d.http(method, f"/v1/jobs/{job['id']}{rest}", key=other), 403, "not-yours", None,
                         f"job {job['id']} is not yours")
        self.refused(self.d.http("POST", f"/v1/jobs/{job['id']}/owner", {"suspended": True}, key=other), 403,
                     "not-yours")
        self.assertEqual(self.d.job(job["id"])["state"], "running")
        mine = self.d.job(job["id"], key=self.key)
        seen = self.d.job(job["id"], key=other)
        self.assertEqual(set(seen), set(mine))
        shown = {"id", "name", "user", "state", "spec", "gpu_ids", "ports", "attempt", "submitted_at", "started_at",
                 "ended_at", "exit"}
        self.assertEqual({k for k in seen if seen[k] is not None}, shown - {"ended_at"})
        self.assertEqual(seen["exit"], {"code": None, "signal": None})
        self.assertEqual({k for k, v in seen["spec"].items() if v is not None}, {"gpus", "ports", "cpus"})
        self.assertEqual(mine["spec"]["env"], {"SECRET": "s"})
        listed = next(j for j in self.d.http("GET", "/v1/jobs", key=self.key).json["items"] if j["id"] == job["id"])
        self.assertIsNone(listed["spec"]["env"])
        self.assertEqual(self.d.http("DELETE", f"/v1/jobs/{job['id']}?wait=20s&grace=0", key=self.key).status, 200)
        seen = self.d.job(job["id"], key=other)
        self.assertEqual({k for k in seen if seen[k] is not None}, shown)
        self.assertEqual(seen["exit"], {"code": None, "signal": None})

    def test_jobs_that_have_ended(self):
        for key in self.both():
            job = self.post(key, {"command": ["sleep", "1000"], "workdir": "/tmp", "owner": {"lease_s": 60}}).json["id"]
            self.refused(self.d.http("GET", f"/v1/jobs/{job}/report", key=key), 404, "no-such-report", None,
                         f"job {job} has not ended")
            first = self.d.http("DELETE", f"/v1/jobs/{job}?wait=20s&grace=0", key=key)
            again = self.d.http("DELETE", f"/v1/jobs/{job}?wait=20s&detail=again", key=key)
            self.assertEqual((first.status, again.status), (200, 200))
            self.assertEqual(first.json, again.json)
            self.assertEqual(first.json, self.d.http("GET", f"/v1/jobs/{job}/report", key=key).json)
            self.assertEqual(self.d.http("GET", f"/v1/jobs/{job}/why", key=key).json,
                             {"state": "cancelled", "position": None, "blockers": []})
            answer = self.d.http("GET", f"/v1/jobs/{job}/owner", key=key)
            self.assertEqual(answer.status, 200)
            self.assertIn(b"event: report", answer.body)
            self.refused(self.d.http("POST", f"/v1/jobs/{job}/owner", {"suspended": True}, key=key), 409, "ended")

    def test_idempotency(self):
        for key in self.both():
            name = {"Idempotency-Key": "same"}
            body = {"command": ["true"], "workdir": "/tmp"}
            first, again = self.post(key, body, **name), self.post(key, body, **name)
            self.assertEqual((first.status, again.status), (201, 201))
            self.assertEqual(first.json["id"], again.json["id"])
            self.assertEqual((first.headers["Idempotent-Replayed"], again.headers["Idempotent-Replayed"]),
                             (None, "true"))
            self.refused(self.post(key, {**body, "name": "other"}, **name), 409, "idempotency-conflict", None,
                         "use a new one")
            # A refusal is not remembered: the corrected request may have the same key.
            self.assertEqual(self.post(key, {**body, "gpus": 99}, **{"Idempotency-Key": "fix"}).status, 422)
            self.assertEqual(self.post(key, body, **{"Idempotency-Key": "fix"}).status, 201)

if __name__ == "__main__":
    harness.main()
