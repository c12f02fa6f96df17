"""Runs real `ebb` programs for the integration tests: a daemon of its own for each test, in a fresh directory,
on a free port, with its own range of job ports. Standard library only.

    class Queue(harness.Case):
        def test_something(self):
            d = self.daemon(config='[queue]\\nmax_running = 1\\n')
            job = d.submit(["sleep", "60"])             # over the Unix socket, as this user
            harness.wait_for(lambda: d.job(job["id"])["state"] == "running")
            d.ebb("cancel", job["id"])
"""
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("EBB_BIN_DIR", ROOT / "build" / "dev" / "bin"))
EBB = str(BIN / "ebb")
# How many times longer to wait for what must come: programs under a sanitizer are slow. No bound of Ebb's is stretched.
PATIENCE = int(os.environ.get("EBB_TEST_PATIENCE", "1"))
TERMINAL = ("completed", "failed", "cancelled")

# Started by nohup or with a script's '&', signals are ignored here, and `ebb run` would leave them ignored; a handler that
# does nothing does not outlive exec.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


def wait_for(condition, deadline=15.0, what="the condition"):
    """Calls `condition` until it returns something true, and returns that; fails after `deadline` seconds, of the
    machine's pace (PATIENCE)."""
    deadline *= PATIENCE
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {deadline} s; last value: {value!r}\n{started_here()}")
        time.sleep(0.01)


def started_here():
    """The processes below this one, each with where it waits in the kernel: whatever hangs is among them."""
    rows = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,stat,wchan:24,etimes,args"], capture_output=True, text=True)
    below, found = {str(os.getpid())}, []
    for row in rows.stdout.splitlines()[1:]:
        pid, parent = row.split()[:2]
        if parent in below and "pid,ppid" not in row:
            below.add(pid)
            found.append(row[:200])
    return "\n".join(found)


