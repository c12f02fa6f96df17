"""What ./demo shows, once everything is built: two trainings, one Ctrl+C, and the proof. Standard library only."""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from machine import gpu_memory, port_is_free, when
from terminal import Failed, Terminal, say

DIGITS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "digits"
EPOCHS = 5
FOLDER = "ebb-demo-"
PATIENCE_S = 120  # until a program that starts says so: numpy alone takes half a minute from a cold, busy disk
INTRODUCTION = '''
Training A takes all GPUs; training B waits for two of them. Then somebody presses Ctrl+C in A's terminal: what A held
is released, a report proves it, and B starts by itself and learns to its end.

'A |' and 'B |' stand before what the two terminals show, '$' before a command that you could type yourself, 'ok:'
before a promise that was just checked. Everything is in DIR={folder}.'''
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody ends the demo itself. Not raised within `with Interrupted.later()`, but at its end: what is being
    started is then known, and will be ended."""

    _held = 0
    _came = None

    @classmethod
    @contextlib.contextmanager
    def later(cls):
        cls._held += 1
        try:
            yield
        finally:
            cls._held -= 1
        if cls._came and not cls._held:
            cls.on_signal(cls._came, None)

    @classmethod
    def on_signal(cls, number, _frame):
        cls._came = number
        if not cls._held:
            for other in ENDINGS:
                signal.signal(other, signal.SIG_IGN)  # the way out is short and bounded; no second one may cut it
            raise cls(number)


def title(text):
    bold = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    say(f"\n{bold[0]}== {text}{bold[1]}")


class Checks:
    """Each promise, said when it is looked at; the demo's exit status is theirs."""

    def __init__(self):
        self.failed = []
        self.looked_at = 0

    def that(self, holds, text):
        self.looked_at += 1
        say(f"   {'ok' if holds else 'NOT TRUE'}: {text}")
        if not holds:
            self.failed.append(text)


