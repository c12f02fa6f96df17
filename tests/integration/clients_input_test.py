"""Who asks, and how: peers and keys of others, clients that stop half-way, vanish or end a job twice, a clock that is
set back. docs/bad-input.md lists all of it."""
import json
import os
import struct
import subprocess
import time
import unittest

import harness
from harness import wait_for

SHIM = harness.BIN.parent / "world-shim" / "world.so"
DAY = 86_400
HALF = 45  # seconds in which half a request must be over: ten for a header, thirty for a body
TEMPLATE = """
[server]
registration = true
[templates.training]
command = ["/bin/sleep", "1000"]
workdir = "/tmp"
"""


def first_line(sock):
    sock.settimeout(HALF)
    return sock.recv(4096).split(b"\r\n")[0]


class Peers(harness.Case):
    def test_one_cannot_register_as_an_account_of_this_machine(self):
        d = self.daemon(config=TEMPLATE)
        me = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        for name in {me, "nobody", "daemon"}:
            answer = d.http("POST", f"/register?username={name}", over="tcp")
            self.assertEqual((answer.status, answer.json), (400, {"detail": f"Username '{name}' already exists"}))
        self.assertEqual(d.http("GET", "/v1/users").json["items"], [])

    @unittest.skipUnless(os.getuid() == 0, "only root can be another user")
    def test_a_socket_peer_with_another_uid(self):
        d = self.daemon()
        ask = ("import http.client,socket,sys,json\n"
               "c=http.client.HTTPConnection('localhost')\n"
               "c.sock=socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
               "c.request(sys.argv[2],sys.argv[3],sys.argv[4] or None,\n"
               "          {'Content-Type':'application/json'} if sys.argv[4] else {})\n"
               "r=c.getresponse(); print(json.dumps([r.status,json.loads(r.read())]))\n")

        def as_user(uid, socket, method, path, body=""):
            done = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3",
                                   "-c", ask, socket,
                                   method, path, body], capture_output=True, text=True, timeout=30, cwd="/")
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads(done.stdout)

        # A root daemon: everybody has his own jobs, and no others'.
        mine = d.submit(["sleep", "1000"])["id"]
        self.assertEqual(as_user(65534, d.socket, "DELETE", f"/v1/jobs/{mine}")[1]["type"], "not-yours")
        status, theirs = as_user(65534, d.socket, "POST", "/v1/jobs", '{"command":["id","-u"]}')
        self.assertEqual((status, theirs["user"]), (201, "nobody"))
        d.wait_state(theirs["id"])
        self.assertEqual(d.http("GET", f"/v1/jobs/{theirs['id']}/logs").body, b"65534\n")
        self.assertEqual(as_user(65533, d.socket, "GET", f"/v1/jobs/{theirs['id']}/logs")[1]["type"], "not-yours")
        self.assertEqual(as_user(65534, d.socket, "POST", "/v1/drain")[1]["type"], "admin-only")

        # A user's daemon: nobody else's anything. Root may look, but has no jobs in it.
        own = self.daemon_of(65534)
        self.assertEqual(as_user(65534, own.socket, "GET", "/v1/jobs")[0], 200)
        for path in ("/v1/jobs", "/v1/devices", "/v1/events", "/v1/jobs/7f3a91c2/logs"):
            status, answer = as_user(65533, own.socket, "GET", path)
            self.assertEqual((status, answer["type"]), (403, "not-yours"))
            self.assertEqual(answer["detail"], "this daemon belongs to nobody; run your own: 'ebb serve &'")
        self.assertEqual(own.http("GET", "/v1/jobs").status, 200)
        self.assertEqual(own.http("POST", "/v1/jobs", {"command": ["true"]}).json["type"], "not-yours")


