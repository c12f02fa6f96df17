"""What the rows share: programs, the peer, stamps, and the form of a result."""

import contextlib
import json
import os
import pathlib
import select
import shutil
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Unmeasured(Exception):
    """The row cannot be measured here; says why."""


def use_programs(folder):
    """Names the folder of the programs, once, before anything else here is used."""
    global BIN, harness
    BIN = pathlib.Path(folder).resolve()
    if not (BIN / "ebb").exists():
        raise SystemExit(f"bench/run: no {BIN}/ebb; run scripts/build release")
    os.environ["EBB_BIN_DIR"] = str(BIN)
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    import harness  # the same way to run a daemon of one's own as the integration tests have


def result(row, what, ebb, unit, runs, limit=None, goal=None, held=None, peers=None, **more):
    """One line; figures with three significant digits at least."""
    def short(value):
        return value if value is None or isinstance(value, int) else float(f"{value:.4g}")
    return {"id": row, "what": what, "ebb": short(ebb), "unit": unit, "limit": short(limit),
            "ratio": short(ebb / limit) if limit else None, "goal": goal, "held": held,
            "peers": {name: short(value) for name, value in (peers or {}).items()}, "runs": runs,
            **{name: short(value) for name, value in more.items()}}


@contextlib.contextmanager
def daemon(config="", gpus="declared:1"):
    """A daemon of the row's own."""
    one = harness.Daemon(config=config, gpus=gpus, listen="none")
    try:
        yield one
    finally:
        one.cleanup()


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="ebb-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Stamps:
    """Where jobs that run first_instruction tell when they began. `command` is what such a job runs."""

    def __init__(self, where, name):
        self.path = where / name
        os.mkfifo(self.path, 0o666)
        self._read = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        self.command = [str(BIN / "first_instruction"), str(self.path)]

    def next(self, seconds=20):
        """(nanoseconds of the monotonic clock, pid as its own namespace has it) of the next one that begins."""
        if not select.select([self._read], [], [], seconds)[0]:
            raise Unmeasured(f"no job began within {seconds} s")
        return struct.unpack("qq", os.read(self._read, 16))


class Spooler:
    """task-spooler (Debian's tsp) with a server of its own."""

    def __init__(self, where, slots):
        self.env = {"PATH": "/usr/bin:/bin", "TS_SOCKET": str(where / "tsp.socket"), "TMPDIR": str(where),
                    "TS_SLOTS": str(slots), "TS_MAXFINISHED": "10"}
        if not shutil.which("tsp", path=self.env["PATH"]):
            raise Unmeasured("task-spooler is not installed; run scripts/setup")

    def run(self, *words):
        """One tsp program, from its start to its exit."""
        pid = os.posix_spawn("/usr/bin/tsp", ["tsp", *words], self.env,
                             file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        if os.waitpid(pid, 0)[1] != 0:
            raise Unmeasured(f"tsp {' '.join(words)} failed")

    def close(self):
        self.run("-K")


def commit_ms(database):
    """One durable commit, as the daemon makes them: a row, WAL, synchronous=FULL."""
    start = time.monotonic_ns()
    database.execute("INSERT INTO t VALUES (randomblob(400))")
    database.commit()
    return (time.monotonic_ns() - start) / 1e6


def open_database(where):
    database = sqlite3.connect(where / "limit.db")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (b BLOB)")
    database.commit()
    return database


def spawn_ms(command, env):
    """Milliseconds from a program's start to its exit, which must be 0."""
    start = time.monotonic_ns()
    pid = os.posix_spawn(command[0], command, env)
    status = os.waitpid(pid, 0)[1]
    took = (time.monotonic_ns() - start) / 1e6
    if status != 0:
        raise Unmeasured(f"{' '.join(command)}: exit {os.waitstatus_to_exitcode(status)}")
    return took


def keeper_loop(jobs, at_once):
    """Seconds that bare keepers need for `jobs` no-op attempts in full containment, `at_once` at a time."""
    words = [str(BIN / "keeper_loop"), str(jobs), str(at_once)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Unmeasured(f"{' '.join(words)}: {done.stderr.strip()}")
    return float(done.stdout)


def lines_of(program, *words):
    """The results that a program of ours prints."""
    path = BIN / program
    if not path.exists():
        raise Unmeasured(f"no {path}; run scripts/build release")
    done = subprocess.run([path, *words], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise Unmeasured(f"{' '.join((program, *words))}: exit {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


median = statistics.median
