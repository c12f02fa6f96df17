"""P4: the engine alone, with a million queued jobs against a thousand; engine_bench measures and says it."""

import json
import subprocess

import lib


def measure(_runs):
    program = lib.BIN / "engine_bench"
    if not program.exists():
        raise lib.Unmeasured(f"no {program}; run scripts/build release")
    done = subprocess.run([program, "--p4"], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise lib.Unmeasured(f"{program}: exit {done.returncode}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        yield json.loads(line)
