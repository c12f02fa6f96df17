"""Self test of the example: python -m unittest test_digits, in this folder."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy as np

import data
import reward_server
import train

HERE = pathlib.Path(__file__).parent


class Server:
    """The real reward server on a free port; ends with the `with`."""

    def __enter__(self):
        command = [sys.executable, str(HERE / "reward_server.py"), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.last_words, _ = self.process.communicate(timeout=20)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def run_train(*arguments):
    command = [sys.executable, str(HERE / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


class Settings(unittest.TestCase):
    def test_overrides_keep_their_type(self):
        settings = train.parse_settings(["num_epochs=7", "learning_rate=0.1", "data_path=/a=b"])
        self.assertEqual((settings["num_epochs"], settings["learning_rate"], settings["data_path"]), (7, 0.1, "/a=b"))

    def test_a_mistake_is_named(self):
        for word, said in [("num_epoch=3", "did you mean num_epochs?"), ("num_epochs", "not key=value"),
                           ("num_epochs=two", "needs an integer"), ("batch_size=0", "must be above 0")]:
            with self.assertRaises(ValueError) as caught:
                train.parse_settings([word])
            self.assertIn(said, str(caught.exception))

    def test_the_program_exits_2_for_usage_and_1_without_its_server(self):
        self.assertEqual(run_train("colour=red").returncode, 2)
        refused = run_train("reward_url=http://127.0.0.1:1", "num_workers=1")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("the reward server at http://127.0.0.1:1 does not answer", refused.stderr)


class Data(unittest.TestCase):
    def test_the_split_is_the_same_each_time_and_loses_nothing(self):
        first, second = data.load("digits"), data.load("digits")
        np.testing.assert_array_equal(first.train_labels, second.train_labels)
        self.assertEqual(len(first.train_images) + len(first.test_images), 1797)

    def test_a_csv_file_is_read_and_a_wrong_one_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "digits.csv"
            path.write_text("".join(",".join(["16"] * 64 + [str(i % 10)]) + "\n" for i in range(20)))
            self.assertEqual(data.load(str(path)).train_images.max(), 1.0)
            path.write_text("1,2\n" * 20)
            with self.assertRaises(ValueError):
                data.load(str(path))


class Learning(unittest.TestCase):
    def test_an_action_that_beats_its_group_becomes_likelier(self):
        rng = np.random.default_rng(0)
        policy = train.Policy(16, 0.01, 0.0, rng)
        images = rng.random((1, 64))
        before = policy.probabilities(images)
        actions = np.array([[3, 5]])
        policy.learn(images, before, actions, train.leave_one_out(np.array([[1.0, 0.0]])))
        after = policy.probabilities(images)
        self.assertGreater(after[0, 3], before[0, 3])
        self.assertLess(after[0, 5], before[0, 5])

    def test_one_epoch_learns_and_is_the_same_each_time(self):
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            runs = [run_train(f"reward_url={server.url}", "num_epochs=1", f"save={folder}/a/{i}") for i in range(2)]
            saved = [{path.name: path.read_text() for path in pathlib.Path(folder, "a", str(i)).glob("*")} for i in range(2)]
        self.assertEqual([run.returncode for run in runs], [0, 0], runs[0].stderr)
        self.assertEqual(saved[0], saved[1])
        self.assertEqual(set(saved[0]), {"images.csv", "weights.txt"})
        self.assertEqual(saved[0]["weights.txt"].split()[:3], ["64", "512", "10"])
        self.assertEqual(len(saved[0]["weights.txt"].split()), 3 + 64 * 512 + 512 + 512 * 10 + 10)
        self.assertEqual(saved[0]["images.csv"].count("\n"), 360)
        self.assertEqual(runs[0].stdout, runs[1].stdout)
        accuracy = float(runs[0].stdout.split("epoch 1/1 accuracy ")[1].split()[0])
        self.assertGreater(accuracy, 0.6)

    def test_sigterm_ends_it_with_its_loaders(self):
        with Server() as server, tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(HERE / "train.py"), f"reward_url={server.url}", "num_epochs=1000", f"save={folder}"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)
            while not process.stdout.readline().startswith("epoch 1/"):
                pass
            process.terminate()
            rest, _ = process.communicate(timeout=20)  # the end of stdout: the loaders have let go of it too
            self.assertEqual(list(pathlib.Path(folder).iterdir()), [])
        self.assertIn("SIGTERM: stopping", rest)
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertRaises(ProcessLookupError, os.killpg, process.pid, 0)


class Status(unittest.TestCase):
    def test_it_tells_what_the_training_does(self):
        status = train.StatusServer(0)
        try:
            status.status.update(epoch=2)
            connection = http.client.HTTPConnection("127.0.0.1", status.server_port, timeout=20)
            connection.request("GET", "/api/v1/health")
            self.assertEqual(json.loads(connection.getresponse().read()), {"status": "starting", "epoch": 2})
            connection.close()
        finally:
            status.shutdown()
            status.server_close()


class Rewards(unittest.TestCase):
    def test_it_rewards_the_right_digit_only(self):
        labels = data.load("digits").train_labels
        with Server() as server:
            self.assertEqual(server.ask("GET", "/health"), (200, {"status": "ok"}))
            right, wrong = int(labels[0]), (int(labels[1]) + 1) % 10
            body = json.dumps({"samples": [0, 1], "actions": [right, wrong]})
            self.assertEqual(server.ask("POST", "/compute_reward", body), (200, {"rewards": [1.0, 0.0]}))
        self.assertIn("SIGTERM: draining", server.last_words)
        self.assertEqual(server.process.returncode, 0)

    def test_a_bad_request_is_refused_and_the_server_lives_on(self):
        with Server() as server:
            for body in ["", "[]", '{"samples":[0]}', '{"samples":[0],"actions":[1,2]}',
                         '{"samples":[-1],"actions":[1]}', '{"samples":[true],"actions":[1]}', '{"samples":']:
                self.assertEqual(server.ask("POST", "/compute_reward", body)[0], 400, body)
            self.assertEqual(server.ask("GET", "/nothing")[0], 404)
            self.assertEqual(server.ask("GET", "/health")[0], 200)

    def test_an_idle_connection_does_not_hold_up_the_end(self):
        with Server() as server:
            idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            idle.request("GET", "/health")
            idle.getresponse().read()
            server.process.terminate()
            self.assertEqual(server.process.wait(timeout=20), 0)
            idle.close()

    def test_a_port_in_use_is_named(self):
        with Server() as server:
            second = subprocess.run([sys.executable, str(HERE / "reward_server.py"), "--port", str(server.port)],
                                    capture_output=True, text=True, timeout=20)
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"port {server.port}", second.stderr)


if __name__ == "__main__":
    unittest.main()
