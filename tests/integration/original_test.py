"""The original scheduler's endpoints, row by row of its reference, and the differences that are on purpose."""
import hashlib
import http.client
import json
import os
import pwd
import re
import subprocess
import threading
import time

import harness
from harness import wait_for

NINE = {"job_id", "status", "gpu_ids", "port", "server_url", "created_at", "started_at", "completed_at", "error_message"}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$")

SERVER = """
import http.server, os, sys, json
port = int(sys.argv[sys.argv.index('--port') + 1])
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({'argv': sys.argv, 'config': open(sys.argv[sys.argv.index('--config') + 1]).read()
                           if '--config' in sys.argv else None, 'wandb': os.environ.get('WANDB_API_KEY')}).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.HTTPServer(('127.0.0.1', port), H).serve_forever()
"""

CONFIG = """
[server]
registration = true
[templates.training]
command = ["/usr/bin/python3", "{dir}/server.py", "--port", "{{port}}", "--job-id", "{{job_id}}", "--config", "{{config_file}}", ["--lr", "{{config.lr}}"]]
gpus = 4
ports = 1
ready = {{ path = "/api/v1/health", timeout = "30s" }}
owner = "connection"
workdir = "/tmp"
[templates.inference]
command = ["/usr/bin/python3", "{dir}/server.py", "--host", "{{host}}", "--port", "{{port}}", "--model", "{{model_path}}", "--tp", "{{tensor_parallel_size}}", "--util", "{{gpu_memory_utilization}}", ["--max-model-len", "{{max_model_len}}"], ["--trust-remote-code", "{{trust_remote_code?}}"]]
ports = 1
ready = {{ path = "/health", timeout = "30s" }}
workdir = "/tmp"
"""


