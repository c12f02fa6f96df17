#!/usr/bin/env python3
"""Learns to read handwritten digits by policy gradient (REINFORCE); the rewards come over HTTP.

    train.py reward_url=http://127.0.0.1:27001 [data_path=digits] [num_epochs=5] …

The policy is a two-layer network: an image in, a probability for each of ten actions ("this is a 7") out. For every
image it draws a group of actions, the reward server answers 1 or 0 for each, and the gradient makes likelier what
earned more than the rest of its group (RLOO, the leave-one-out baseline). The true labels are never seen here, except
to measure the accuracy on the test images.

With status_port=PORT it tells how far it is: GET /api/v1/health on 127.0.0.1. With save=FOLDER it leaves there, at its
end, what classify.cc needs. SIGTERM ends it at once, without saving anything.
"""

import difflib
import http.client
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# One core, and the same sums in the same order on every run; numpy reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import data

SETTINGS = {
    "data_path": "digits",
    "num_epochs": 5,
    "reward_url": "http://127.0.0.1:27001",
    "batch_size": 64,
    "group": 8,  # actions drawn for each image
    "hidden": 512,
    "learning_rate": 0.0007,
    "entropy": 0.05,  # what keeps the policy trying
    "num_workers": 2,  # processes that prepare the minibatches
    "seed": 1,
    "status_port": 0,  # 0: none
    "save": "",  # the folder that the weights and the test images are written to; empty: none
}



# How often an epoch shows each training image, on average; each time moved to another place.
PASSES = 45


class Stopped(BaseException):
    """SIGTERM came. Not an Exception: nothing between the handler and main() may swallow it."""