class Clients(harness.Case):
    def test_half_a_request_and_then_nothing(self):
        """Half a header, half a body, a byte now and then: each is closed in time, and delays nobody."""
        d = self.daemon()
        key = d.add_user("slow")
        head = (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer %s\r\n" % key.encode())
        pieces = [b"GET /v1/jobs HTTP/1.1\r\nHo", head + b"Content-Length: 100\r\n\r\n{\"command\":",
                  head + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"co"]
        held = [(over, piece, d.raw(over)) for over in ("tcp", "socket") for piece in pieces]
        began = time.monotonic()
        for _, piece, sock in held:
            sock.sendall(piece)
        dripping = d.raw("tcp")
        dripping.settimeout(0.5)
        dripping.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX: ")
        answer = b""
        while not answer and time.monotonic() - began < 20:  # a byte each half second, which is not a whole header in ten
            try:
                dripping.sendall(b"x")
                answer = dripping.recv(1000)
            except TimeoutError:
                pass
        self.assertIn(b" 408 ", answer.split(b"\r\n")[0])
        self.assertEqual(d.http("GET", "/healthz", over="tcp").status, 200)
        for over, piece, sock in held:
            with self.subTest(over=over, piece=piece[:30]):
                self.assertIn(b" 408 ", first_line(sock))
        self.assertLess(time.monotonic() - began, HALF)
        self.assertEqual(d.http("GET", "/v1/jobs").json["items"], [])

    def test_a_log_past_its_limit(self):
        d = self.daemon()
        key = d.add_user("writer")
        for k in (None, key):
            job = d.submit(["/bin/sh", "-c", "seq 1 20000"], key=k, workdir="/tmp", log_limit_bytes=32768)["id"]
            self.assertEqual(d.wait_state(job)["reason"]["kind"], "completed")
            answer = d.http("GET", f"/v1/jobs/{job}/logs", key=k)
            whole = "".join(f"{i}\n" for i in range(1, 20001)).encode()
            self.assertLessEqual(len(answer.body), 32768)
            self.assertGreater(len(answer.body), 8192)
            self.assertTrue(whole.endswith(answer.body))
            self.assertEqual(int(answer.headers["Ebb-Log-Offset"]), len(whole) - len(answer.body))
        done = d.ebb("logs", job)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(whole.decode().endswith(done.stdout))
        self.assertIn(f"{len(whole) - len(done.stdout)} bytes of output are missing", done.stderr)

    def test_an_owner_that_goes_between_the_answer_and_its_stream(self):
        """Over TCP there is only the clock; over the socket its process's end is enough."""
        d = self.daemon()
        key = d.add_user("owner")
        job = d.submit(["sleep", "1000"], key=key, workdir="/tmp", owner={"lease_s": 1})["id"]
        ended = d.wait_state(job)
        self.assertEqual((ended["state"], ended["reason"]["kind"]), ("cancelled", "owner_lost"))
        self.assertTrue(d.report(job)["complete"])
        ask = ("import http.client,socket,sys,os,json\n"
               "c=http.client.HTTPConnection('localhost')\n"
               "c.sock=socket.socket(socket.AF_UNIX); c.sock.connect(sys.argv[1])\n"
               "c.request('POST','/v1/jobs',json.dumps({'command':['sleep','1000'],'owner':{'lease_s':3600}}),\n"
               "          {'Content-Type':'application/json'})\n"
               "print(json.loads(c.getresponse().read())['id'],flush=True); os.kill(os.getpid(),9)\n")
        done = subprocess.run(["/usr/bin/python3", "-c", ask, d.socket], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, -9, done.stderr)
        self.assertEqual(d.wait_state(done.stdout.strip())["reason"]["kind"], "owner_lost")

    def test_the_clock_is_set_back(self):
        folder = self.folder()
        clock = folder / "clock"
        set_clock = lambda seconds: clock.write_bytes(struct.pack("<q", seconds))
        set_clock(0)
        d = self.daemon(env={"LD_PRELOAD": str(SHIM), "EBB_TEST_CLOCK": str(clock),
                             "ASAN_OPTIONS": "verify_asan_link_order=0"})
        key = d.add_user("keeper")
        before = d.submit(["sleep", "1000"], time_s=3)["id"]
        attached = d.submit(["sleep", "1000"], key=key, workdir="/tmp", owner={"lease_s": 2})["id"]
        d.wait_state(before, "running")
        again = {"Idempotency-Key": "k"}
        body = {"command": ["true"], "workdir": "/tmp"}
        first = d.http("POST", "/v1/jobs", body, again).json["id"]
        with open(clock, "r+b") as file:
            file.write(struct.pack("<q", -DAY))
        # Limits and leases count from a clock that nobody sets.
        self.assertEqual(d.wait_state(attached)["reason"]["kind"], "owner_lost")
        self.assertEqual(d.wait_state(before)["reason"]["kind"], "timeout")
        # What is newest is what came last, whatever its time says.
        self.assertEqual(d.http("POST", "/v1/jobs", body, again).json["id"], first)
        after = d.submit(["true"])
        self.assertLess(after["submitted_at"], d.job(before)["submitted_at"])
        self.assertEqual([j["id"] for j in d.http("GET", "/v1/jobs?limit=2").json["items"]][0], after["id"])
        self.assertEqual(json.loads(d.ebb("status", "--json", "last", check=True).stdout)["id"], after["id"])
        d.wait_state(after["id"])
        for command in (["ps", "-a"], ["status", before], ["report", before], ["report", "-v", before],
                        ["report", attached]):
            text = d.ebb(*command, check=True).stdout
            self.assertNotRegex(text, r"(^|\s)-\d", command)
        # A daemon that starts under the earlier clock takes over what runs.
        running = d.submit(["sleep", "1000"], time_s=60)["id"]
        d.wait_state(running, "running")
        with open(clock, "r+b") as file:
            file.write(struct.pack("<q", -2 * DAY))
        d.kill()
        d.start()
        self.assertEqual(d.job(running)["state"], "running")
        self.assertTrue(d.http("DELETE", f"/v1/jobs/{running}?wait=20s&grace=0").json["complete"])

    def test_the_clock_is_set_forward_while_no_daemon_runs(self):
        clock = self.folder() / "clock"
        clock.write_bytes(struct.pack("<q", 0))
        d = self.daemon(env={"LD_PRELOAD": str(SHIM), "EBB_TEST_CLOCK": str(clock),
                             "ASAN_OPTIONS": "verify_asan_link_order=0"})
        running = d.submit(["sleep", "1000"], time_s=600)["id"]
        pid = d.wait_state(running, "running")["pid"]
        d.kill()
        with open(clock, "r+b") as file:
            file.write(struct.pack("<q", DAY))
        d.start()
        # Its --time counts from when its keeper says that it began, by the clock that nobody sets.
        wait_for(lambda: d.job(running)["pid"] == pid, what="the adoption")
        self.assertEqual((d.job(running)["state"], d.job(running)["reason"]), ("running", None))
        self.assertTrue(d.http("DELETE", f"/v1/jobs/{running}?wait=20s&grace=0").json["complete"])
        self.assertEqual(d.report(running)["reason"]["kind"], "cancelled")


class Original(harness.Case):
    """Ended twice over, by the original's endpoints."""
    def test_complete_and_cancel_in_every_order(self):
        d = self.daemon(config=TEMPLATE)
        key = d.http("POST", "/register?username=bob", over="tcp").json["api_key"]
        cancel, complete = ("DELETE", "/cancel_job/"), ("POST", "/complete_job/")
        for first, second, state, says in ((complete, complete, "COMPLETED", "COMPLETED"),
                                           (cancel, cancel, "CANCELLED", "CANCELLED"),
                                           (cancel, complete, "CANCELLED", "CANCELLED"),
                                           (complete, cancel, "COMPLETED", "COMPLETED")):
            with self.subTest(first=first[1], second=second[1]):
                job = d.http("POST", "/submit_job", {"config": {}, "num_gpus": 1}, key=key).json["job_id"]
                wait_for(lambda: d.http("GET", f"/job_status/{job}", key=key).json["status"] == "RUNNING")
                self.assertEqual(d.http(*[first[0], first[1] + job], key=key).status, 200)
                report = wait_for(lambda: d.http("GET", f"/v1/jobs/{job}/report",
                                                 key=key).status == 200 and d.report(job))
                answer = d.http(*[second[0], second[1] + job], key=key)
                self.assertIn(answer.status, (200, 400), answer)
                self.assertEqual(d.http("GET", f"/job_status/{job}", key=key).json["status"], state)
                self.assertEqual(d.report(job), report)


if __name__ == "__main__":
    harness.main()
