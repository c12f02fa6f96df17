#!/usr/bin/env python3
"""The reward server: says how good the policy's actions were. Only it knows the labels.

    reward_server.py --port 27001 [--data-path digits]

    GET  /health           {"status":"ok"}
    POST /compute_reward   {"samples":[0,7],"actions":[3,9]} -> {"rewards":[1.0,0.0]}

`samples` are indices into the training part of the data. A reward is 1 where the action names the digit that the
image shows, else 0. Ends on SIGTERM or SIGINT, after the requests that are under way.
"""

import argparse
import json
import select
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import data

MAX_BODY = 1 << 20


class BadRequest(Exception):
    """Carries the text of a 400 answer."""


def rewards(labels, request: dict) -> list:
    """The reward for each (sample, action) pair of a parsed request; raises BadRequest."""
    samples, actions = request.get("samples"), request.get("actions")
    for name, values in (("samples", samples), ("actions", actions)):
        if not isinstance(values, list) or not all(type(v) is int for v in values):
            raise BadRequest(f"'{name}' must be a list of integers")
    if len(samples) != len(actions):
        raise BadRequest(f"{len(samples)} samples but {len(actions)} actions")
    if any(not 0 <= s < len(labels) for s in samples):
        raise BadRequest(f"a sample is outside 0..{len(labels) - 1}")
    return [float(labels[s] == a) for s, a in zip(samples, actions)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for the whole training
    disable_nagle_algorithm = True  # an answer is two small writes; the second must not wait for an ACK
    timeout = 60

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            pass  # the client went away; nobody is left to tell

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        else:
            self.answer(404, {"error": f"no {self.path} here; there are /health and /compute_reward"})

    def do_POST(self):
        if self.path != "/compute_reward":
            self.close_connection = True  # the body stays unread
            return self.answer(404, {"error": f"no {self.path} here"})
        try:
            length = int(self.headers.get("Content-Length", ""))
            if not 0 <= length <= MAX_BODY:
                raise BadRequest(f"the body must have at most {MAX_BODY} bytes")
            request = json.loads(self.rfile.read(length))
            if not isinstance(request, dict):
                raise BadRequest("the body must be a JSON object")
            self.answer(200, {"rewards": rewards(self.server.labels, request)})
        except (BadRequest, ValueError) as error:
            self.close_connection = True
            self.answer(400, {"error": str(error)})

    def answer(self, status: int, body: dict):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        """Quiet: one line for each minibatch would drown the training's own."""


class RewardServer(ThreadingHTTPServer):
    daemon_threads = False  # server_close() joins them

    def __init__(self, port: int, labels):
        super().__init__(("127.0.0.1", port), Handler)
        self.labels = labels
        self.connections = set()

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def serve_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT; returns when every answer that was under way is sent."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # the byte in the socket pair is what counts
        print(f"reward_server.py: on http://127.0.0.1:{self.server_port}", flush=True)
        while reader not in select.select([self, reader], [], [])[0]:
            self.handle_request()
        name = signal.Signals(reader.recv(1)[0]).name
        print(f"reward_server.py: {name}: draining", flush=True)
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RD)  # its thread reads the end after its present answer
            except OSError:
                pass  # it ended by itself
        self.server_close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Reward server for train.py")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1; 0: any free one")
    parser.add_argument("--data-path", default="digits")
    arguments = parser.parse_args()
    try:
        server = RewardServer(arguments.port, data.load(arguments.data_path).train_labels)
    except (OSError, ValueError, OverflowError) as error:
        print(f"reward_server.py: port {arguments.port}, data {arguments.data_path}: {error}", file=sys.stderr)
        return 1
    server.serve_until_signal()
    return 0


if __name__ == "__main__":
    sys.exit(main())
