"""The oracle must be able to fail: each kind of violation is planted here, and must be reported; and `stop_at` must hold
what it says that it holds."""
import copy
import fcntl
import os
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "integration"))
import cases  # noqa: E402
import census  # noqa: E402
import harness  # noqa: E402
import oracle  # noqa: E402
import transitions  # noqa: E402

STOP_AT = os.environ.get("EBB_FAULTS_DIR", str(HERE.parents[1] / "build/dev/faults")) + "/stop_at"
JOURNAL = """start A 0000000a 1 1000 0,1 20001 71
end A 0000000a 1 2000
start B 0000000b 1 3000 0,1 20002 72
end B 0000000b 1 4000
"""


def ended(name, id, kind="completed"):
    reason = {"kind": kind, "by": None, "detail": None}
    releases = [{"kind": kind, "target": "x", "outcome": "released"}
                for kind in ("processes", "gpu", "gpu", "port", "scratch")]
    report = {"job": id, "attempt": 1, "reason": reason, "complete": True, "releases": releases}
    seen = {"state": oracle.STATES[kind], "reason": reason, "why": None, "exit": {"code": 0, "signal": None}}
    return oracle.Job(name, id, True, seen, [report], {kind})


class Judgement(unittest.TestCase):
    def setUp(self):
        self.facts = oracle.Facts([ended("A", "0000000a"), ended("B", "0000000b")], JOURNAL, release_ms=12.0)

    def found(self, change):
        facts = copy.deepcopy(self.facts)
        change(facts)
        return [kind for kind, _ in oracle.judge(facts)]

    def test_a_clean_run_has_no_violation(self):
        self.facts.client = oracle.Client(0, [f"line {i}" for i in range(1, 41)])
        self.assertEqual(oracle.judge(self.facts), [])

    def test_leases_that_overlap(self):
        early = JOURNAL.replace("start B 0000000b 1 3000", "start B 0000000b 1 1999")
        self.assertEqual(self.found(lambda f: setattr(f, "journal", early)), ["double_leases"])
        locked = JOURNAL + "conflict B 0000000b 1 2999 gpu-0\n"
        self.assertEqual(self.found(lambda f: setattr(f, "journal", locked)), ["double_leases"])

    def test_a_job_that_is_lost(self):
        self.assertIn("lost", self.found(lambda f: setattr(f.jobs[1], "seen", None)))
        self.assertEqual(self.found(lambda f: f.jobs[0].seen.update(state="running")), ["lost"])
        unfinished = JOURNAL.replace("end A 0000000a 1 2000\n", "")
        self.assertEqual(self.found(lambda f: setattr(f, "journal", unfinished)), ["lost"])

    def test_reports_that_are_not_one_or_not_true(self):
        self.assertEqual(self.found(lambda f: f.jobs[0].reports.append(f.jobs[0].reports[0])), ["wrong"])
        self.assertEqual(self.found(lambda f: f.jobs[0].reports.clear()), ["wrong"])
        self.assertEqual(self.found(lambda f: f.jobs[0].reports[0]["releases"].pop()), ["wrong"])
        self.assertEqual(self.found(lambda f: f.jobs[0].reports[0].update(complete=False)), ["wrong"])

        def quarantine(facts):
            facts.jobs[0].reports[0]["releases"][1]["outcome"] = "quarantined"
        self.assertEqual(self.found(quarantine), ["wrong", "wrong"])

    def test_an_end_for_the_wrong_reason_and_a_second_execution(self):
        self.assertEqual(self.found(lambda f: setattr(f.jobs[0], "reasons", {"keeper_lost"})), ["wrong"])
        twice = JOURNAL + "start A 0000000a 1 5000 0,1 20001 73\n"
        self.assertEqual(self.found(lambda f: setattr(f, "journal", twice)), ["wrong"])

    def test_a_client_with_a_wrong_status_or_a_torn_log(self):
        lines = [f"line {i}" for i in range(1, 41)]
        for status, seen in ((125, lines), (0, lines[:-1]), (0, [*lines[:20], lines[19], *lines[20:]])):
            with self.subTest(status=status, lines=len(seen)):
                self.assertEqual(self.found(lambda f: setattr(f, "client", oracle.Client(status, seen))), ["wrong"])

    def test_a_next_job_that_starts_too_late(self):
        self.assertEqual(self.found(lambda f: setattr(f, "release_ms", 5001.0)), ["late"])

    def test_leftovers(self):
        self.assertEqual(self.found(lambda f: f.leftovers.append("process 7")), ["leftovers"])


