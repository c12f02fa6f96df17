"""Stands in for the original's training server: the same command line and the endpoints that its client drives, in
the order that the real one demands, over batches that it decodes. A step takes --step-seconds, as training would,
and a worker process, deaf to SIGTERM as trainers' are, stands beside it. Standard library only.

    training_server.py CONFIG_FILE STEP_SECONDS server.port=P job_id=ID enable_agent_loop=True|False [key=value…]
"""
import base64
import http.server
import json
import math
import os
import subprocess
import sys
import time

WORKER = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


class Refused(Exception):
    pass


class Server:
    def __init__(self, config, step_seconds, options):
        self.config, self.step_seconds, self.options = config, step_seconds, options
        self.generation = self.overrides = self.total_steps = None
        self.steps = self.validations = 0
        self.functions = {}

    def health(self, _):
        return {"status": "healthy", "server": "ppo_training"}

    def status(self, _):
        names = ("CUDA_VISIBLE_DEVICES", "ROLLOUT_TRACE_JOB_ID", "WANDB_API_KEY")
        return {"config": self.config, "options": self.options, "overrides": self.overrides, "steps": self.steps,
                "validations": self.validations, "functions": self.functions,
                "environment": {name: os.environ.get(name) for name in names}}

    def set_generation_config(self, body):
        self.generation = body
        return {"status": "success", "config": body}

    def set_config(self, body):
        if self.total_steps is not None:
            raise Refused("Server already initialized")
        self.overrides = body["config_overrides"]
        return {"status": "success"}

    def init_workers(self, body):
        if self.overrides is None or self.generation is None:
            raise Refused("set_generation_config and set_config come first")
        self.total_steps = body["total_steps"]
        return {"status": "success", "result": {}}

    def samples(self, body):
        """The number of samples of a batch whose tensors are as large as they say."""
        if self.total_steps is None:
            raise Refused("init_workers comes first")
        batch = body["batch_data"]["batch"]
        for name, tensor in batch.items():
            if tensor["__dtype__"] != "torch.int64":
                raise Refused(f"{name} is {tensor['__dtype__']}")
            if len(base64.b64decode(tensor["__data__"])) != 8 * math.prod(tensor["__shape__"]):
                raise Refused(f"{name} has not its shape's size")
        count = batch["input_ids"]["__shape__"][0]
        if len(body["batch_data"]["non_tensor_batch"]["raw_prompt"]["__data__"]) != count:
            raise Refused("raw_prompt has another length than input_ids")
        return count

    def train_step(self, body):
        count = self.samples(body)
        time.sleep(self.step_seconds)
        self.steps += 1
        print(f"step {self.steps} of {self.total_steps}", flush=True)
        return {"status": "success", "global_steps": self.steps, "metrics": {"reward": 1 - 1 / (self.steps + 1),
                                                                            "samples": count}}

    def validate(self, body):
        self.validations += 1
        return {"status": "success", "samples": [], "metrics": {"val/samples": self.samples(body)}}

    def save_checkpoint(self, _):
        return {"status": "success", "result": {"checkpoint_dir": f"step_{self.steps}"}}

    def upload_reward_function(self, body):
        self.functions[body["function_name"]] = body["source_code"]
        return {"status": "success"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    actions = {"GET": ("health", "status"),
               "POST": ("set_generation_config", "set_config", "init_workers", "train_step", "validate",
                        "save_checkpoint", "upload_reward_function")}

    def answer(self):
        name = self.path.removeprefix("/api/v1/")
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = 200
        try:
            if name not in self.actions[self.command]:
                raise Refused(f"no {self.command} {self.path}")
            result = getattr(self.server.state, name)(json.loads(text or "null"))
        except (Refused, KeyError, TypeError, ValueError) as error:
            status, result = 400, {"detail": repr(error)}
        body = json.dumps(result).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


def main():
    options = dict(word.split("=", 1) for word in sys.argv[3:])
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE)
    worker.stdout.readline()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(options["server.port"])), Handler)
    with open(sys.argv[1], encoding="utf-8") as config:
        server.state = Server(json.load(config), float(sys.argv[2]), options)
    server.serve_forever()


main()
