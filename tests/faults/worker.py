"""One of the workers of `run`: worker.py TIER NAME BIN HELPERS EVIDENCE, in its sandbox. A line {"case", "seed"} on
standard input is one run; its outcome is one line on standard output."""
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

import sandbox


class Worker:
    def __init__(self, tier, name, programs, helpers, evidence):
        self.tier, self.name = tier, name
        self.sandbox = sandbox.Sandbox(tier, name)
        self.evidence = pathlib.Path(evidence)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"ebb-faults-{name}-"))
        self.folder.chmod(0o755)
        tempfile.tempdir = str(self.folder)
        self.locks = self.folder / "locks"
        # Copies: by their own path the census tells these from everybody else's.
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        for program in ("ebb", "ebb-daemon", "ebb-keeper", "ebb-nvml"):
            shutil.copy(pathlib.Path(programs) / program, self.programs / program)
        self.stop_at = str(pathlib.Path(helpers) / "faults" / "stop_at")
        self.marked_job = self.programs / "marked_job"
        self.stub = self.folder / "libnvidia-ml.so.1"
        shutil.copy(pathlib.Path(helpers) / "faults" / "marked_job", self.marked_job)
        shutil.copy(pathlib.Path(helpers) / "nvml-stub" / "libnvidia-ml.so.1", self.stub)
        self.gpus = self.folder / "gpus"
        for name in [name for name in os.environ if name.startswith("EBB_")]:
            del os.environ[name]
        os.environ["EBB_BIN_DIR"] = str(self.programs)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.sandbox.leave()

    def one(self, case, seed):
        """Repeats a run whose moment was missed, twice at the most."""
        import drive
        missed = []
        for tries in range(3):
            self.gpus.write_text("".join(f"gpu {n} uuid=GPU-{self.name}-{n}\n" for n in (0, 1)))
            begin = time.monotonic()
            run = drive.Drive(self, case, seed, tries)
            violations, facts = [], None
            try:
                violations, facts = run.run()
            except drive.Missed as why:
                missed.append(str(why))
                continue
            except Exception:  # a defect of ours, or of the product: either way the run is no proof
                violations = [("wrong", traceback.format_exc())]
            finally:
                run.abandon()
                run.scene.close(self.keep(case, seed, violations) if violations else None)
            return {"violations": violations, "missed": missed, "seconds": time.monotonic() - begin, "times": run.times,
                    "release_ms": facts.release_ms if facts else None,
                    "reason": facts.reason() if facts else None}
        return {"violations": [], "missed": missed, "seconds": 0, "release_ms": None, "reason": None}

    def keep(self, case, seed, violations):
        folder = self.evidence / f"{case.name.replace('/', '_')}-{seed}"
        self.evidence.mkdir(parents=True, exist_ok=True)
        folder.with_suffix(".txt").write_text("".join(f"{kind}: {text}\n" for kind, text in violations))
        return folder


def main():
    here = pathlib.Path(__file__).resolve().parent
    sys.path.insert(0, str(here.parent / "integration"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is under way is cleaned up
    worker = Worker(*sys.argv[1:])
    import cases
    try:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            case = cases.Case(asked["tier"], asked["kind"], asked["transition"],
                              tuple(tuple(fault) for fault in asked["faults"]), asked["random"])
            print(json.dumps(worker.one(case, asked["seed"])), flush=True)
    finally:
        worker.close()


if __name__ == "__main__":
    main()
