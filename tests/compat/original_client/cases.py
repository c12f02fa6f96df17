"""The original's client programs, from their start to what is left of them. Run by ./run; see README.md."""
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import unittest
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "integration"))
import harness  # noqa: E402
from harness import wait_for  # noqa: E402

ORIGINAL = pathlib.Path(os.environ["ORIGINAL"])
PYTHON = os.environ["ORIGINAL_PYTHON"]
PACKAGE = ORIGINAL / "opentinker"
DASHBOARD = "http://localhost:8081"
# Of the original's shipped configuration: with authentication off, a key that nobody knows is no obstacle.
SHIPPED_KEY = "otk_98b8db24ccd64c92e1fdd9a232e209fa"
# The owner's lease of a closed connection, and then the end of a job that is deaf to SIGTERM.
OWNER_LOST_WITHIN = 10 + 10 + 5

CONFIG = """
[server]
registration = true
[compat]
auth = {auth}
cors_origins = ["{dashboard}"]
[defaults]
grace = "1s"
[templates.training]
command = ["/usr/bin/python3", "{servers}/training_server.py", "{{config_file}}", "{step_seconds}", "server.port={{port}}", "job_id={{job_id}}", ["enable_agent_loop={{enable_agent_loop}}"], ["algorithm.adv_estimator={{config.adv_estimator}}"], ["actor_rollout_ref.rollout.n={{config.rollout_n}}"]]
gpus = 4
ports = 1
ready = {{ path = "/api/v1/health", timeout = "60s" }}
owner = "connection"
env = {{ ROLLOUT_TRACE_JOB_ID = "{{job_id}}" }}
[templates.inference]
command = ["/usr/bin/python3", "{servers}/inference_server.py", "{{model_path}}", "--host", "{{host}}", "--port", "{{port}}", "--tensor-parallel-size", "{{tensor_parallel_size}}", "--gpu-memory-utilization", "{{gpu_memory_utilization}}", ["--tokenizer", "{{tokenizer_path}}"], ["--max-model-len", "{{max_model_len}}"], ["--trust-remote-code", "{{trust_remote_code?}}"]]
ports = 1
ready = {{ path = "/health", timeout = "300s" }}
"""


