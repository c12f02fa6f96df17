"""The HTTP surface of a real daemon: bad input, who is let in, limits, and clients that misbehave."""
import json
import os
import pathlib
import socket
import threading
import time
import unittest

import harness
from harness import wait_for


def exchange(sock, data, timeout=20):
    """Sends raw bytes; everything that comes back until the server closes."""
    sock.settimeout(timeout)
    sock.sendall(data)
    out = b""
    while True:
        try:
            piece = sock.recv(65536)
        except (ConnectionResetError, TimeoutError):
            return out
        if not piece:
            return out
        out += piece


class Http(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.d = harness.Daemon(config="[server]\nmax_body = \"64KiB\"\n")
        cls.addClassCleanup(cls.d.cleanup)

    def refused(self, answer, status, kind):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        self.assertEqual(answer.json["type"], kind, answer)
        self.assertTrue(answer.json["detail"])

    def test_health_metrics_and_openapi_need_no_key(self):
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            self.assertEqual(self.d.http("GET", path, over="tcp").status, 200, path)
        paths = self.d.http("GET", "/openapi.json").json["paths"]
        self.assertIn("post", paths["/v1/jobs"])
        self.assertIn("delete", paths["/v1/jobs/{id}"])
        self.assertIn("ebb_jobs_queued", self.d.http("GET", "/metrics").body.decode())

    def test_json_that_is_no_good_is_named(self):
        post = lambda body: self.d.http("POST", "/v1/jobs", body, {"Content-Type": "application/json"})
        self.refused(post(b'{"command":["a"]'), 400, "malformed-json")
        self.refused(post(b'[' * 100 + b']' * 100), 400, "malformed-json")
        self.refused(post(b'{"command":["a"],"command":["b"]}'), 400, "duplicate-key")
        self.refused(post(b'{"command":["a"],"gpu":1}'), 422, "unknown-field")
        self.refused(post(b'{"command":["a"],"gpus":1.5}'), 422, "invalid-request")
        self.refused(post(b'{"command":["a"],"gpus":-1}'), 422, "invalid-request")
        self.refused(post(b'{"command":["a\\u0000b"]}'), 400, "malformed-json")
        self.refused(post(b'{"command":["a"],"gpus":5}'), 422, "impossible-request")
        self.refused(post(b'\xff\xfe'), 400, "malformed-json")
        answer = post(b'{"command":["a"],"gpus":"x"}')
        self.assertEqual(answer.json["pointer"], "/gpus")

    def test_too_large_a_body_is_413(self):
        body = b'{"command":["' + b"a" * (70 << 10) + b'"]}'
        self.refused(self.d.http("POST", "/v1/jobs", body, {"Content-Type": "application/json"}), 413,
                     "payload-too-large")

    def test_too_large_a_chunked_body_is_413(self):
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        out = exchange(self.d.raw("socket"), head + b"11000\r\n" + b"a" * 0x11000 + b"\r\n0\r\n\r\n")
        self.assertIn(b" 413 ", out.split(b"\r\n")[0])

    def test_chunked_bodies_are_read(self):
        body = b'{"command":["true"]}'
        head = (b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n")
        out = exchange(self.d.raw("socket"), head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        self.assertIn(b" 201 ", out.split(b"\r\n")[0])

    def test_too_large_a_header_is_431(self):
        out = exchange(self.d.raw("tcp"), b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20000 + b"\r\n\r\n")
        self.assertIn(b" 431 ", out.split(b"\r\n")[0])

    def test_wrong_method_says_which_are_right(self):
        answer = self.d.http("PUT", "/v1/jobs", {})
        self.refused(answer, 405, "method-not-allowed")
        self.assertEqual(answer.headers["Allow"], "POST, GET, HEAD")

    def test_wrong_content_type_is_415(self):
        self.refused(self.d.http("POST", "/v1/jobs", b"{}", {"Content-Type": "text/plain"}), 415,
                     "unsupported-media-type")

    def test_unknown_parameters_and_paths(self):
        self.refused(self.d.http("GET", "/v1/jobs?stat=queued"), 422, "unknown-field")
        self.refused(self.d.http("GET", "/v1/jobs?limit=0"), 422, "invalid-request")
        self.refused(self.d.http("GET", "/v1/jobs?state=done"), 422, "invalid-request")
        self.refused(self.d.http("GET", "/v1/nothing"), 404, "not-found")
        self.assertEqual(self.d.http("GET", "/nothing").json, {"detail": "Not Found"})

    def test_ids_that_are_none(self):
        for bad in ("x", "7F3A91C2", "..%2f..", "7f3a91c2x", "00000000'", "last"):
            self.refused(self.d.http("GET", f"/v1/jobs/{bad}"), 404, "no-such-job")
        self.refused(self.d.http("GET", "/v1/jobs/00000000"), 404, "no-such-job")

    def test_foreign_host_and_origin_are_refused(self):
        def get(over="tcp", path="/healthz", **headers):
            return self.d.http("GET", path, headers=headers, over=over)
        self.assertEqual(get(Host="evil.example").status, 403)
        self.refused(get(path="/v1/jobs", Host="evil.example:8765"), 403, "foreign-host")
        self.assertEqual(get(Host="localhost:1").status, 200)
        self.refused(get(path="/v1/jobs", Origin="http://evil.example"), 403, "foreign-origin")
        self.refused(get(path="/v1/jobs", Origin="null"), 403, "foreign-origin")
        self.assertEqual(get(Origin=f"http://127.0.0.1:{self.d.port}").status, 200)

    def test_keys_missing_wrong_revoked_and_other_users(self):
        answer = self.d.http("GET", "/v1/jobs", over="tcp")
        self.refused(answer, 401, "unauthenticated")
        self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
        self.refused(self.d.http("GET", "/v1/jobs", key="otk_" + "0" * 32), 401, "invalid-key")
        alice, bob = self.d.add_user("alice-k"), self.d.add_user("bob-k")
        self.assertEqual(self.d.http("GET", "/v1/jobs", key=alice).status, 200)
        job = self.d.submit(["sleep", "60"], key=alice, workdir="/tmp")
        self.refused(self.d.http("DELETE", f"/v1/jobs/{job['id']}", key=bob), 403, "not-yours")
        self.assertIsNone(self.d.http("GET", f"/v1/jobs/{job['id']}", key=bob).json["spec"]["command"])
        self.assertEqual(self.d.http("GET", f"/v1/jobs/{job['id']}/logs", key=bob).status, 403)
        self.assertEqual(self.d.http("DELETE", f"/v1/jobs/{job['id']}?wait=20s&grace=0", key=alice).status, 200)
        self.assertEqual(self.d.http("DELETE", "/v1/users/bob-k").status, 200)
        self.refused(self.d.http("GET", "/v1/jobs", key=bob), 401, "invalid-key")
        fresh = self.d.http("POST", "/v1/users/alice-k/rotate").json["api_key"]
        self.refused(self.d.http("GET", "/v1/jobs", key=alice), 401, "invalid-key")
        self.assertEqual(self.d.http("GET", "/v1/jobs", key=fresh).status, 200)
        self.assertEqual(self.d.http("GET", "/v1/users", key=fresh).status, 403)

    def test_a_key_in_the_url_is_refused(self):
        self.refused(self.d.http("GET", "/v1/jobs?user=otk_" + "0" * 32), 400, "key-in-url")

    def test_idempotency_key(self):
        key = {"Idempotency-Key": "k1"}
        first = self.d.http("POST", "/v1/jobs", {"command": ["true"]}, key)
        again = self.d.http("POST", "/v1/jobs", {"command": ["true"]}, key)
        other = self.d.http("POST", "/v1/jobs", {"command": ["false"]}, key)
        self.assertEqual(first.status, 201)
        self.assertEqual(again.json["id"], first.json["id"])
        self.assertEqual(again.headers["Idempotent-Replayed"], "true")
        self.assertEqual(other.status, 409)

    def test_head_and_pipelining(self):
        out = exchange(self.d.raw("tcp"),
                       b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n"
                       b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
                       b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.assertEqual(out.count(b"HTTP/1.1 200 OK"), 3)
        self.assertEqual(out.count(b'{"status":"ok"}'), 1)
        self.assertTrue(out.endswith(b'{"status":"ready"}'))

    def test_malformed_requests_are_400(self):
        for bad in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
                    b"GET /v1/../etc HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            out = exchange(self.d.raw("tcp"), bad)
            self.assertIn(b" 400 ", out.split(b"\r\n")[0], bad)

    def test_expect_100_continue(self):
        sock = self.d.raw("socket")
        body = b'{"command":["true"]}'
        sock.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        self.assertTrue(sock.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n"))
        self.assertIn(b" 201 ", exchange(sock, body).split(b"\r\n")[0])

    def test_half_a_request_is_closed_and_delays_nobody(self):
        halves = [self.d.raw("tcp") for _ in range(50)]
        for sock in halves:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
        begin = time.monotonic()
        self.assertEqual(self.d.http("GET", "/healthz", over="tcp").status, 200)
        self.assertLess(time.monotonic() - begin, 5)
        for sock in halves:
            out = exchange(sock, b"", timeout=25)
            self.assertIn(b" 408 ", out.split(b"\r\n")[0])

    def test_cancel_twice(self):
        job = self.d.submit(["sleep", "60"])
        self.d.wait_state(job["id"], "running")
        first = self.d.http("DELETE", f"/v1/jobs/{job['id']}?wait=20s&detail=SIGINT")
        again = self.d.http("DELETE", f"/v1/jobs/{job['id']}")
        self.assertEqual((first.status, again.status), (200, 200))
        self.assertEqual(first.json["reason"], {"kind": "cancelled", "by": "owner", "detail": "SIGINT"})
        self.assertEqual(first.json, again.json)


class Streams(harness.Case):
    def sse(self, d, path, headers=None, over="socket"):
        connection = d.connect(over, timeout=30)
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)

        def events():
            name, data, ident = None, None, None
            for line in answer:
                line = line.decode().rstrip("\r\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("id: "):
                    ident = line[4:]
                elif line.startswith("data: "):
                    data = json.loads(line[6:])
                elif line == "" and name:
                    yield name, data, ident
                    name, data, ident = None, None, None
        return connection, events()

    def test_owner_stream_carries_states_and_the_report(self):
        d = self.daemon()
        job = d.submit(["sleep", "0.3"], owner={"lease_s": 4})
        _, events = self.sse(d, f"/v1/jobs/{job['id']}/owner")
        seen = list(events)
        self.assertEqual(seen[0][0], "job")
        self.assertEqual(seen[-1][0], "report")
        self.assertEqual(seen[-1][1]["reason"]["kind"], "completed")
        self.assertEqual(seen[-2][1]["state"], "completed")

    def test_the_job_ends_when_its_owners_stream_does(self):
        d = self.daemon()
        job = d.submit(["sleep", "60"], owner={"lease_s": 1})
        connection, events = self.sse(d, f"/v1/jobs/{job['id']}/owner")
        while next(events)[1].get("state") != "running":
            pass
        connection.sock and connection.sock.close()
        connection.close()
        del events
        ended = d.wait_state(job["id"])
        self.assertEqual(ended["reason"]["kind"], "owner_lost")

    def test_an_owner_that_stops_acknowledging_loses_its_job(self):
        d = self.daemon()
        job = d.submit(["sleep", "60"], owner={"lease_s": 4})
        connection, events = self.sse(d, f"/v1/jobs/{job['id']}/owner?acks=1")
        sock = connection.sock
        acked, last = 0, None
        for name, data, _ in events:
            if name == "ping" and acked < 6:
                acked += 1
                sock.sendall(b"\r\n")
                self.assertTrue(d.job(job["id"])["state"] in ("running", "starting"))
            last = (name, data)
        self.assertEqual(acked, 6)   # well past one lease
        self.assertEqual(last[0], "report")
        self.assertEqual(last[1]["reason"]["kind"], "owner_lost")

    def test_events_resume_after_the_last_one_seen(self):
        d = self.daemon()
        job = d.submit(["true"])
        d.wait_state(job["id"])
        _, events = self.sse(d, "/v1/events", {"Last-Event-ID": "0"})
        seen = []
        for name, data, ident in events:
            seen.append((name, ident))
            if name == "job.ended":
                break
        self.assertIn("job.queued", [name for name, _ in seen])
        _, rest = self.sse(d, "/v1/events", {"Last-Event-ID": seen[0][1]})
        self.assertEqual(next(rest)[2], seen[1][1])

    def test_logs_in_order_by_stream_and_in_frames(self):
        d = self.daemon()
        job = d.submit(["/bin/sh", "-c", "echo one; echo two >&2; echo three"])
        d.wait_state(job["id"])
        path = f"/v1/jobs/{job['id']}/logs"
        self.assertEqual(d.http("GET", path + "?stream=stdout").body, b"one\nthree\n")
        self.assertEqual(d.http("GET", path + "?stream=stderr").body, b"two\n")
        self.assertEqual(len(d.http("GET", path).body), 14)
        self.assertEqual(d.http("GET", path + "?stream=stdout&tail=1").body, b"three\n")
        frames = d.http("GET", path, headers={"Accept": "application/vnd.ebb.log"}).body
        kinds, at = [], 0
        while at < len(frames):
            length = int.from_bytes(frames[at + 9:at + 13], "big")
            kinds.append(frames[at])
            at += 13 + length
        self.assertEqual(kinds[-1], 4)
        self.assertEqual(d.http("GET", path + "?offset=99").status, 422)
        self.assertEqual(d.http("GET", path + "?stream=all").status, 422)

    def test_following_ends_with_the_job_and_begins_before_it(self):
        d = self.daemon(config="[queue]\nmax_running = 1\n")
        first = d.submit(["sleep", "60"])
        second = d.submit(["/bin/sh", "-c", "echo out; sleep 0.2; echo more"])
        got = []
        reader = threading.Thread(target=lambda: got.append(
            d.http("GET", f"/v1/jobs/{second['id']}/logs?follow=1", timeout=60).body))
        reader.start()
        d.http("DELETE", f"/v1/jobs/{first['id']}?wait=20s")
        reader.join(30)
        self.assertEqual(got, [b"out\nmore\n"])

    def test_a_follower_of_a_silent_job_gets_its_first_byte_at_once(self):
        d = self.daemon()
        go = d.dir / "go"
        os.mkfifo(go, 0o666)
        job = d.submit(["/bin/sh", "-c", f"read x <{go}; echo first; read x <{go}"])
        d.wait_state(job["id"], "running")
        with d.raw("socket") as sock:
            sock.sendall(b"GET /v1/jobs/%s/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n" % job["id"].encode())
            info = pathlib.Path(f"/proc/{d.process.pid}/fdinfo")
            wait_for(lambda: any("inotify wd" in one.read_text() for one in info.iterdir()), what="the follower's watch")
            go.write_text("\n")
            got = b""
            while b"first\n" not in got:  # a socket's time-out fails the test
                got += sock.recv(4096)
        self.assertEqual(d.job(job["id"])["state"], "running")

    def test_a_job_that_says_nothing_has_an_empty_log_and_no_files(self):
        d = self.daemon()
        job = d.submit(["true"])
        d.wait_state(job["id"])
        for query in ("", "?follow=1", "?tail=5"):
            answer = d.http("GET", f"/v1/jobs/{job['id']}/logs{query}")
            self.assertEqual((answer.status, answer.body), (200, b""), query)
        self.assertEqual(list((d.state / "logs").iterdir()), [])

    def test_a_reader_that_does_not_read_delays_nobody(self):
        d = self.daemon()
        job = d.submit(["/bin/sh", "-c", "yes | head -c 20000000"])
        stuck = [d.raw("socket") for _ in range(5)]
        for sock in stuck:
            sock.sendall(b"GET /v1/jobs/%s/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n" % job["id"].encode())
        d.wait_state(job["id"])
        begin = time.monotonic()
        self.assertEqual(len(d.http("GET", f"/v1/jobs/{job['id']}/logs").body), 20000000)
        self.assertLess(time.monotonic() - begin, 30)


class Serve(harness.Case):
    def test_a_second_daemon_is_refused(self):
        d = self.daemon()
        second = harness.subprocess.run(d.command(), env=d.env, capture_output=True, text=True, timeout=20)
        self.assertEqual(second.returncode, 1)
        self.assertIn(str(d.process.pid), second.stderr)

    def test_an_address_in_use_names_the_holder_and_the_way_out(self):
        holder = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(holder.close)
        one = harness.Daemon(listen=f"127.0.0.1:{holder.getsockname()[1]}", start=False)
        self.addCleanup(one.cleanup)
        done = harness.subprocess.run(one.command(), env=one.env, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--listen none", done.stderr)
        self.assertIn(f"pid {harness.os.getpid()}", done.stderr)

    def test_bad_configuration_is_exit_2_with_line_and_key(self):
        one = harness.Daemon(config="[server]\nsockt = \"/x\"\n", start=False)
        self.addCleanup(one.cleanup)
        done = harness.subprocess.run(one.command(), env=one.env, capture_output=True, text=True, timeout=20)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr, r"ebb.toml:\d+: server.sockt: unknown key; did you mean 'socket'")
        for option, value in (("--listen", "nowhere"), ("--gpus", "-1"), ("--ports", "39000-38000"),
                              ("--ports", "80-90"), ("--on-stop", "perhaps")):
            done = harness.subprocess.run([harness.EBB, "serve", option + "=" + value], env=one.env,
                                          capture_output=True, text=True, timeout=20)
            self.assertEqual(done.returncode, 2, (option, value, done.stderr))

    def test_sigterm_ends_all_jobs_and_prints_what_was_released(self):
        d = self.daemon()
        jobs = [d.submit(["sleep", "60"], gpus=1) for _ in range(3)]
        for job in jobs:
            d.wait_state(job["id"], "running")
        self.assertEqual(d.stop(), 0)
        for job in jobs:
            self.assertIn(job["id"], d.output())
        self.assertIn("3 jobs ended", d.output())
        self.assertFalse(harness.os.path.exists(d.socket))

    def test_a_second_signal_ends_graces(self):
        d = self.daemon()
        job = d.submit(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], grace_s=60)
        d.wait_state(job["id"], "running")
        d.signal(harness.signal.SIGTERM)
        wait_for(lambda: "ending all jobs" in d.output())
        d.signal(harness.signal.SIGTERM)
        self.assertEqual(d.process.wait(20), 0)
        self.assertIn("SIGTERM again: every grace period ends now", d.output())
        self.assertIn("1 job ended", d.output())

    def test_on_stop_keep_leaves_jobs_to_the_next_daemon(self):
        for how in ({"args": ["--on-stop", "keep"]}, {"config": '[jobs]\non_stop = "keep"\n'}):
            d = self.daemon(**how)
            job = d.submit(["sleep", "600"], gpus=1)
            running = d.wait_state(job["id"], "running")
            queued = d.submit(["true"], gpus=4)["id"]
            self.assertEqual(d.stop(), 0)
            self.assertIn("jobs go on under their keepers", d.output())
            harness.os.kill(running["pid"], 0)
            d.start()
            again = d.job(job["id"])
            self.assertEqual((again["state"], again["pid"], again["attempt"]), ("running", running["pid"], 1))
            d.http("DELETE", f"/v1/jobs/{job['id']}?wait=30s")
            self.assertTrue(d.report(job["id"])["complete"])
            self.assertEqual(d.wait_state(queued)["state"], "completed")

    def test_the_end_is_bounded_whatever_clients_do(self):
        d = self.daemon()
        job = d.submit(["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"], grace_s=1)
        d.wait_state(job["id"], "running")
        stuck = [d.raw("socket") for _ in range(4)]
        for sock, request in zip(stuck, (b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n",
                                         b"GET /v1/jobs/%s/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n" % job["id"].encode(),
                                         b"DELETE /v1/jobs/%s?wait=60s&grace=50s HTTP/1.1\r\nHost: x\r\n\r\n"
                                         % job["id"].encode(),
                                         b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")):
            self.addCleanup(sock.close)
            sock.sendall(request)
        self.assertEqual(d.stop(20), 0)
        self.assertIn("1 job ended", d.output())

    def test_whoever_started_it_is_told_when_it_is_ready_and_when_it_ends(self):
        one = harness.Daemon(start=False)
        self.addCleanup(one.cleanup)
        for address in (str(one.dir / "told"), f"@ebb-test-{harness.os.getpid()}"):
            told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(told.close)
            told.settimeout(30)
            told.bind("\0" + address[1:] if address.startswith("@") else address)
            one.process = harness.subprocess.Popen(one.command(), env={**one.env, "NOTIFY_SOCKET": address},
                                                   stdin=harness.subprocess.DEVNULL, stderr=harness.subprocess.DEVNULL)
            ready = told.recv(4096).decode()
            self.assertIn("READY=1\n", ready)
            self.assertIn(f"STATUS=serves on {one.socket}", ready)
            self.assertEqual(one.http("GET", "/readyz").status, 200)
            job = one.submit(["/bin/sh", "-c", "trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.1; done"])
            one.wait_state(job["id"], "running")
            one.signal(harness.signal.SIGTERM)
            self.assertEqual(told.recv(4096).decode(), "STOPPING=1\n")
            self.assertIsNone(one.process.poll(), "told before the end, not at it")
            self.assertEqual(one.process.wait(20), 0)

    def test_config_print_reads_back(self):
        folder = self.folder()
        printed = harness.subprocess.run([harness.EBB, "config", "print"], capture_output=True, text=True, check=True)
        (folder / "all.toml").write_text(printed.stdout)
        again = harness.subprocess.run([harness.EBB, "config", "print", "--config", str(folder / "all.toml")],
                                       capture_output=True, text=True, check=True)
        self.assertEqual(again.stdout, printed.stdout)


if __name__ == "__main__":
    harness.main()
