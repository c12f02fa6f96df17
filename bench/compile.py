"""The compiler's time for a pipeline of ten operators, beside what it includes of the standard library, and beside the same
graph of oneTBB; with the flags that a user's own build has."""

import re
import subprocess
import time

import lib

COMPILE = ["g++", "-std=c++20", "-O2",
           *(f"-I{lib.ROOT / 'modules' / module / 'include'}" for module in ("flow", "lifecycle", "model", "base"))]
SOURCE = lib.ROOT / "bench" / "ten_operators.cc"
PEER = lib.ROOT / "bench" / "peers" / "ten_operators.cc"


def standard_headers():
    """What the pipeline includes of the standard library, by itself and through our headers."""
    listed = subprocess.run([*COMPILE, "-MM", SOURCE], check=True, capture_output=True, text=True).stdout
    files = [word for word in listed.split() if word.endswith((".cc", ".h"))]
    return sorted({name for file in files for name in re.findall(r"^#include <([a-z_]+)>", open(file).read(), re.M)})


def measure(row, runs):
    runs = min(runs, 9)
    with lib.folder() as where:
        standard, header, all_of_it = where / "standard.cc", where / "header.cc", where / "flow.h.gch"
        standard.write_text("".join(f"#include <{name}>\n" for name in standard_headers()) + "int main() {}\n")
        header.write_text("#include <ebb/flow.h>\nint main() {}\n")
        (where / "flow.h").write_text("#include <ebb/flow.h>\n#include <iostream>\n")
        subprocess.run([*COMPILE, "-x", "c++-header", where / "flow.h", "-o", all_of_it], check=True)
        sources = {"ebb": [SOURCE], "standard": [standard], "header": [header],
                   "precompiled": ["-include", where / "flow.h", SOURCE], "oneTBB": [PEER]}
        took = {name: [] for name in sources}
        for _ in range(runs):
            for name, source in sources.items():
                start = time.monotonic()
                done = subprocess.run([*COMPILE, "-c", *source, "-o", where / "out.o"], capture_output=True, text=True)
                took[name].append(time.monotonic() - start)
                if done.returncode != 0:
                    raise lib.Unmeasured(f"{name}: {done.stderr[:2000]}")
    ebb, standard, header, precompiled, peer = (lib.median(took[name]) for name in sources)
    yield lib.result(row, "a pipeline of ten operators compiled, g++ -O2", ebb, "s", runs, limit=standard, goal="≤ 3 s",
                     held=ebb <= 3, peers={"oneTBB": peer}, header=header, with_precompiled_header=precompiled)