class Census(unittest.TestCase):
    """Finds what is planted, and nothing else."""

    def setUp(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ebb-census-"))
        self.addCleanup(shutil.rmtree, folder)
        for name in ("run/scratch", "run/state/attempts", "bin", "locks"):
            (folder / name).mkdir(parents=True)
        ports, claim = harness.claim_ports()
        self.addCleanup(claim.close)
        self.place = census.Place(folder / "run", folder / "bin", folder / "locks", f"census-{os.getpid()}",
                                  10_000_001, tuple(map(int, ports.split("-"))))
        self.assertEqual(census.leftovers(self.place), [])

    def spawn(self, program, mark=False):
        environment = {**os.environ, **({"EBB_FAULTS_MARK": self.place.mark} if mark else {})}
        one = subprocess.Popen([program, "1000"], env=environment, start_new_session=True)
        self.addCleanup(one.wait)
        self.addCleanup(one.kill)
        return one.pid

    def found(self, text, count=1):
        found = census.leftovers(self.place)
        self.assertEqual(len(found), count, found)
        self.assertIn(text, " ".join(found))

    def test_a_process_of_a_job(self):
        self.found(f"process {self.spawn('sleep', mark=True)}")

    def test_a_process_of_ebb(self):
        shutil.copy(shutil.which("sleep"), self.place.programs / "ebb-keeper")
        self.found(f"process {self.spawn(str(self.place.programs / 'ebb-keeper'))}")

    def test_a_lock(self):
        with open(self.place.locks / "gpu-0", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.found("gpu-0")

    def test_sockets(self):
        listener = socket.create_server(("127.0.0.1", self.place.ports[0]))
        self.addCleanup(listener.close)
        self.found(f"listener on port {self.place.ports[0]}")
        keeper = socket.socket(socket.AF_UNIX)
        self.addCleanup(keeper.close)
        keeper.bind(str(self.place.folder / "keeper.sock"))
        self.found("keeper.sock", 3)  # its file too

    def test_files_and_shared_memory(self):
        (self.place.folder / "scratch/0000000a.1").mkdir()
        self.found("scratch/0000000a.1")
        made = subprocess.run(["ipcmk", "--shmem", str(self.place.ipc)], capture_output=True, text=True, check=True)
        self.addCleanup(subprocess.run, ["ipcrm", "--shmem-id", made.stdout.split()[-1]], check=True)
        self.found("shared memory segment", 2)

    def test_a_cgroup(self):
        # Any folder tree does: what counts is that nothing may be below the worker's own.
        self.place.cgroup = self.place.folder.parent / "cgroup"
        (self.place.cgroup / "ebb-1/0000000a.1").mkdir(parents=True)
        self.found("0000000a.1", 2)


class StopAt(unittest.TestCase):
    PROGRAM = ("import os, sys\nsys.stdin.readline()\npid = os.fork()\n"
               "if pid == 0:\n    for i in range(3): os.write(1, b'number %d\\n' % i)\n    os._exit(7)\n"
               "os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n")

    def hold(self, *moments):
        program = subprocess.Popen([sys.executable, "-c", self.PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        tracer = subprocess.Popen([STOP_AT, str(program.pid), *moments], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        for one in (program, tracer):
            self.addCleanup(one.communicate)
            self.addCleanup(one.kill)
        self.assertEqual(tracer.stdout.readline(), "armed\n")
        program.stdin.write(b"go\n")
        program.stdin.flush()
        self.assertRegex(tracer.stdout.readline(), r"^hit \d+ \d+ 1\n$")
        return program, tracer

    def test_a_call_is_held_before_it_is_made_and_goes_on_untraced(self):
        program, tracer = self.hold("1:write:enter:data=number 1")
        self.assertEqual(program.stdout.readline(), b"number 0\n")
        self.assertEqual(select.select([program.stdout], [], [], 0.05)[0], [], "the second one is held")
        tracer.communicate("\n")
        self.assertEqual(program.stdout.read(), b"number 1\nnumber 2\n")
        self.assertEqual(program.wait(10), 7)

    def test_moments_come_one_after_the_other_and_counted(self):
        program, tracer = self.hold("1:born", "1:write:exit:nth=2")
        self.assertEqual(os.read(program.stdout.fileno(), 100).count(b"\n"), 2)
        self.assertEqual(select.select([program.stdout], [], [], 0.05)[0], [])
        tracer.communicate("\n")
        self.assertEqual(program.wait(10), 7)

    def test_what_is_killed_while_it_is_held_is_dead(self):
        program, tracer = self.hold("1:born")
        child = census_child(program.pid)
        os.kill(child, 9)
        tracer.communicate("\n")
        self.assertEqual(program.wait(10), 256 - 9, "its parent sees a child that was killed")


def census_child(parent):
    return next(one.pid for one in census.processes() if one.parent == parent)


class Matrix(unittest.TestCase):
    def test_every_process_signal_and_moment_is_in_it(self):
        names = {case.name for case in cases.matrix()}
        self.assertEqual(len(names), len(list(cases.matrix())), "each name is one case")
        for tier in cases.TIERS:
            for transition in transitions.TRANSITIONS:
                hit = {role for case in cases.matrix() if case.tier == tier and case.transition == transition.name
                       for role in case.roles()}
                wanted = set(transition.roles) - (set() if "pidns" in tier else {"init"})
                self.assertEqual(hit, wanted, f"{tier} {transition.name}")

    def test_a_name_and_a_seed_make_the_same_run_again(self):
        for case, seed in cases.chosen(None, 50, 7):
            again = cases.chosen(case.name, 1, seed)
            self.assertEqual(again, [(case, seed)])


if __name__ == "__main__":
    unittest.main()
