"""Jobs whose processes do not want to end, each hostility in each tier of containment. What is left is counted by a
census of the test's own."""
import os
import pathlib
import signal
import time

import harness
import hostile
from harness import wait_for


class Processes:
    """Each ends as any other job does: at its report nothing of it is there, the next job starts, audit is clean."""

    def test_a_double_fork_with_a_session_of_its_own(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
for _ in range(3):
    if daemonize():
        if daemonize():
            ignore_all()
            rest()
        rest()
up()
wait_for_go()
""")
        self.let_go(d, job, 7)
        report = self.check_released(d, job, "completed")
        self.assertGreaterEqual(report["releases"][0]["count"], 6, report)
        self.check_gone(d)

    def test_one_that_is_always_another_process(self):
        """By the time that anybody has found its number, it has another one."""
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
ignore_all()
for hare in range(4):
    if os.fork() == 0:
        while True:
            if os.fork():
                os._exit(0)
            os.setsid()
up()
rest()
""")
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)

    def test_signals_ignored(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, "ignore_all()\nif os.fork():\n    up()\nrest()\n", grace_s=0.2)
        began = time.monotonic()
        self.cancel(d, job)
        self.assertGreater(time.monotonic() - began, 0.2)
        report = self.check_released(d, job)
        self.assertEqual(report["exit"]["signal"], signal.SIGKILL, report)
        self.check_gone(d)

    def test_a_tree_that_has_stopped_itself(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
        rest()
up()
os.kill(os.getpid(), signal.SIGSTOP)
rest()
""")
        self.cancel(d, job)
        report = self.check_released(d, job)
        self.assertEqual(report["exit"]["signal"], signal.SIGTERM, "it was woken to hear of its end")
        self.check_gone(d)

    def test_a_title_in_place_of_its_marks(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
set_title(b"vllm::worker")
if daemonize():
    ignore_all()
    rest()
if os.fork() == 0:
    os.setsid()
    ignore_all()
    rest()
up()
rest()
""")
        found = wait_for(lambda: (lambda all: all if len(all) == 3 else None)(d.processes_of(job)), what="three processes")
        self.assertNotIn("EBB_JOB_ID", "".join(pathlib.Path(f"/proc/{one.split()[0]}/environ").read_text() for one in found))
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)

    def test_a_title_in_place_of_its_marks_and_nobody_to_know_it(self):
        """Its keeper killed, alone and beside the daemon; the leader is then ended by the kernel."""
        for beside in (False, True):
            with self.subTest(beside=beside):
                d = self.hostile_daemon(self.tier)
                job, _ = self.start(d, """
set_title(b"ray::IDLE")
if daemonize():
    ignore_all()
    if os.fork():
        up()
    rest()
rest()
""")
                keeper = d.keeper_of(job)
                if beside:
                    d.kill()
                os.kill(keeper, signal.SIGKILL)
                if beside:
                    d.start()
                self.check_released(d, job, "keeper_lost")
                self.check_gone(d)

    def test_attacks_on_keeper_and_init(self):
        """By a job of another user, each is refused by the kernel. One of the daemon's own user holds the init in ptrace,
        and ends all the same."""
        d = self.hostile_daemon(self.tier)
        job, said = self.start(d, """
def refused(deed):
    try:
        deed()
    except OSError:
        return True
    return False
def attach(pid):
    PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
    if libc.ptrace(PTRACE_SEIZE, pid, 0, 0) != 0 and libc.ptrace(PTRACE_ATTACH, pid, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
lived = []
for target in {os.getppid(), 1, int(sys.argv[1])}:
    # No group, and never kill(-1): without a namespace that would reach every process of this user.
    for what, deed in (("kill", lambda: os.kill(target, signal.SIGKILL)), ("stop", lambda: os.kill(target, signal.SIGSTOP)),
                       ("ptrace", lambda: attach(target)), ("mem", lambda: open(f"/proc/{target}/mem", "r+b"))):
        if not refused(deed):
            lived.append(f"{what} {target}")
up(" ".join(lived) or "all refused")
rest()
""", str(d.process.pid))
        if self.uid is None:
            self.assertEqual(said, "all refused")
        self.assertIsNotNone(d.keeper_of(job))
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)

    def test_attacks_of_a_root_job_on_whom_it_sees_above_it(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
if daemonize():
    ignore_all()
    rest()
up()
wait_for_go()
for above in (os.getppid(), 1) if os.getpid() == 2 else (os.getppid(),):
    os.kill(above, signal.SIGKILL)
rest()
""", uid=0)
        self.let_go(d, job, 2)
        if "pidns" in self.tier:  # the namespace's init, which no signal from within ends
            self.cancel(d, job)
        self.check_released(d, job, "cancelled" if "pidns" in self.tier else "keeper_lost")
        self.check_gone(d)

    def test_a_fork_bomb(self):
        """Up to the bound of pids.max or of the namespace, to which nothing else on the machine is bound. That is much
        work: in the other tiers up to one of its own. And the kernel takes seconds to end so many."""
        d = self.hostile_daemon(self.tier, config='[jobs]\nkill_timeout = "60s"\n')
        bomb = """
os.nice(19)
if sys.argv[1] != "0":
    import resource
    resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2)
os.execvp("perl", ["perl", "-e", '$SIG{TERM} = "IGNORE"; 1 while defined fork; open F, ">", "part"; close F; '
                                 'rename "part", "up"; sleep 1000'])
"""
        job, _ = self.start(d, bomb, "0" if "cgroup" in self.tier else "400")
        began = time.monotonic()
        self.assertEqual(d.http("GET", "/healthz").status, 200)
        self.check_next(d, gpus=1)
        self.assertLess(time.monotonic() - began, 45 * harness.PATIENCE)
        self.cancel(d, job)
        report = self.check_released(d, job)
        self.assertGreater(report["releases"][0]["count"], 300, report)
        self.assertLessEqual(report["releases"][0]["count"], 8192, report)
        self.check_gone(d)

    def test_one_that_nothing_can_kill(self):
        """The decision is bounded, that one GPU is kept back, the queue goes on; when the process goes, so does all
        that."""
        folder = self.folder()
        hanging = hostile.HangingFileSystem(folder)
        self.addCleanup(hanging.let_go)
        d = self.hostile_daemon(self.tier, config='[jobs]\nkill_timeout = "500ms"\n')
        job, _ = self.start(d, "up()\nopen(sys.argv[1] + '/file')\n", str(folder))
        hanging.wait_for_victim()
        gpu = d.job(job)["gpu_ids"][0]
        waits = d.submit(["true"], gpus=2)["id"]
        began = time.monotonic()
        self.cancel(d, job)
        self.assertLess(time.monotonic() - began, 20 * harness.PATIENCE)
        self.assertFalse(d.report(job)["complete"])
        state = lambda: {one["id"]: one["state"] for one in d.http("GET", "/v1/devices").json["gpus"]}
        self.assertEqual(state(), {gpu: "quarantined", 1 - gpu: "free"})
        self.check_next(d, gpus=1)
        self.assertEqual(d.job(waits)["state"], "queued")
        done = d.ebb("audit")
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"GPU {gpu} is quarantined", done.stdout)
        hanging.let_go()
        self.assertEqual(d.wait_state(waits)["state"], "completed")
        self.assertEqual(set(state().values()), {"free"})
        self.assertFalse(d.report(job)["complete"], "a report is never rewritten")
        self.assertEqual(d.processes_of(job), [])
        self.assertEqual(d.ebb("audit").returncode, 0)
        self.check_gone(d)


globals().update(hostile.in_each_tier(Processes))

if __name__ == "__main__":
    harness.main()
