#!/usr/bin/env python3
"""clang-tidy over one source, unless nothing that it would read has changed since it was last clean.

    tidy_file.py BUILD SOURCE [OPTION...]    BUILD holds compile_commands.json; OPTIONs go to clang-tidy

A whole run takes an hour and a half on two cores, and between two runs most sources are the same: what was clean is
remembered in BUILD/clean by a hash of the preprocessed source, with its comments (NOLINT is one), of the configuration and
of the options.
"""

import hashlib
import json
import pathlib
import shlex
import subprocess
import sys

TIDY = "clang-tidy-19"


def preprocessed(build, source):
    """What the compiler reads of `source`, or None if it cannot: then clang-tidy says why."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if pathlib.Path(entry["file"]) == source.absolute():
            words = shlex.split(entry["command"])
            words[words.index("-o") + 1] = "-"
            words[words.index("-c")] = "-E"
            done = subprocess.run([*words, "-C"], cwd=entry["directory"], capture_output=True)
            return done.stdout if done.returncode == 0 else None
    return None


def main():
    build, source, options = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    seen = preprocessed(build, source)
    known = hashlib.sha256()
    for part in (seen or b"", pathlib.Path(".clang-tidy").read_bytes(), "\0".join(options).encode()):
        known.update(hashlib.sha256(part).digest())
    stamp = build / "clean" / known.hexdigest()
    if seen is not None and stamp.exists():
        return 0
    done = subprocess.run([TIDY, "-p", build, "--quiet", *options, source], stderr=subprocess.PIPE, text=True)
    # Only the findings: the count of what was suppressed in others' headers says nothing.
    sys.stderr.writelines(line + "\n" for line in done.stderr.splitlines() if "warnings generated" not in line)
    if done.returncode == 0 and seen is not None:
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