def copy_programs(to, source=BIN):
    """`ebb` and all that it needs beside it."""
    for name in ("ebb", "ebb-daemon", "ebb-keeper", "ebb-nvml"):
        shutil.copy(pathlib.Path(source) / name, to / name)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:500]!r}>"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # A path too long for sockaddr_un is reached through the folder's descriptor.
        folder = os.open(os.path.dirname(self.path), os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{os.path.basename(self.path)}")
        finally:
            os.close(folder)


def claim_ports():
    """Twenty ports that no other test of this machine uses while the returned socket is open: (range, socket).
    Claimed by an abstract socket's name, as modules/daemon/tests/daemon_fixture.h does. `ebb run` takes its side
    processes' ports from 27000 on."""
    for first in random.sample(range(20000, 27000, 20), 350):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0ebb-test-ports-{first}")
            return f"{first}-{first + 19}", claim
        except OSError:
            claim.close()
    raise RuntimeError("every block of ports is another test's")


def group_name(state):
    """As cgroup_base_name() in modules/process."""
    name = 2166136261
    for byte in os.fsencode(state):
        name = (name ^ byte) * 16777619 & 0xffffffff
    return f"ebb-{name:08x}"


def remove_groups(state):
    """The cgroups that a daemon with this state directory left, and who is in them: its next start would take them over,
    but there is none."""
    own = {words[2] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines() for words in [line.split(":", 2)]}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup" not in line:
            continue
        for parent in {"/", *own}:
            base = f"{line.split()[4]}{parent}/{group_name(state)}"
            try:  # keepers that wait for a daemon that will never come
                pathlib.Path(base, "cgroup.kill").write_text("1")
            except OSError:
                pass
            for folder, _, _ in os.walk(base, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass


class Daemon:
    """One `ebb serve`. `config` is TOML laid over what keeps it apart from other daemons; `args` go to
    `ebb serve`. As root, jobs that come by key run as `nobody`."""

    def __init__(self, config="", args=(), gpus="declared:4", listen="127.0.0.1:0", env=None, start=True):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ebb-it-"))
        self.dir.chmod(0o755)
        self.state = self.dir / "state"
        self.socket = str(self.dir / "ebb.sock")
        self.config = self.dir / "ebb.toml"
        self.args, self.gpus, self.listen = list(args), gpus, listen
        self.env = {**os.environ, "EBB_LOCK_DIR": f"/tmp/ebb-it-locks-{os.getuid()}", **(env or {})}
        for name in ("EBB_SERVER", "EBB_SOCKET", "EBB_KEY"):
            self.env.pop(name, None)
        self.ports, self.ports_claim = claim_ports()
        self.write_config(config)
        self.process = None
        self.port = None
        self.log = self.dir / "serve.log"
        if start:
            try:
                self.start()
            except BaseException:
                self.cleanup()
                raise

    def write_config(self, text):
        """The test's text wins: keys of ours that it names are left out."""
        base = {("jobs", "scratch"): f'"{self.dir}/scratch"'}
        if os.getuid() == 0:
            base[("jobs", "account")] = '"nobody"'
        section, named = None, set()
        for line in text.splitlines():
            word = line.strip()
            if word.startswith("["):
                section = word.strip("[] ")
            named.add((section, word.split("=")[0].strip()))
        ours = [f"{key} = {value}" for (section, key), value in base.items() if (section, key) not in named]
        if ours and "[jobs]" in text:
            text = text.replace("[jobs]", "\n".join(["[jobs]", *ours]), 1)
        elif ours:
            text = "\n".join([text, "[jobs]", *ours])
        self.config.write_text(text + "\n")

    def command(self):
        return [EBB, "serve", "--config", str(self.config), "--state", str(self.state), "--socket", self.socket,
                "--listen", self.listen, "--gpus", self.gpus, "--ports", self.ports, *self.args]

    def start(self, deadline=30, terminal=None):
        """Returns when the daemon says (sd_notify) that it is ready. Its lines go to `log`, or to `terminal`."""
        path = str(self.dir / "notify")
        if os.path.exists(path):
            os.unlink(path)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(path)
        with open(self.log, "ab") as log:
            to = log if terminal is None else terminal
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=to, stderr=to,
                                            env={**self.env, "NOTIFY_SOCKET": path}, start_new_session=True)
        end = time.monotonic() + deadline * PATIENCE
        try:
            while True:
                notify.settimeout(0.1)
                try:
                    text = notify.recv(4096).decode()
                except TimeoutError:
                    if self.process.poll() is not None or time.monotonic() > end:
                        raise AssertionError(f"ebb serve is not ready (exit {self.process.poll()}):\n{self.output()}")
                    continue
                if "READY=1" in text:
                    for word in text.split():
                        if word.startswith("http://"):
                            self.port = int(word.rsplit(":", 1)[1])
                    return self
        finally:
            notify.close()

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self, deadline=30):
        """SIGTERM; the exit status."""
        if self.alive():
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(deadline * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"ebb serve did not end within {deadline} s:\n{self.output()}")
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def cleanup(self):
        """Ends what is left: a daemon that was killed is started again, since its start is the recovery."""
        try:
            if self.process is not None and not self.alive() and self.process.returncode not in (0, 1, 2):
                self.args = [a for a in self.args if not a.startswith("--on-stop")]
                self.start()
            self.stop()
        finally:
            if self.alive():
                self.kill()
            self.ports_claim.close()
            remove_groups(self.state)
            # Where it did not end: the attempts' folders, to which the state directory has a link.
            if (self.state / "attempts").is_symlink():
                shutil.rmtree((self.state / "attempts").resolve(), ignore_errors=True)
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- HTTP

    def connect(self, over="socket", timeout=30):
        """A keep-alive http.client connection."""
        if over == "socket":
            return UnixConnection(self.socket, timeout)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def raw(self, over="tcp", timeout=30):
        """A connected stream socket, for clients that misbehave."""
        connection = self.connect(over, timeout)
        connection.connect()
        return connection.sock

    def http(self, method, path, body=None, headers=None, key=None, over=None, timeout=30, connection=None):
        """One request; `body` is bytes as they are, or anything that JSON can say. Over TCP where there is a
        key, else over the socket, unless `over` says."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if key:
            headers["Authorization"] = f"Bearer {key}"
        one = connection or self.connect(over or ("tcp" if key else "socket"), timeout)
        try:
            one.request(method, path, body, headers)
            answer = one.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            if connection is None:
                one.close()

    def submit(self, command, key=None, **spec):
        answer = self.http("POST", "/v1/jobs", {"command": list(command), **spec}, key=key)
        if answer.status != 201:
            raise AssertionError(f"submit: {answer!r}")
        return answer.json

    def job(self, job_id, **options):
        return self.http("GET", f"/v1/jobs/{job_id}", **options).json

    def wait_state(self, job_id, *states, deadline=20):
        states = states or TERMINAL
        return wait_for(lambda: (lambda job: job if job.get("state") in states else None)(self.job(job_id)),
                        deadline, f"job {job_id} in {states}")

    def report(self, job_id):
        return self.http("GET", f"/v1/jobs/{job_id}/report").json

    def add_user(self, name, **fields):
        """A new key."""
        answer = self.http("POST", "/v1/users", {"name": name, **fields})
        if answer.status != 201:
            raise AssertionError(f"add user: {answer!r}")
        return answer.json["api_key"]

    # ---- the command line

    def client_env(self, **more):
        return {**self.env, "EBB_SERVER": self.socket, "NO_COLOR": "1", **more}

    def ebb(self, *args, timeout=60, check=False, env=None, **options):
        """`ebb ARGS`, run to its end, with its output as text."""
        done = subprocess.run([EBB, *map(str, args)], env=self.client_env(**(env or {})), capture_output=True,
                              text=True, errors="replace", timeout=timeout * PATIENCE, stdin=subprocess.DEVNULL, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"ebb {args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def popen(self, *args, env=None, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([EBB, *map(str, args)], env=self.client_env(**(env or {})), text=True, **options)


class Case(unittest.TestCase):
    """A test that may start daemons; they are stopped and removed at its end, and a failure shows their logs."""
    maxDiff = None

    def daemon(self, *args, **options):
        one = Daemon(*args, start=False, **options)
        self.addCleanup(self._end, one)
        return one.start()

    def daemon_of(self, uid):
        """A daemon that another user has started (needs root), with programs where that user can read them. Words
        after its `as_user` are executed as that user, its `program` is that user's `ebb`."""
        programs = self.folder()
        copy_programs(programs)
        one = Daemon(start=False, listen="none", env={"EBB_LOCK_DIR": str(programs / "locks")})
        self.addCleanup(self._end, one)
        for place in (programs, one.dir):
            os.chown(place, uid, uid)
        one.as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        one.program = str(programs / "ebb")
        words = one.command()
        one.command = lambda: [*one.as_user, one.program, *words[1:]]
        before = os.umask(0)  # for the socket on which it says that it is ready
        try:
            return one.start()
        finally:
            os.umask(before)

    def _end(self, one):
        failed = any(error for _, error in getattr(self._outcome, "errors", [])) or \
            any(test is self for test, _ in getattr(getattr(self._outcome, "result", None), "failures", []))
        if failed:
            sys.stderr.write(f"--- {one.dir} ---\n{one.output()}\n")
        one.cleanup()

    def folder(self):
        path = pathlib.Path(tempfile.mkdtemp(prefix="ebb-it-"))
        path.chmod(0o755)
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path


def main():
    if not os.path.exists(EBB):
        sys.exit(f"no {EBB}: build it first, or set EBB_BIN_DIR")
    unittest.main(module="__main__")