class Demo:
    def __init__(self, options, checks):
        self.bin = pathlib.Path(options.bin).resolve()
        self.python = os.path.abspath(options.python)  # not resolved: a venv is found by its link
        self.gpus = options.gpus or ("auto" if gpu_memory() else "declared:4")
        self.checks = checks
        remove_abandoned()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=FOLDER))
        self.lock = lock(self.folder)
        self.state = self.folder / "state"
        # Under this name the programs run: it stands in every command line of the demo, and in no other's.
        self.programs = self.folder / "digits"
        self.programs.symlink_to(DIGITS)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("EBB_") or k == "EBB_LOCK_DIR"}
        self.env |= {"EBB_SERVER": str(self.folder / "ebb.sock"), "PYTHONDONTWRITEBYTECODE": "1"}
        self.daemon = None
        self.terminals = []

    # ---- the pieces

    def show(self, *words, more=""):
        """A command as one could type it, where DIR is the demo's folder; a long one over several lines."""
        names = {str(self.programs): "digits", self.python: "python3", str(self.folder): "$DIR"}
        lines, option = [""], ""
        for word in words:
            for path, name in names.items():
                word = word.replace(path, name)
            word = word if "$DIR" in word else shlex.quote(word)
            if len(lines[-1]) + len(option) + len(word) > 105 and not word.startswith("-"):
                lines.append("     ")
            if word.startswith("-"):  # stays with its value
                option += f" {word}"
            else:
                lines[-1] += f"{option} {word}"
                option = ""
        say("   $" + " \\\n    ".join(lines) + option + more)

    def show_output(self, text):
        say("".join(f"   {line}\n" for line in text.splitlines()), end="")

    def ebb(self, *words, shown=True, codes=(0,)):
        """Runs `ebb WORDS` to its end; its output, which is shown with the command where `shown`."""
        if shown:
            self.show("ebb", *words)
        done = subprocess.run([self.bin / "ebb", *words], env=self.env, capture_output=True, text=True, timeout=60)
        if shown:
            self.show_output(done.stdout + done.stderr)
        if done.returncode not in codes:
            raise Failed(f"ebb {shlex.join(words)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def json(self, *words):
        return json.loads(self.ebb(*words, "--json", shown=False).stdout)

    def start_daemon(self):
        self.port = 8765 if port_is_free(8765) else 0
        config = self.folder / "ebb.toml"
        config.write_text(f'[jobs]\nscratch = "{self.folder}/scratch"\n')
        words = ["serve", "--config", str(config), "--state", str(self.state), "--socket", self.env["EBB_SERVER"],
                 "--listen", f"127.0.0.1:{self.port}", "--gpus", self.gpus]
        self.show("ebb", *words, more=" &")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.folder / "serve.log", "ab") as log:
            (self.folder / "notify").unlink(missing_ok=True)
            notify.bind(str(self.folder / "notify"))
            # When the demo is killed, and cannot end it, the kernel does; it holds the folder's lock until then.
            program = ["setpriv", "--pdeathsig", "TERM", self.bin / "ebb"]
            with Interrupted.later():
                self.daemon = subprocess.Popen([*program, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                               start_new_session=True, pass_fds=[self.lock.fileno()],
                                               env=self.env | {"NOTIFY_SOCKET": str(self.folder / "notify")})
            threading.Thread(target=self._tell_of_an_end, args=[str(self.folder / "notify")], daemon=True).start()
            notify.settimeout(30)
            said = ""
            while "READY=1" not in said and "ENDED" not in said:
                said = notify.recv(4096).decode()
        if "ENDED" in said:
            raise Failed(f"ebb serve ended at once:\n{self.daemon_says()}")
        if found := re.search(r"http://[^ \n]*:(\d+)", said):
            self.port = int(found.group(1))
        say(f"   ready: http://127.0.0.1:{self.port} and $DIR/ebb.sock")

    def _tell_of_an_end(self, notify):
        """A daemon that dies before it is ready must not be waited for."""
        self.daemon.wait()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tell:
                tell.sendto(b"ENDED", notify)
        except OSError:
            pass  # nobody waits any longer

    def daemon_says(self):
        return (self.folder / "serve.log").read_text(errors="replace")

    def train(self, name, gpus, *more):
        """`ebb run` of a training with its own reward server, in a terminal of its own."""
        digits = self.programs
        words = ["run", "--name", name, "--gpus", str(gpus), "--ports", "1", "--ready", "/api/v1/health",
                 "--sidecar", shlex.join([self.python, f"{digits}/reward_server.py", "--port"]) + " {port}",
                 "--sidecar-ready", "reward=/health", "--", self.python, f"{digits}/train.py",
                 "data_path=digits", f"num_epochs={EPOCHS}", "reward_url={sidecar.reward.url}", "status_port={port}"]
        words[words.index("--sidecar") + 1] = "reward=" + words[words.index("--sidecar") + 1]
        self.show("ebb", *words)
        with Interrupted.later():
            self.terminals.append(Terminal(name, [str(self.bin / "ebb"), *words], self.env))
        return self.terminals[-1]

    def middle_of_an_epoch(self, port):
        """Returns when the training on `port` says that it is half through an epoch after the first."""
        for _ in range(600):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/v1/health")
            status = json.loads(connection.getresponse().read())
            connection.close()
            if status.get("epoch", 0) >= 2 and 0.4 < status["step"] / status["of"] < 0.8:
                return status
            time.sleep(0.05)
        raise Failed("training A never was in the middle of an epoch")

    # ---- the story

    def run(self):
        check = self.checks.that
        say(INTRODUCTION.format(folder=self.folder))
        title(f"a daemon of its own, GPUs: {self.gpus}")
        self.start_daemon()
        count = len(self.json("devices")["gpus"])
        before = gpu_memory()
        if count == 0:
            raise Failed(f"the daemon found no GPU; try ./demo --gpus declared:4\n{self.daemon_says()}")

        title(f"training A, attached, on all {count} GPUs, its reward server beside it")
        a = self.train("A", count)
        a_id = a.expect(r"job ([0-9a-f]{8}) runs on GPU", PATIENCE_S).group(1)
        a_job = self.json("status", a_id)
        a.expect(r"epoch 1/", 60)

        title(f"training B, queued for {min(2, count)}")
        b = self.train("B", min(2, count))
        b_id = b.expect(r"job ([0-9a-f]{8}) is queued", PATIENCE_S).group(1)
        self.ebb("why", b_id)

        status = self.middle_of_an_epoch(a_job["ports"][0])
        title(f"Ctrl+C in A's terminal, in epoch {status['epoch']} at minibatch {status['step']} of {status['of']}")
        a.control_c()
        code = a.wait(30)
        check(code == 130, f"A's client cleaned up and died of its signal: exit {code}")

        title("A's report")
        self.ebb("report", "-v", a_id)
        report = self.json("report", a_id)
        check(report["complete"] and all(r["outcome"] == "released" for r in report["releases"]),
              f"everything that A held is released: {len(report['releases'])} releases")
        check(report["reason"]["kind"] == "cancelled", "the reason is that its owner cancelled it")

        title("B starts by itself")
        b.expect(r"job [0-9a-f]{8} runs on GPU", PATIENCE_S)
        b_job = self.json("status", b_id)
        stop, released, start = (when(report["stop_requested_at"]), when(report["released_at"]),
                                 when(b_job["started_at"]))
        say(f"   A was asked to stop at {report['stop_requested_at'][11:23]}; verified released "
            f"{1000 * (released - stop):.1f} ms later; B started {1000 * (start - stop):.1f} ms after the request")
        check(released <= start + 1e-6, "no GPU went to B before A's release was verified")
        check(start - stop < 10, "the gap is bounded by A's grace period")

        for epoch in range(1, EPOCHS + 1):
            b.expect(rf"epoch {epoch}/", 90)
        code = b.wait(90)
        title("B has learned")
        last = b.expect(rf"epoch {EPOCHS}/{EPOCHS} accuracy ([\d.]+) reward ([\d.]+)", 1)
        check(code == 0, f"B completed: exit {code}")
        check(float(last.group(1)) > 0.9, f"accuracy {last.group(1)} on images never rewarded, reward {last.group(2)}")
        b_report = self.json("report", b_id)
        check(b_report["complete"] and b_report["reason"]["kind"] == "completed", "B's report: completed, all released")

        title("what is left, looked at from outside")
        audit = self.ebb("audit", codes=(0, 1))
        check(audit.returncode == 0, "ebb audit finds no leftover")
        self.proof(before, a_job["ports"] + b_job["ports"])

    def proof(self, before, job_ports):
        """The three checks that a user can make by hand: processes, GPU memory, ports."""
        check = self.checks.that
        say("   $ ps -eo pid,args | grep $DIR")
        left = self.processes()
        self.show_output("\n".join(left).replace(str(self.folder), "$DIR"))
        check(len(left) == 1 and " serve " in left[0], "of all that ran, only the daemon is there")
        if before is None:
            say("   no nvidia-smi here: the GPUs are declared, there is no memory to look at")
        else:
            say("   $ nvidia-smi --query-gpu=index,memory.used --format=csv,noheader")
            after = gpu_memory()
            self.show_output("\n".join(f"{gpu}: {mib} MiB" for gpu, mib in after.items()))
            check(all(mib <= before[gpu] + 64 for gpu, mib in after.items()), "GPU memory is as it was before")

        say("   Ctrl+C at the daemon")
        self.daemon.send_signal(signal.SIGINT)
        code = self.daemon.wait(30)
        say("".join(f"   ebb serve | {line}\n" for line in self.daemon_says().splitlines()[-8:]), end="")
        check(code == 0, f"the daemon has ended: exit {code}")
        ports = [self.port, *sorted(set(job_ports))]
        words = ["lsof", "-nP", *(f"-i:{port}" for port in ports)]
        self.show(*words)
        found = subprocess.run(words, capture_output=True, text=True).stdout
        listeners = [line for line in found.splitlines() if "LISTEN" in line]
        self.show_output("\n".join(listeners))
        check(not listeners, f"ports {' '.join(map(str, ports))} are free")
        check(not self.processes(), "no process of the demo is left")

    def processes(self):
        """The lines of ps that name the demo's own folder, which every program that it starts does."""
        lines = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True).stdout.splitlines()
        return [line for line in lines if str(self.folder) in line]

    def clean_up(self):
        """Ends all that the demo started, in order; copes with any part of it missing."""
        for terminal in self.terminals:
            try:
                terminal.close()
            except (Failed, OSError) as error:
                say(f"   demo: {error}")
        if self.daemon and self.daemon.poll() not in (None, 0):
            # A daemon's start is the recovery: what a dead one left is ended by the next.
            say(f"   the daemon had ended by itself, exit {self.daemon.returncode}; it said:\n{self.daemon_says()}")
            self.start_daemon()
        if self.daemon and self.daemon.poll() is None:
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                self.daemon.send_signal(number)
                try:
                    self.daemon.wait(30)
                    break
                except subprocess.TimeoutExpired:
                    continue
        remove(self.folder)