def parse_settings(arguments: list) -> dict:
    """`key=value` words over the defaults; raises ValueError with a message for the user."""
    settings = dict(SETTINGS)
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ValueError(f"'{argument}' is not key=value")
        if key not in SETTINGS:
            close = difflib.get_close_matches(key, SETTINGS, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ValueError(f"unknown setting '{key}'; {hint}There are: {' '.join(SETTINGS)}")
        kind = type(SETTINGS[key])
        try:
            settings[key] = kind(text)
        except ValueError:
            raise ValueError(f"{key}={text}: needs {'a number' if kind is float else 'an integer'}") from None
        if kind is not str and key not in ("seed", "status_port") and settings[key] <= 0:
            raise ValueError(f"{key}={text}: must be above 0")
    return settings


class RewardClient:
    """One connection to the reward server for the whole training."""

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"reward_url={url}: needs http://HOST:PORT")
        self._url = url
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=30)

    def rewards(self, samples: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """One request for a whole minibatch; raises OSError when the server is gone or refuses."""
        body = json.dumps({"samples": samples.tolist(), "actions": actions.tolist()})
        try:
            self._connection.request("POST", "/compute_reward", body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise OSError(f"the reward server at {self._url} does not answer: {error!r}") from None
        if answer.status != 200:
            raise OSError(f"the reward server answered {answer.status}: {text.decode(errors='replace')}")
        return np.array(json.loads(text)["rewards"])


class Policy:
    """A softmax over ten actions behind one hidden layer, trained with Adam."""

    def __init__(self, hidden: int, learning_rate: float, entropy: float, rng: np.random.Generator):
        self._rate = learning_rate
        self._entropy = entropy
        self.weights = [
            rng.normal(0, np.sqrt(2 / 64), (64, hidden)),
            np.zeros(hidden),
            rng.normal(0, np.sqrt(2 / hidden), (hidden, 10)),
            np.zeros(10),
        ]
        self._mean = [np.zeros_like(w) for w in self.weights]
        self._square = [np.zeros_like(w) for w in self.weights]
        self._steps = 0

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        w1, b1, w2, b2 = self.weights
        self._hidden = np.maximum(images @ w1 + b1, 0)
        logits = self._hidden @ w2 + b2
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)

    def learn(self, images, probabilities, actions, advantages):
        """One REINFORCE step: up the gradient of advantage * log probability(action), summed over each group."""
        # The gradient of log softmax at the logits is (one-hot action) - probabilities.
        slope = -probabilities * advantages.sum(axis=1, keepdims=True)
        np.add.at(slope, (np.arange(len(actions))[:, None], actions), advantages)
        # A little entropy is worth something too: an action whose probability fell to 0 would never be drawn again.
        logs = np.log(probabilities + 1e-12)
        entropy = -(probabilities * logs).sum(axis=1, keepdims=True)
        slope -= self._entropy * actions.shape[1] * probabilities * (logs + entropy)
        slope /= actions.size
        back = (slope @ self.weights[2].T) * (self._hidden > 0)
        gradients = [images.T @ back, back.sum(axis=0), self._hidden.T @ slope, slope.sum(axis=0)]
        self._steps += 1
        for weight, mean, square, gradient in zip(self.weights, self._mean, self._square, gradients):
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            scale = np.sqrt(square / (1 - 0.999**self._steps)) + 1e-8
            weight += self._rate * mean / (1 - 0.9**self._steps) / scale


class StatusServer(ThreadingHTTPServer):
    """Answers GET /api/v1/health with `status`, a dict that the training keeps up to date."""

    daemon_threads = True  # they end with the training

    def __init__(self, port: int):
        self.status = {"status": "starting"}
        super().__init__(("127.0.0.1", port), StatusHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class StatusHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/api/v1/health"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.status if known else {"error": "there is /api/v1/health"}).encode())

    def log_message(self, *_):
        """Quiet: the training's own lines are what is read."""


def draw(probabilities: np.ndarray, group: int, rng: np.random.Generator) -> np.ndarray:
    """`group` actions for each row of probabilities, each by its probability."""
    thresholds = rng.random((len(probabilities), group, 1))
    below = probabilities.cumsum(axis=1)[:, None, :] < thresholds
    return np.minimum(below.sum(axis=2), 9)  # a sum of floats may end just under 1


def leave_one_out(rewards: np.ndarray) -> np.ndarray:
    """How much better each action did than the others drawn for the same image."""
    group = rewards.shape[1]
    return (rewards - rewards.mean(axis=1, keepdims=True)) * group / max(group - 1, 1)


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to one pixel in each direction, with a little noise: harder to learn by heart."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(images), 2))
    out = np.stack([p[y : y + 8, x : x + 8] for p, (y, x) in zip(padded, moves)]).reshape(-1, 64)
    return out + rng.normal(0, 0.05, out.shape)


def load_minibatches(queue, images: np.ndarray, settings: dict, worker: int, per_epoch: int):
    """A loader process: prepares every num_workers-th minibatch, ahead of the training."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the whole group; the trainer ends us
    for step in range(worker, settings["num_epochs"] * per_epoch, settings["num_workers"]):
        rng = np.random.default_rng([settings["seed"], step])
        samples = rng.integers(0, len(images), settings["batch_size"])
        queue.put((samples, shifted(images[samples], rng)))


def train(settings: dict) -> float:
    """Runs the whole training, printing a line for each epoch; returns the accuracy on the test images."""
    digits = data.load(settings["data_path"])
    client = RewardClient(settings["reward_url"])
    if settings["save"]:  # what cannot be had is said before the work
        pathlib.Path(settings["save"]).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(settings["seed"])
    policy = Policy(settings["hidden"], settings["learning_rate"], settings["entropy"], rng)
    per_epoch = max(1, PASSES * len(digits.train_images) // settings["batch_size"])

    # One queue for each loader, read in turn: the order of the minibatches never depends on timing.
    queues = [multiprocessing.Queue(maxsize=4) for _ in range(settings["num_workers"])]
    loaders = [
        multiprocessing.Process(target=load_minibatches, daemon=True, name=f"loader-{i}",
                                args=(queue, digits.train_images, settings, i, per_epoch))
        for i, queue in enumerate(queues)
    ]
    for loader in loaders:
        loader.start()
    # Only now: a thread must not be there while processes are forked.
    status = StatusServer(settings["status_port"]).status if settings["status_port"] else {}

    accuracy = 0.0
    for epoch in range(settings["num_epochs"]):
        total = 0.0
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            samples, images = queues[step % len(queues)].get()
            probabilities = policy.probabilities(images)
            actions = draw(probabilities, settings["group"], rng)
            rewards = client.rewards(np.repeat(samples, settings["group"]), actions.ravel()).reshape(actions.shape)
            policy.learn(images, probabilities, actions, leave_one_out(rewards))
            total += rewards.mean()
            status.update(status="training", epoch=epoch + 1, step=step % per_epoch + 1, of=per_epoch)
        accuracy = (policy.probabilities(digits.test_images).argmax(axis=1) == digits.test_labels).mean()
        print(f"epoch {epoch + 1}/{settings['num_epochs']} accuracy {accuracy:.3f} "
              f"reward {total / per_epoch:.3f}", flush=True)
    for loader in loaders:
        loader.join()
    if settings["save"]:
        save(pathlib.Path(settings["save"]), policy.weights, digits)
    return accuracy


def save(folder: pathlib.Path, weights: list, digits: data.Digits):
    """weights.txt: the sizes of the three layers, then each weight and bias, with spaces between them; images.csv: the
    test images in the data set's own format. Each is whole or not there."""
    with (folder / "images.csv.part").open("w") as file:
        rows = np.column_stack([digits.test_images * 16, digits.test_labels])
        np.savetxt(file, rows, fmt="%g", delimiter=",")
    with (folder / "weights.txt.part").open("w") as file:
        file.write(f"64 {len(weights[1])} 10\n")
        for weight in weights:
            np.savetxt(file, np.atleast_2d(weight), fmt="%.17g")
    for name in ("images.csv", "weights.txt"):
        (folder / f"{name}.part").replace(folder / name)


def stop(_signal, _frame):
    raise Stopped


def main() -> int:
    try:
        settings = parse_settings(sys.argv[1:])
    except ValueError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, stop)
    gpus = os.environ.get("EBB_GPUS") or os.environ.get("CUDA_VISIBLE_DEVICES") or "none"
    print(f"train.py: holds GPU {gpus.replace(',', ' ')} (numpy itself computes on the CPU)", flush=True)
    try:
        accuracy = train(settings)
    except (OSError, ValueError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print("train.py: SIGTERM: stopping in the middle of the epoch, nothing is saved", flush=True)
        # Whoever sent the signal learns that it worked: die of it, as if it had never been caught.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for loader in multiprocessing.active_children():
            loader.kill()
            loader.join()
        os.kill(os.getpid(), signal.SIGTERM)
    print(f"train.py: done: accuracy {accuracy:.3f} on images that were never rewarded", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