class Original(harness.Case):
    def setUp(self):
        self.files = self.folder()
        (self.files / "server.py").write_text(SERVER)

    def start(self, extra="", **options):
        return self.daemon(config=CONFIG.format(dir=self.files) + extra, **options)

    def register(self, d, name):
        answer = d.http("POST", f"/register?username={name}", over="tcp")
        self.assertEqual(answer.status, 200, answer)
        return answer.json["api_key"]

    def submit(self, d, key, connection=None, **body):
        body.setdefault("config", {})
        return d.http("POST", "/submit_job", body, key=key, connection=connection, timeout=60)

    def seen_by(self, job):
        """What the job's server was given."""
        peer = http.client.HTTPConnection("127.0.0.1", job["port"])
        try:
            peer.request("GET", "/")
            return json.loads(peer.getresponse().read())
        finally:
            peer.close()

    def test_root(self):
        body = self.start().http("GET", "/", over="tcp").json
        self.assertEqual((body["service"], body["version"], body["status"], body["authentication"]),
                         ("OpenTinker Job Scheduler", "2.0.0", "running", "enabled"))
        self.assertEqual(body["endpoints"], [
            "/register (POST)", "/submit_job (POST)", "/submit_inference_job (POST)", "/job_status/{job_id} (GET)",
            "/list_jobs (GET)", "/cancel_job/{job_id} (DELETE)", "/complete_job/{job_id} (POST)"])

    def test_the_unspecified_address_is_this_machine(self):
        d = self.start()  # the original's configuration files say http://0.0.0.0:PORT
        self.assertEqual(d.http("GET", "/", headers={"Host": f"0.0.0.0:{d.port}"}, over="tcp").status, 200)
        self.assertEqual(d.http("GET", "/", headers={"Host": f"1.0.0.0:{d.port}"}, over="tcp").status, 403)

    def test_register(self):
        d = self.start()
        answer = d.http("POST", "/register?username=bob", over="tcp").json
        self.assertEqual(answer["username"], "bob")
        self.assertEqual(answer["user_id"], "user_" + hashlib.sha256(b"bob").hexdigest()[:8])
        self.assertRegex(answer["api_key"], "^otk_[0-9a-f]{32}$")
        self.assertEqual(answer["message"],
                         "User registered successfully. Save your API key - it cannot be retrieved later!")
        again = d.http("POST", "/register?username=bob", over="tcp")
        self.assertEqual((again.status, again.json), (400, {"detail": "Username 'bob' already exists"}))
        missing = d.http("POST", "/register", over="tcp")
        self.assertEqual((missing.status, missing.json["detail"][0]["loc"]), (422, ["query", "username"]))
        self.assertEqual(d.http("POST", "/register?username=Bob%20X", over="tcp").status, 422)

    def test_defect_25_registration_is_closed_by_default(self):
        answer = self.daemon().http("POST", "/register?username=bob", over="tcp")
        self.assertEqual((answer.status, answer.json),
                         (403, {"detail": "Registration is closed; ask an admin: ebb user add NAME"}))

    def test_defect_25_nobody_registers_as_an_account_of_this_machine(self):
        d = self.start()
        for name in (pwd.getpwuid(os.getuid()).pw_name, "nobody"):  # their jobs would be his
            answer = d.http("POST", f"/register?username={name}", over="tcp")
            self.assertEqual((answer.status, answer.json), (400, {"detail": f"Username '{name}' already exists"}))

    def test_authentication(self):
        d = self.start()
        def detail(**headers):
            answer = d.http("GET", "/list_jobs", headers=headers, over="tcp")
            return answer.status, answer.json["detail"]
        self.assertEqual(detail(), (401, "Authorization header required"))
        self.assertEqual(detail(Authorization=""), (401, "Authorization header required"))
        self.assertEqual(detail(Authorization="Bearer"), (401, "Invalid authorization header format"))
        self.assertEqual(detail(Authorization="Bearer a b"), (401, "Invalid authorization header format"))
        self.assertEqual(detail(Authorization="Bearer otk_x"), (401, "Invalid API key"))
        key = self.register(d, "bob")
        self.assertEqual(d.http("GET", "/list_jobs", headers={"Authorization": f"bEaReR {key}"}, over="tcp").json,
                         {"jobs": []})
        bad = d.http("POST", "/submit_job", b'{"config":', {"Content-Type": "application/json"}, over="tcp")
        self.assertEqual((bad.status, bad.json["detail"][0]["type"]), (422, "json_invalid"))
        self.assertEqual(d.http("POST", "/submit_job", {}, over="tcp").status, 401)

    def test_validation(self):
        d = self.start()
        key = self.register(d, "bob")
        def error(path="/submit_job", body=None, **headers):
            answer = d.http("POST", path, body, headers, key=key)
            self.assertEqual(answer.status, 422, answer)
            one = answer.json["detail"][0]
            return one["type"], one["loc"]
        self.assertEqual(error(body={}), ("missing", ["body", "config"]))
        self.assertEqual(error(body={"config": 1}), ("dict_type", ["body", "config"]))
        self.assertEqual(error(body={"config": {}, "num_gpus": 2.5}), ("int_from_float", ["body", "num_gpus"]))
        self.assertEqual(error(body={"config": {}, "num_gpus": "x"}), ("int_parsing", ["body", "num_gpus"]))
        self.assertEqual(error(body={"config": {}, "num_gpus": []}), ("int_type", ["body", "num_gpus"]))
        self.assertEqual(error(body={"config": {}, "num_gpus": 1e300}), ("int_parsing_size", ["body", "num_gpus"]))
        for value, kind in ((2.5, "bool_type"), (2, "bool_parsing"), ("x", "bool_parsing"), ([], "bool_type")):
            self.assertEqual(error(body={"config": {}, "enable_agent_loop": value}), (kind, ["body", "enable_agent_loop"]))
        self.assertEqual(error(body={"config": {}, "wandb_key": 1}), ("string_type", ["body", "wandb_key"]))
        self.assertEqual(error(body=[1]), ("model_attributes_type", ["body"]))
        self.assertEqual(error(body=b"null"), ("missing", ["body"]))
        self.assertEqual(error(body=b""), ("missing", ["body"]))
        foreign = d.http("POST", "/submit_job", b'{"config":"\xff"}', {"Content-Type": "application/json"}, key=key)
        self.assertEqual((foreign.status, foreign.json), (400, {"detail": "There was an error parsing the body"}))
        self.assertEqual(error(body=b'{"config":{}}', **{"Content-Type": "text/plain"}),
                         ("model_attributes_type", ["body"]))
        self.assertEqual(error("/submit_inference_job", {}), ("missing", ["body", "model_path"]))
        self.assertEqual(error("/submit_inference_job", {"model_path": 1}), ("string_type", ["body", "model_path"]))
        self.assertEqual(error("/submit_inference_job", {"model_path": "--evil"})[1], ["body", "model_path"])
        self.assertEqual(error("/submit_inference_job", {"model_path": "m", "tensor_parallel_size": None}),
                         ("int_type", ["body", "tensor_parallel_size"]))
        self.assertEqual(error("/submit_inference_job", {"model_path": "m", "gpu_memory_utilization": None}),
                         ("float_type", ["body", "gpu_memory_utilization"]))

    def test_defect_4_impossible_numbers_of_gpus_are_refused_and_block_nobody(self):
        d = self.start()
        key = self.register(d, "bob")
        for number in (-1, 5):
            answer = self.submit(d, key, num_gpus=number)
            one = answer.json["detail"][0]
            self.assertEqual((answer.status, one["loc"]), (422, ["body", "num_gpus"]))
            self.assertIn(str(number), one["msg"])
            self.assertIn("4", one["msg"])
        connection = d.connect("tcp")
        self.assertEqual(self.submit(d, key, connection, num_gpus=0).json["status"], "RUNNING")

    def test_unknown_paths_and_methods(self):
        d = self.start()
        self.assertEqual(d.http("GET", "/nope", over="tcp").json, {"detail": "Not Found"})
        answer = d.http("GET", "/submit_job", over="tcp")
        self.assertEqual((answer.status, answer.json, answer.headers["Allow"]),
                         (405, {"detail": "Method Not Allowed"}, "POST"))

    def test_defect_23_a_training_job_from_submission_to_completion(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        body = {"config": {"lr": 0.001, "api_key": "SECRET", "nested": {"password": "SECRET", "x": 2}},
                "enable_agent_loop": "yes", "wandb_key": "WANDB", "num_gpus": "2", "unknown": 1}
        job = self.submit(d, key, connection, **body).json
        self.assertEqual((job["status"], job["message"]), ("RUNNING", "Job started successfully"))
        self.assertRegex(job["job_id"], "^[0-9a-f]{8}$")
        self.assertEqual(len(job["gpu_ids"]), 2)
        self.assertEqual(job["server_url"], f"http://127.0.0.1:{job['port']}")
        seen = self.seen_by(job)
        self.assertEqual(json.loads(seen["config"]), {"lr": 0.001, "nested": {"x": 2}})
        self.assertEqual(seen["argv"][seen["argv"].index("--lr") + 1], "0.001")
        self.assertEqual(seen["wandb"], "WANDB")
        self.assertNotIn("SECRET", json.dumps(seen["argv"]))
        self.assertNotIn("WANDB", json.dumps(seen["argv"]))

        status = d.http("GET", f"/job_status/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual(set(status), NINE)
        self.assertEqual(status["status"], "RUNNING")
        self.assertRegex(status["created_at"], TIME)
        self.assertRegex(status["started_at"], TIME)
        self.assertIsNone(status["completed_at"])
        done = d.http("POST", f"/complete_job/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual(done, {"job_id": job["job_id"], "status": "COMPLETED", "message": "Job completed successfully"})
        again = d.http("POST", f"/complete_job/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual((again["status"], again["message"]),
                         ("COMPLETED", "Job already in terminal state: COMPLETED"))
        cancel = d.http("DELETE", f"/cancel_job/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual(cancel["message"], "Job already in terminal state: COMPLETED")
        status = d.http("GET", f"/job_status/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual((status["gpu_ids"], status["port"], status["server_url"]),
                         (job["gpu_ids"], job["port"], job["server_url"]))
        self.assertRegex(status["completed_at"], TIME)

    def test_what_a_config_says_of_a_models_tokens_is_no_secret(self):
        d = self.start()
        connection = d.connect("tcp", timeout=60)
        kept = {"tokenizer_path": "org/model", "max_new_tokens": 4096, "add_bos_token": True, "pad_token_id": 0,
                "multi_turn": {"max_tokens_per_turn": 256}, "tokenizers": ["a"]}
        secret = {"hf_token": "S", "Token": "S", "api_tokens": ["S"], "tokenizer_token": "S", "token": {"value": "S"}}
        job = self.submit(d, self.register(d, "bob"), connection, config={**kept, **secret}, num_gpus=0).json
        self.assertEqual(json.loads(self.seen_by(job)["config"]), kept)

    def test_defect_1_a_second_complete_frees_nothing_of_others(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        first = self.submit(d, key, connection).json
        d.http("POST", f"/complete_job/{first['job_id']}", key=key, connection=connection)
        second = self.submit(d, key, connection).json
        d.http("POST", f"/complete_job/{first['job_id']}", key=key, connection=connection)
        third = self.submit(d, key, connection).json
        self.assertEqual((second["status"], third["status"]), ("RUNNING", "QUEUED"))
        self.assertEqual(third["message"], "Job queued (position 1)")
        self.assertIsNone(third["server_url"])
        jobs = d.http("GET", "/list_jobs", key=key, connection=connection).json["jobs"]
        self.assertEqual([job["job_id"] for job in jobs], [job["job_id"] for job in (first, second, third)])
        self.assertEqual({name: value for name, value in jobs[2].items() if name != "created_at"},
                         {**dict.fromkeys(NINE - {"created_at"}), "job_id": third["job_id"], "status": "QUEUED"})
        done = d.http("POST", f"/complete_job/{third['job_id']}", key=key, connection=connection).json
        self.assertEqual(done["status"], "CANCELLED")

    def test_defect_2_cancelling_a_starting_job_stays_cancelled(self):
        config = CONFIG.format(dir=self.files).replace(f'"{self.files}/server.py"', '"-c", "import time; time.sleep(60)"')
        config = config.replace('"/health", timeout = "30s"', '"/health", timeout = "6s"')
        d = self.daemon(config=config)
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = d.http("POST", "/submit_inference_job", {"model_path": "m"}, key=key, connection=connection).json
        self.assertEqual((job["status"], job["message"]), ("STARTING", "Inference job started successfully"))
        self.assertEqual(job["vllm_server_url"], f"http://127.0.0.1:{job['port']}")
        done = d.http("DELETE", f"/cancel_job/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual((done["status"], done["message"]), ("CANCELLED", "Job cancelled successfully"))
        self.assertEqual(d.job(job["job_id"])["state"], "cancelled")
        self.assertEqual({gpu["state"] for gpu in d.http("GET", "/v1/devices").json["gpus"]}, {"free"})
        # When the next one has waited in vain for as long as it might, so would the first have.
        later = d.http("POST", "/submit_inference_job", {"model_path": "m"}, key=key, connection=connection).json
        self.assertEqual(d.wait_state(later["job_id"])["reason"]["kind"], "start_failed")
        status = d.http("GET", f"/job_status/{job['job_id']}", key=key, connection=connection).json
        self.assertEqual((status["status"], status["error_message"]), ("CANCELLED", None))
        self.assertEqual(d.report(job["job_id"])["reason"]["kind"], "cancelled")

    def test_defect_5_and_27_a_failed_start_blocks_nobody_and_its_text_is_harmless(self):
        script = self.files / "bad.sh"
        script.write_text("#!/bin/sh\nprintf '<script>\\033[31malert(1)' >&2\nexit 3\n")
        script.chmod(0o755)
        config = CONFIG.format(dir=self.files).replace(
            f'"/usr/bin/python3", "{self.files}/server.py", "--port", "{{port}}", "--job-id"', f'"{script}", "{{port}}"')
        d = self.daemon(config=config)
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, key, connection).json
        self.assertEqual((job["status"], job["server_url"]), ("FAILED", None))
        status = d.http("GET", f"/job_status/{job['job_id']}", key=key, connection=connection).json
        self.assertIn("alert(1)", status["error_message"])
        self.assertNotIn("<", status["error_message"])
        self.assertNotIn("\x1b", status["error_message"])
        inference = d.http("POST", "/submit_inference_job", {"model_path": "m"}, key=key, connection=connection).json
        self.assertIn(inference["status"], ("STARTING", "RUNNING"))

    def test_defect_6_a_gpu_that_was_busy_from_outside_is_used_once_it_is_free(self):
        stranger = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        (self.files / "gpus").write_text(f"gpu 0 uuid=GPU-original-{stranger.pid}\nprocess 0 {stranger.pid} 500\n")
        d = self.start(gpus="auto", env={"EBB_NVML_LIBRARY": str(harness.BIN.parent / "nvml-stub/libnvidia-ml.so.1"),
                                         "EBB_NVML_STUB": str(self.files / "gpus")})
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, key, connection, num_gpus=1).json
        self.assertEqual(job["status"], "QUEUED")
        stranger.kill()
        stranger.wait()  # a zombie still counts as there
        d.wait_state(job["job_id"], "running")

    def test_inference_arguments(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = d.http("POST", "/submit_inference_job", {"model_path": "org/m", "tensor_parallel_size": 2}, key=key,
                     connection=connection).json
        self.assertEqual(len(job["gpu_ids"]), 2)
        d.wait_state(job["job_id"], "running")
        command = self.seen_by(job)["argv"]
        self.assertEqual(command[command.index("--host") + 1], "127.0.0.1")
        self.assertIn("--trust-remote-code", command)
        self.assertNotIn("--max-model-len", command)
        self.assertEqual(command[command.index("--util") + 1], "0.9")
        self.assertEqual(command[command.index("--model") + 1], "org/m")

    def test_unknown_jobs(self):
        d = self.start()
        key = self.register(d, "bob")
        for method, path in (("DELETE", "cancel_job"), ("POST", "complete_job")):
            for job in ("00000000", "nonsense"):
                answer = d.http(method, f"/{path}/{job}", key=key)
                self.assertEqual((answer.status, answer.json),
                                 (200, {"job_id": job, "status": "NOT_FOUND", "message": "Job not found"}))
        answer = d.http("GET", "/job_status/00000000", key=key)
        self.assertEqual((answer.status, answer.json), (404, {"detail": "Job not found"}))

    def test_defect_25_others_jobs_and_admins(self):
        d = self.start()
        bob, eve = self.register(d, "bob"), self.register(d, "eve")
        admin = d.add_user("root2", admin=True)
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, bob, connection, num_gpus=0).json["job_id"]
        def detail(method, path):
            answer = d.http(method, f"/{path}/{job}", key=eve)
            return answer.status, answer.json["detail"]
        self.assertEqual(detail("GET", "job_status"), (403, "Not authorized to view this job"))
        self.assertEqual(detail("DELETE", "cancel_job"), (403, "Not authorized to cancel this job"))
        self.assertEqual(detail("POST", "complete_job"), (403, "Not authorized to complete this job"))
        self.assertEqual(d.http("GET", "/list_jobs", key=eve).json, {"jobs": []})
        self.assertEqual([j["job_id"] for j in d.http("GET", "/list_jobs", key=bob).json["jobs"]], [job])
        self.assertEqual(set(d.http("GET", "/list_jobs", key=admin).json["jobs"][0]), NINE)
        self.assertEqual(d.http("GET", f"/job_status/{job}", key=admin).status, 200)
        self.assertEqual(d.http("DELETE", f"/cancel_job/{job}", key=admin).json["status"], "CANCELLED")

    def test_admin_users(self):
        d = self.start()
        bob, admin = self.register(d, "bob"), d.add_user("root2", admin=True)
        answer = d.http("GET", "/admin/users", key=bob)
        self.assertEqual((answer.status, answer.json), (403, {"detail": "Admin access required"}))
        users = d.http("GET", "/admin/users", key=admin).json["users"]
        self.assertEqual([u["username"] for u in users], ["bob", "root2"])
        self.assertEqual(set(users[0]), {"user_id", "username", "created_at", "is_admin"})

    def test_defect_24_keys_are_not_kept(self):
        d = self.start()
        key = self.register(d, "bob")
        for path in d.state.rglob("*"):
            if path.is_file():
                self.assertNotIn(key.encode(), path.read_bytes(), path)
        self.assertNotIn(key, d.output())

    def test_defect_26_secrets_are_in_no_file_or_log(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, key, connection, config={"hf_token": "TOPSECRET"}, wandb_key="WANDBKEY", num_gpus=0).json
        seen = self.seen_by(job)
        self.assertEqual(seen["wandb"], "WANDBKEY")
        for secret in ("TOPSECRET", "WANDBKEY"):
            for path in d.dir.rglob("*"):  # the state, the job's scratch, the daemon's log
                if path.is_file() and (secret == "TOPSECRET" or "env" not in path.name):
                    self.assertNotIn(secret.encode(), path.read_bytes(), path)
            self.assertNotIn(secret, json.dumps(seen["argv"]) + seen["config"])
            for path in ("/v1/jobs", f"/v1/jobs/{job['job_id']}", "/list_jobs"):
                self.assertNotIn(secret, d.http("GET", path, key=key).body.decode())

    def test_defect_27_cors_only_when_configured(self):
        origin = {"Origin": "http://localhost:8081"}
        self.assertEqual(self.start().http("GET", "/list_jobs", headers=origin, over="tcp").status, 403)
        d = self.start("[compat]\ncors_origins = [\"http://localhost:8081\"]\n")
        preflight = d.http("OPTIONS", "/list_jobs", headers={**origin, "Access-Control-Request-Method": "GET"}, over="tcp")
        self.assertEqual((preflight.status, preflight.headers["Access-Control-Allow-Origin"]),
                         (200, "http://localhost:8081"))
        self.assertIn("Authorization", preflight.headers["Access-Control-Allow-Headers"])
        refused = d.http("GET", "/list_jobs", headers=origin, over="tcp")  # the page shows why
        self.assertEqual((refused.status, refused.headers["Access-Control-Allow-Origin"]),
                         (401, "http://localhost:8081"))
        key = self.register(d, "bob")
        answer = d.http("GET", "/list_jobs", headers=origin, key=key)
        self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "http://localhost:8081")
        self.assertEqual(d.http("GET", "/list_jobs", headers={"Origin": "http://evil"}, key=key).status, 403)
        self.assertEqual(d.http("GET", "/v1/jobs", headers=origin, key=key).status, 403)

    def test_authentication_off(self):
        d = self.start("[compat]\nauth = false\n")
        self.assertEqual(d.http("GET", "/", over="tcp").json["authentication"], "disabled")
        self.assertEqual(d.http("GET", "/list_jobs", over="tcp").json, {"jobs": []})
        connection = d.connect("tcp", timeout=60)
        job = d.http("POST", "/submit_job", {"config": {}, "num_gpus": 0}, connection=connection).json
        self.assertEqual(job["status"], "RUNNING")
        self.assertEqual(d.http("GET", "/v1/jobs", over="tcp").status, 401)

    def test_defect_8_a_job_ends_when_its_connection_does(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, key, connection, num_gpus=1).json["job_id"]
        answered = time.monotonic()
        wait_for(lambda: time.monotonic() - answered > 2.2, what="the time in which curl would have left")
        connection.close()
        wait_for(lambda: d.job(job)["reason"], deadline=20)
        self.assertEqual(d.wait_state(job)["reason"]["kind"], "owner_lost")

    def test_a_job_is_kept_by_asking_on_another_connection(self):
        d = self.start()
        key = self.register(d, "bob")
        first = d.connect("tcp", timeout=60)
        job = self.submit(d, key, first, num_gpus=1).json["job_id"]
        answered = time.monotonic()
        wait_for(lambda: time.monotonic() - answered > 2.2, what="the time in which curl would have left")
        first.close()
        closed = time.monotonic()
        second = d.connect("tcp", timeout=60)
        self.assertEqual(d.http("GET", f"/job_status/{job}", key=key, connection=second).json["status"], "RUNNING")
        wait_for(lambda: time.monotonic() - closed > 11, what="more than the lease")
        self.assertEqual(d.job(job)["state"], "running")
        second.close()

    def test_a_list_that_is_polled_keeps_no_job(self):
        d = self.start()
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        job = self.submit(d, key, connection, num_gpus=1).json["job_id"]
        d.http("GET", f"/job_status/{job}", key=key, connection=connection)
        connection.close()
        dashboard = d.connect("tcp", timeout=60)
        wait_for(lambda: d.http("GET", "/list_jobs", key=key, connection=dashboard).json["jobs"][0]["completed_at"],
                 deadline=25, what="the end of the job that nobody owns any more")
        self.assertEqual(d.job(job)["reason"]["kind"], "owner_lost")

    def test_defect_9_who_leaves_the_queue_at_once_leaves_no_job_in_it(self):
        d = self.start()
        key = self.register(d, "bob")
        first = d.connect("tcp", timeout=60)
        self.assertEqual(self.submit(d, key, first).json["status"], "RUNNING")
        second = d.connect("tcp", timeout=60)
        job = self.submit(d, key, second).json
        self.assertEqual(job["status"], "QUEUED")
        # The original's client asks at once, and knows of no job to cancel when it is interrupted here.
        d.http("GET", f"/job_status/{job['job_id']}", key=key, connection=second)
        second.close()
        ended = d.wait_state(job["job_id"], deadline=25)
        self.assertEqual((ended["reason"]["kind"], ended["started_at"]), ("owner_lost", None))

    def test_a_submission_by_curl_has_no_owner(self):
        d = self.start()
        key = self.register(d, "bob")
        job = self.submit(d, key, num_gpus=0).json["job_id"]   # closes its connection at once
        wait_for(lambda: d.job(job)["owner"] is None, what="the job set free")
        self.assertEqual(d.job(job)["state"], "running")

    def test_defect_18_one_start_does_not_freeze_the_rest(self):
        config = CONFIG.format(dir=self.files).replace(f'"{self.files}/server.py"', '"-c", "import time; time.sleep(60)"')
        d = self.daemon(config=config)
        key = self.register(d, "bob")
        connection = d.connect("tcp", timeout=60)
        thread = threading.Thread(target=lambda: self.submit(d, key, connection, num_gpus=1), daemon=True)
        thread.start()
        starting = wait_for(lambda: [j for j in d.http("GET", "/v1/jobs").json["items"] if j["state"] == "starting"])
        # Whoever comes next in turn will take as long to start; cancelling does not wait for that either.
        queue = d.connect("tcp", timeout=60)
        following = self.submit(d, key, queue).json
        self.assertEqual(following["status"], "QUEUED")
        begin = time.monotonic()
        for _ in range(50):
            self.assertEqual(d.http("GET", "/list_jobs", key=key).status, 200)
        done = d.http("DELETE", f"/cancel_job/{starting[0]['id']}", key=key).json
        self.assertEqual(done["status"], "CANCELLED")
        self.assertLess(time.monotonic() - begin, 30)
        self.assertIn(d.job(following["job_id"])["state"], ("queued", "starting"))
        thread.join(20)
        self.assertFalse(thread.is_alive())


if __name__ == "__main__":
    harness.main()