class Program:
    """A running program of the original's, its output kept."""

    def __init__(self, case, words, stdin=subprocess.DEVNULL, **options):
        self.path = case.files / f"{case.count()}.log"
        env = {**os.environ, "PYTHONPATH": f"{HERE}/stand_ins:{ORIGINAL}", "PYTHONUNBUFFERED": "1",
               "PYTHONDONTWRITEBYTECODE": "1", "HYDRA_FULL_ERROR": "1", "TMPDIR": str(case.files),
               "PATH": f"{os.path.dirname(PYTHON)}:{os.environ['PATH']}"}
        with open(self.path, "wb") as log:
            self.process = subprocess.Popen([PYTHON, *map(str, words)], stdin=stdin, stdout=log, stderr=log, env=env,
                                            start_new_session=True, cwd=case.files, **options)
        case.addCleanup(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def output(self):
        return self.path.read_text(errors="replace")

    def expect(self, pattern, deadline=60):
        def found():
            match = re.search(pattern, self.output)
            if match is None and self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode} before {pattern!r}:\n{self.output}")
            return match
        try:
            return wait_for(found, deadline, pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None

    def ended(self, deadline=60):
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on after {deadline} s:\n{self.output}") from None


class Case(harness.Case):
    auth = False

    def setUp(self):
        self.files = self.folder()
        shutil.copytree(HERE / "servers", self.files / "servers")
        self.counter = 0
        with open(self.files / "problems.jsonl", "w", encoding="utf-8") as out:
            for a in range(8):
                out.write(json.dumps({"prompt": [{"role": "user", "content": f"What is {a} + 30? Say {a + 30}"}],
                                      "ground_truth": str(a + 30), "data_source": "sums"}) + "\n")

    def count(self):
        self.counter += 1
        return self.counter

    def serve(self, step_seconds=0.05):
        self.d = self.daemon(config=CONFIG.format(auth=str(self.auth).lower(), dashboard=DASHBOARD,
                                                  step_seconds=step_seconds, servers=self.files / "servers"))
        self.url = f"http://0.0.0.0:{self.d.port}"  # as the original's configuration files write it
        self.key = self.d.add_user("bob") if self.auth else SHIPPED_KEY

    def jobs(self):
        answer = self.d.http("GET", "/list_jobs", key=self.key)
        self.assertEqual(answer.status, 200, answer)
        return answer.json["jobs"]

    def settings(self, **more):
        settings = {"scheduler_url": self.url, "scheduler_api_key": self.key, "tokenizer_path": "org/model",
                    "logger_backends": "[console]", "hydra.run.dir": self.files / f"hydra{self.count()}", **more}
        return [f"{name}={value}" for name, value in settings.items()]

    def math(self, **more):
        data = self.files / "problems.jsonl"
        settings = {"data_path": data, "val_data_path": data, "batch_size": 2, "val_batch_size": 4,
                    "max_prompt_tokens": 64, "num_steps": 3, "save_freq": 2, "test_freq": 2, **more}
        return Program(self, [PACKAGE / "client/math_rl.py", *self.settings(**settings)])

    def gomoku(self, **more):
        settings = {"batch_size": 2, "val_batch_size": 2, "num_workers": 0, "max_prompt_tokens": 64, "num_steps": 2,
                    **more}
        return Program(self, [PACKAGE / "client/gomoku_rl.py", *self.settings(**settings)])

    def free_port(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    def answer(self, url):
        """Of a server that may not be there yet."""
        try:
            return urllib.request.urlopen(url)
        except urllib.error.URLError:
            return None

    def game_server(self):
        port = self.free_port()
        Program(self, [PACKAGE / "environment/math/math_server.py", "--host", "127.0.0.1", "--port", port])
        wait_for(lambda: self.answer(f"http://127.0.0.1:{port}/health"), 60, "the game server").close()
        return f"http://127.0.0.1:{port}"

    def drive(self, command, *arguments, **options):
        return Program(self, [HERE / "drive.py", command, self.url, self.key, *arguments], **options)

    def job_in(self, *states, number=-1, deadline=30):
        """The last job, once it is in one of the original's states."""
        def there():
            jobs = self.jobs()
            return jobs[number] if len(jobs) >= max(1, -number) and jobs[number]["status"] in states else None
        return wait_for(there, deadline, f"a job in {states}")

    def nothing_left(self):
        """All ended, every GPU and port free, reports complete, and the system agrees."""
        wait_for(lambda: all(job["completed_at"] for job in self.jobs()), 30, "the end of all jobs")
        for job in self.jobs():
            report = self.d.report(job["job_id"])
            self.assertTrue(report["complete"], report)
            if job["port"]:
                with socket.socket() as probe:
                    self.assertNotEqual(probe.connect_ex(("127.0.0.1", job["port"])), 0, job)
        devices = self.d.http("GET", "/v1/devices").json
        self.assertEqual({gpu["state"] for gpu in devices["gpus"]}, {"free"}, devices)
        audit = self.d.ebb("audit")
        self.assertEqual(audit.returncode, 0, audit.stdout + audit.stderr)

    def training_server(self, job):
        with urllib.request.urlopen(f"{job['server_url']}/api/v1/status") as answer:
            return json.load(answer)


def refusals():
    """Requests that the original refuses, or answers without a job: method, path, headers, body."""
    known = {"Authorization": "Bearer {key}"}
    typed = {**known, "Content-Type": "application/json"}
    for method, path in (("GET", "/nope"), ("GET", "/submit_job"), ("POST", "/list_jobs"), ("GET", "/v2"), ("PUT", "/"),
                         ("GET", "/cancel_job/00000000"), ("DELETE", "/job_status/00000000"), ("GET", "/register")):
        yield method, path, known, None
    for value in (None, "", "Bearer", "Bearer a b", "Basic {key}", "{key}", "Bearer nonsense", "bEaReR {key}"):
        headers = {} if value is None else {"Authorization": value}
        yield "GET", "/list_jobs", headers, None
        yield "POST", "/complete_job/00000000", headers, None
        yield "DELETE", "/cancel_job/00000000", headers, None
        yield "GET", "/job_status/00000000", headers, None
    for path in ("/submit_job", "/submit_inference_job"):
        for headers in ({}, {"Content-Type": "application/json"}, {"Authorization": "Bearer nonsense"}):
            yield "POST", path, headers, b"{}"
            yield "POST", path, headers, b'{"config":'
        for body in (b"", b"null", b"1", b"[]", b"[1]", b'"x"', b"true", b"{", b"{}", b'{"config":{}}}', b"\xff"):
            yield "POST", path, typed, body
        yield "POST", path, {**known, "Content-Type": "text/plain"}, b'{"config":{}}'
        yield "POST", path, {**known, "Content-Type": "application/x-www-form-urlencoded"}, b"config=1"
        yield "POST", path, {**known, "Content-Type": "application/merge-patch+json"}, b"{}"
    for value in (None, "x", "", "2.5", " 1", "+1", "2.0", 2.5, 1.0, 2, 1e300, True, [], {}, -0.5):
        for field in ("enable_agent_loop", "wandb_key", "num_gpus"):
            yield "POST", "/submit_job", typed, json.dumps({"config": [], field: value}).encode()
        for field in ("tokenizer_path", "tensor_parallel_size", "num_gpus", "gpu_memory_utilization", "max_model_len",
                      "trust_remote_code"):
            yield "POST", "/submit_inference_job", typed, json.dumps({"model_path": 1, field: value}).encode()
        if value != {}:
            yield "POST", "/submit_job", typed, json.dumps({"config": value}).encode()
        if not isinstance(value, str):
            yield "POST", "/submit_inference_job", typed, json.dumps({"model_path": value}).encode()
    yield "POST", "/submit_job", typed, json.dumps({"num_gpus": [], "wandb_key": 1, "config": "x"}).encode()
    for job in ("00000000", "nonsense", "%20"):
        yield "GET", f"/job_status/{job}", known, None
        yield "DELETE", f"/cancel_job/{job}", known, None
        yield "POST", f"/complete_job/{job}", known, None
    yield "GET", "/admin/users", known, None
    yield "GET", "/admin/users", {}, None
    yield "POST", "/register", {}, None
    yield "POST", "/register?name=x", {}, None
    yield "POST", "/register?username=bob", {}, None
    yield "GET", "/", {}, None
    yield "GET", "/list_jobs?limit=nonsense", known, None


class Training:
    """What holds with authentication off, as shipped, and on."""

    def test_training_to_its_normal_end(self):
        self.serve(step_seconds=0.3)
        endpoint = self.game_server()
        client = self.math(num_steps=4, **{"interaction.config.env_endpoint": endpoint, "num_gpus": 2,
                                           "+hf_token": "SECRET", "wandb_key": "WANDB"})
        job = self.job_in("RUNNING")
        self.assertEqual(len(job["gpu_ids"]), 2)
        client.expect(r"Setting config")
        server = self.training_server(job)
        self.assertEqual(server["options"], {"server.port": str(job["port"]), "job_id": job["job_id"],
                                             "enable_agent_loop": "true", "algorithm.adv_estimator": "grpo",
                                             "actor_rollout_ref.rollout.n": "16"})
        self.assertEqual(server["environment"], {"CUDA_VISIBLE_DEVICES": ",".join(map(str, job["gpu_ids"])),
                                                 "ROLLOUT_TRACE_JOB_ID": job["job_id"], "WANDB_API_KEY": "WANDB"})
        # The job is given the client's whole configuration but for its secrets.
        config = server["config"]
        self.assertEqual((config["tokenizer_path"], config["max_new_tokens"], config["max_prompt_tokens"],
                          config["multi_turn"]["max_tokens_per_turn"], config["temperature"]),
                         ("org/model", 4098, 64, 4096, 0.7))
        for secret in ("hf_token", "wandb_key", "scheduler_api_key"):
            self.assertNotIn(secret, config)
        self.assertEqual(client.ended(), 0, client.output)
        for text in (f"Connected to math server at {endpoint}", "Checkpoint saved", "Training completed! Metrics",
                     f"Job {job['job_id']} cancelled: Job cancelled successfully"):
            self.assertIn(text, client.output)
        self.assertEqual(self.jobs()[0]["status"], "CANCELLED")
        self.nothing_left()

    def interrupted(self, number, name):
        self.serve(step_seconds=0.2)
        client = self.math(num_steps=10000)
        client.expect("Starting epoch")
        first = self.job_in("RUNNING")
        queued = self.gomoku(num_gpus=4)
        queued.expect("is queued, waiting for resources")
        client.process.send_signal(number)
        self.assertEqual(client.ended(), 0, client.output)
        for text in (f"Received {name}", f"Job {first['job_id']} cancelled: Job cancelled successfully",
                     "Shutdown complete"):
            self.assertIn(text, client.output)
        self.assertEqual(self.jobs()[0]["status"], "CANCELLED")
        queued.expect("Training completed!")  # it started by itself
        self.assertEqual(queued.ended(), 0, queued.output)
        self.nothing_left()

    def test_ctrl_c_in_the_middle(self):
        self.interrupted(signal.SIGINT, "SIGINT")

    def test_sigterm_in_the_middle(self):
        self.interrupted(signal.SIGTERM, "SIGTERM")

    def test_kill_9_of_the_client(self):
        self.serve(step_seconds=0.2)
        client = self.math(num_steps=10000)
        client.expect("Starting epoch")
        first = self.job_in("RUNNING")
        wait_for(lambda: self.training_server(first)["steps"] > 12, 30, "more than the 2 s in which curl leaves")
        queued = self.gomoku(num_gpus=4)
        queued.expect("is queued, waiting for resources")
        client.process.kill()
        job = wait_for(lambda: (lambda job: job if job["ended_at"] else None)(self.d.job(first["job_id"])),
                       OWNER_LOST_WITHIN, "the end of the job whose client is gone")
        self.assertEqual(job["reason"]["kind"], "owner_lost")
        queued.expect("Training completed!")
        self.assertEqual(queued.ended(), 0, queued.output)
        self.nothing_left()

    def queued_client_leaves(self, number, status):
        self.serve(step_seconds=0.2)
        running = self.math(num_steps=10000)
        running.expect("Starting epoch")
        queued = self.gomoku(num_gpus=4)
        queued.expect("is queued, waiting for resources")
        queued.expect("status: QUEUED")
        queued.process.send_signal(number)
        self.assertEqual(queued.ended(), status, queued.output)
        # It knows no job to cancel yet; the connection it submitted over does.
        job = self.job_in("CANCELLED", deadline=OWNER_LOST_WITHIN)
        self.assertEqual(self.d.job(job["job_id"])["reason"]["kind"], "owner_lost")
        self.assertIsNone(job["started_at"])
        running.process.send_signal(signal.SIGINT)
        self.assertEqual(running.ended(), 0, running.output)
        self.nothing_left()

    def test_ctrl_c_while_queued(self):
        self.queued_client_leaves(signal.SIGINT, 0)

    def test_kill_9_while_queued(self):
        self.queued_client_leaves(signal.SIGKILL, -signal.SIGKILL)

    def test_reward_server(self):
        self.serve()
        client = self.drive("reward")
        made = json.loads(client.expect(r'\{"job".*\}').group())
        with wait_for(lambda: self.answer(f"http://127.0.0.1:{made['port']}/health"), 60, "the reward server") as answer:
            self.assertEqual(json.load(answer)["status"], "healthy")
        body = json.dumps({"data_source": "x", "solution_str": "it is 42", "ground_truth": "42", "extra_info": {}})
        request = urllib.request.Request(f"http://127.0.0.1:{made['port']}/compute_reward", body.encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            self.assertEqual(json.load(answer), {"reward": 1.0})
        client.process.send_signal(signal.SIGINT)
        self.assertEqual(client.ended(), 0, client.output)
        self.assertIn("Reward server stopped", client.output)
        self.assertFalse(os.path.exists(f"/proc/{made['pid']}"))
        self.assertEqual(self.job_in("CANCELLED")["job_id"], made["job"])
        self.nothing_left()

    def test_inference(self):
        self.serve()
        endpoint = self.game_server()
        results = self.files / "results.jsonl"
        client = Program(self, [PACKAGE / "client/math_inference.py", f"scheduler_url={self.url}",
                                f"scheduler_api_key={self.key}", "model_path=org/model", "tensor_parallel_size=2",
                                f"data_path={self.files}/problems.jsonl", f"env_endpoint={endpoint}", "max_samples=4",
                                f"output_path={results}", f"hydra.run.dir={self.files}/hydra"])
        self.assertEqual(client.ended(), 0, client.output)
        self.assertIn("Accuracy: 4/4", client.output)
        self.assertEqual(len(results.read_text().splitlines()), 4)
        job = self.jobs()[0]
        self.assertEqual((job["status"], len(job["gpu_ids"])), ("CANCELLED", 2))
        self.nothing_left()

    def test_calls_of_the_inference_client(self):
        self.serve()
        client = self.drive("inference")
        self.assertEqual(client.ended(), 0, client.output)
        said = json.loads(client.output.splitlines()[-1])
        first, second = said["first"], said["second"]
        self.assertEqual(first["vllm_server_url"], f"http://127.0.0.1:{first['port']}")
        self.assertEqual((said["status"]["status"], len(said["status"]["gpu_ids"])), ("RUNNING", 2))
        self.assertEqual((said["complete"]["status"], said["complete"]["message"]),
                         ("COMPLETED", "Job completed successfully"))
        self.assertEqual(said["cancel"]["message"], "Job already in terminal state: COMPLETED")
        self.assertEqual((second["status"], said["cancelled"]["status"], said["again"]["message"]),
                         ("RUNNING", "CANCELLED", "Job already in terminal state: CANCELLED"))
        self.assertEqual((said["unknown"]["status"], said["no_status"], said["too_many"]), ("NOT_FOUND", 404, 422))
        self.nothing_left()


class AsShipped(Training, Case):
    """Authentication off, on loopback."""

    def test_complete_job_is_the_way_when_cancelling_fails(self):
        self.serve()
        upstream = self.d.port

        class Proxy(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                self.upstream = http.client.HTTPConnection("127.0.0.1", upstream, timeout=60)

            def finish(self):
                self.upstream.close()
                super().finish()

            def forward(self):
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = 500, b"{}"
                if self.command != "DELETE":
                    headers = {"Content-Type": "application/json"} if text else {}
                    self.upstream.request(self.command, self.path, text, headers)
                    answer = self.upstream.getresponse()
                    status, body = answer.status, answer.read()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = forward

            def log_message(self, *_):
                pass

        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        self.addCleanup(proxy.server_close)
        self.addCleanup(proxy.shutdown)
        self.url = f"http://localhost:{proxy.server_port}"
        client = self.math()
        self.assertEqual(client.ended(), 0, client.output)
        self.assertRegex(client.output, r"Could not cancel job.*500")
        self.assertIn("marked as complete", client.output)
        self.assertEqual(self.jobs()[0]["status"], "COMPLETED")
        self.nothing_left()

    def test_a_failed_start(self):
        self.serve()
        (self.files / "servers/training_server.py").write_text("raise SystemExit('no such model <b>')\n")
        client = self.math()
        self.assertEqual(client.ended(), 1, client.output)
        self.assertRegex(client.output, r"RuntimeError: Job [0-9a-f]{8} failed: .*(\n.*)*no such model &lt;b>")
        self.assertEqual(self.jobs()[0]["status"], "FAILED")
        self.nothing_left()


class WithKeys(Training, Case):
    auth = True

    def test_a_wrong_key_starts_nothing(self):
        self.serve()
        right, self.key = self.key, SHIPPED_KEY
        client = self.math()
        self.assertEqual(client.ended(), 1, client.output)
        self.assertIn("401 Client Error", client.output)
        self.key = right
        self.assertEqual(self.jobs(), [])

    def test_users_of_the_original_keep_their_keys(self):
        self.serve()
        database = self.files / "scheduler_users.db"
        maker = self.drive("users", database)
        self.assertEqual(maker.ended(), 0, maker.output)
        keys = json.loads(maker.output.splitlines()[-1])
        done = self.d.ebb("user", "import", database)
        self.assertIn("2 of 3", done.stderr)
        self.assertRegex(done.stderr, "Carla Müller: a user's name is")
        for name in ("dave", "admin"):
            self.assertEqual(self.d.http("GET", "/list_jobs", key=keys[name]).status, 200, name)
        users = self.d.http("GET", "/admin/users", key=keys["admin"]).json["users"]
        self.assertEqual({user["username"]: user["is_admin"] for user in users if user["username"] in keys},
                         {"admin": True, "dave": False})
        self.assertEqual(self.d.http("GET", "/admin/users", key=keys["dave"]).status, 403)

    def test_the_registration_example(self):
        self.serve()
        (self.files / "name").write_text("newcomer\n")
        with open(self.files / "name", "rb") as name:
            client = self.drive("register", stdin=name)
        self.assertEqual(client.ended(), 0, client.output)
        self.assertIn("Authentication successful", client.output)
        self.key = (self.files / ".api_key_newcomer").read_text()
        self.assertEqual(self.jobs(), [])

    def test_what_it_refuses_the_originals_application_refuses_in_the_same_words(self):
        self.serve()
        theirs = self.free_port()
        application = self.drive("application", theirs)
        key = application.expect("otk_[0-9a-f]{32}").group()
        application.expect("Uvicorn running")

        def ask(port, key, method, path, headers, body):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {name: value.format(key=key) for name, value in headers.items()}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            value = json.loads(answer.read())
            connection.close()
            return answer.status, value

        different = []
        for method, path, headers, body in refusals():
            their = ask(theirs, key, method, path, headers, body)
            our = ask(self.d.port, self.key, method, path, headers, body)
            for _, value in (their, our):  # where in a text, and in which words, a parser gives up is its own affair
                if isinstance(value.get("detail"), list):
                    for one in value["detail"]:
                        if one["type"] == "json_invalid":
                            one["loc"], one["ctx"] = one["loc"][:1], None
            if their != our:
                different.append(f"{method} {path} {headers} {body}\n  theirs {their}\n  ours   {our}")
        self.assertEqual(different, [], "\n".join(["", *different]))

    def test_the_dashboards_requests(self):
        self.serve()
        client = self.math(num_steps=10000)
        client.expect("Starting epoch")
        page = (PACKAGE / "scheduler/web_dashboard.html").read_text()
        asked = self.d.http("OPTIONS", "/list_jobs", over="tcp", headers={
            "Origin": DASHBOARD, "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization"})
        self.assertEqual((asked.status, asked.headers["Access-Control-Allow-Origin"]), (200, DASHBOARD))
        self.assertIn("authorization", asked.headers["Access-Control-Allow-Headers"].lower())
        answer = self.d.http("GET", "/list_jobs", key=self.key, headers={"Origin": DASHBOARD})
        self.assertEqual((answer.status, answer.headers["Access-Control-Allow-Origin"]), (200, DASHBOARD))
        fields = set(re.findall(r"\bjob\.([a-z_]+)", page))
        self.assertGreaterEqual(set(answer.json["jobs"][0]), fields)
        client.process.send_signal(signal.SIGINT)
        self.assertEqual(client.ended(), 0, client.output)
        self.nothing_left()




def main():
    loader = unittest.defaultTestLoader
    loader.testNamePatterns = [f"*{word}*" for word in sys.argv[1:]] or None
    result = unittest.TextTestRunner(verbosity=2).run(loader.loadTestsFromModule(sys.modules["__main__"]))
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed or not result.testsRun else 0)


if __name__ == "__main__":
    main()
