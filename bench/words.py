"""The words of a real text counted: a pipeline, a plain C++ program on one thread, and a Python one, in turn."""

import importlib.util
import pathlib
import resource
import subprocess
import sys
import time

import lib

# The Python language's reference, as it comes with every Python, and licences.
TEXTS = [pathlib.Path(importlib.util.find_spec("pydoc_data.topics").origin),
         *sorted({path.resolve() for path in pathlib.Path("/usr/share/common-licenses").glob("*")})]
BYTES = 100_000_000
MOST_RUNS = 5  # of half a minute each


def processor_seconds():
    """Of the programs that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(row, runs):
    runs = min(runs, MOST_RUNS)
    with lib.folder() as where:
        text = where / "text"
        piece = b"\n".join(path.read_bytes() for path in TEXTS)
        with text.open("wb") as file:
            for _ in range(BYTES // len(piece) + 1):
                file.write(piece)
        programs = {"ebb": [lib.BIN / "words_bench", "ebb"], "plain": [lib.BIN / "words_bench", "plain"],
                    "Python": [sys.executable, lib.ROOT / "bench" / "peers" / "words.py"]}
        took, used, counted = {name: [] for name in programs}, {name: [] for name in programs}, set()
        for _ in range(runs):
            for name, command in programs.items():
                start, before = time.monotonic(), processor_seconds()
                done = subprocess.run([*command, text], capture_output=True, text=True, timeout=300)
                took[name].append(time.monotonic() - start)
                used[name].append(processor_seconds() - before)
                if done.returncode != 0:
                    raise lib.Unmeasured(f"{name}: exit {done.returncode}: {done.stderr.strip()}")
                counted.add(done.stdout)
    if len(counted) != 1:
        raise lib.Unmeasured(f"the programs do not agree: {counted}")
    ebb, plain, python = (lib.median(took[name]) for name in programs)
    yield lib.result(row, "the words of 100 MB of text counted, start to exit", ebb, "s", runs, limit=plain,
                     peers={"Python": python},
                     **{f"processor_{name}": lib.median(seconds) for name, seconds in used.items()})
