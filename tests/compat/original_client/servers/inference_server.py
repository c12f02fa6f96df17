"""Stands in for `vllm serve MODEL --host H --port P …`: /health, and /v1/completions that answers every prompt with
the number that its last line ends with. Standard library only.
"""
import argparse
import http.server
import json
import re


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.send({})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        numbers = re.findall(r"\d+", body["prompt"])
        self.send({"choices": [{"text": f"\\boxed{{{numbers[-1]}}}"}]})

    def log_message(self, *_):
        pass


parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("--host", required=True)
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--tensor-parallel-size", type=int, required=True)
parser.add_argument("--gpu-memory-utilization", type=float, required=True)
parser.add_argument("--tokenizer")
parser.add_argument("--max-model-len", type=int)
parser.add_argument("--trust-remote-code", action="store_true")
arguments = parser.parse_args()
http.server.ThreadingHTTPServer((arguments.host, arguments.port), Handler).serve_forever()