def remove(folder):
    """A demo's folder, and the attempts' folders in memory to which its state directory has a link."""
    attempts = folder / "state" / "attempts"
    if attempts.is_symlink():
        shutil.rmtree(attempts.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def lock(folder):
    """An open file that holds the folder's lock, or None where somebody else does."""
    try:
        file = open(folder / "lock", "w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file
    except OSError:
        return None


def remove_abandoned():
    """What demos left that were killed: their folders, which nobody locks any more, neither they nor their
    daemons."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        if (folder / "lock").exists() and folder.stat().st_uid == os.getuid() and (file := lock(folder)):
            with file:
                remove(folder)


def main():
    parser = argparse.ArgumentParser(prog="./demo", description="The main job, on real input.")
    parser.add_argument("--bin", required=True, help="folder of the program ebb")
    parser.add_argument("--python", required=True, help="a Python with numpy and scikit-learn")
    parser.add_argument("--gpus", help="as for ebb serve: auto, 0,1, declared:4")
    options = parser.parse_args()
    for number in ENDINGS:
        signal.signal(number, Interrupted.on_signal)
    started = time.monotonic()
    checks, demo = Checks(), None
    try:
        with Interrupted.later():
            demo = Demo(options, checks)
        demo.run()
    except Interrupted as interrupted:
        say("\n   demo: interrupted; ending what it started")
        if demo:
            demo.clean_up()
        signal.signal(interrupted.args[0], signal.SIG_DFL)
        os.kill(os.getpid(), interrupted.args[0])
    except (Failed, OSError, subprocess.TimeoutExpired, http.client.HTTPException) as error:
        checks.that(False, str(error))
    finally:
        try:
            if demo:
                demo.clean_up()
        except (Failed, OSError) as error:
            checks.that(False, f"the demo cleans up after itself: {error}")
    seconds = f"{time.monotonic() - started:.0f} s"
    title(f"NOT TRUE ({seconds}): {'; '.join(checks.failed)}" if checks.failed
          else f"all of it held: {checks.looked_at} of {checks.looked_at} ({seconds})")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
