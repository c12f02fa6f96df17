"""Drives one case: brings the job to the moment, sends the signals there, lets everything recover, and looks."""
import os
import random
import signal
import time

import cases
import census
import harness
import oracle
import transitions
from scene import Scene, StopAt

ENDED = ("completed", "failed", "cancelled")
MOMENT_LIMIT = 8.0   # a moment that has not come by then is missed
SETTLE_LIMIT = 20.0  # beyond what the contract gives away


class Missed(Exception):
    """The moment did not come, or its victim was not there: the run proves nothing."""


class Drive:
    def __init__(self, worker, case, seed, tries=0):
        """`tries`: how often the moment was missed. A random one comes earlier then."""
        self.worker, self.case, self.tries = worker, case, tries
        self.draw = random.Random(f"{seed}:{case.name}")
        self.expected = cases.expectation(case)
        self.scene = Scene(worker, case, self.draw)
        self.scene.job.reasons = self.expected.reasons
        if case.is_random:  # whichever of the two lives then is hit
            self.scene.next.reasons |= self.expected.reasons
        if ("nvml", "HOLD") in case.faults:
            # Until the driver answers again nobody gets the GPUs; then the next job does.
            for job in (self.scene.job, self.scene.next):
                job.quarantined.add("gpu")
        self.tracer = None
        self.held = []       # pidfds of stopped processes
        self.cause = None    # the latest event after which the next job may be waited for, monotonic
        self.problems = []
        self.client_hit = False
        self.asked_to_end = False
        self.times = []

    # ---- to the moment

    def reach(self):
        scene = self.scene
        scene.daemon.start()
        if self.case.is_random:
            number, generation = self.case.transition.split(".")
            moments = (f"{generation}:any:exit:nth={max(1, int(number) >> 2 * self.tries)}",)
            tree = self.draw.choice(("flat", "deep", "deep", "stubborn"))
        else:
            transition = transitions.BY_NAME[self.case.transition]
            moments, tree = transition.in_tier(self.case.tier), transition.tree
        if tree == "stubborn":
            self.expected.allowance = max(self.expected.allowance, 2.5)
        if self.case.phase in ("start", "random"):
            self.trace(moments)
        scene.submit(tree)
        if self.case.phase in ("run", "stop", "end"):
            self.run_up(moments)
        if self.case.is_random:
            hit = self.tracer.hit(0.4)
            if hit is None:
                # Past the start: the rest of the calls is made by the end.
                if self.await_running(2.0):
                    self.ask_for_the_end()
                hit = self.tracer.hit(1.5)
        elif self.tracer:
            hit = self.tracer.hit(MOMENT_LIMIT)
        else:
            hit = (0, 0, -1)
        if hit is None:
            raise Missed("the moment did not come")
        self.note_hit(hit)
        if self.case.kind == "detached" and self.case.transition not in ("submitted", "persisted"):
            self.follow_detached()

    def note_hit(self, hit):
        pid, _, generation = hit
        if generation < 2 or self.case.phase != "start":
            return
        names = {2: "keeper", 3: "init", 4: "leader"} if "pidns" in self.case.tier else {2: "keeper", 3: "leader"}
        role = names.get(generation)
        if role == "keeper" or self.case.transition in ("unarmed", "spawned"):
            self.scene.hit_role[role] = pid

    def ask_for_the_end(self):
        """Of a random case. What is asked may be held already, and is asked again later then."""
        if self.draw.random() < 0.5:
            self.asked_to_end = self.scene.end_job()
        else:
            self.expected.reasons.add("cancelled")
            self.asked_to_end = self.scene.cancel(timeout=0.3)

    def follow_detached(self):
        end = time.monotonic() + 1.0
        while time.monotonic() < end and not self.scene.acknowledged_id():
            time.sleep(0.002)
        self.scene.follow()

    def await_running(self, limit=8.0):
        end = time.monotonic() + limit
        while time.monotonic() < end and not self.scene.journal.stat().st_size:
            time.sleep(0.003)
        while time.monotonic() < end:
            if self.scene.look(timeout=min(limit, 5)) and self.scene.job.seen and self.scene.job.seen["state"] in ("running", *ENDED):
                return self.scene.job.seen["state"] == "running"
            time.sleep(0.008)
        return False

    def trace(self, moments):
        try:
            self.tracer = StopAt(self.worker, self.scene.daemon.process.pid, moments)
        except RuntimeError as why:
            raise Missed(str(why)) from None

    def run_up(self, moments):
        """To a running job with another one behind it; then whatever makes the moment come."""
        scene = self.scene
        if not self.await_running():
            raise Missed(f"the job does not run: {scene.job.seen}")
        scene.acknowledged_id()
        scene.use_gpus()
        scene.submit_next()
        scene.follow()
        if moments:
            self.trace(moments)
        if self.case.phase == "stop":
            # The answer may be what is held.
            self.cause = time.monotonic()
            scene.ask("DELETE", f"/v1/jobs/{scene.job.id}?grace=300ms", timeout=0.05)
        elif self.case.phase == "end":
            self.cause = time.monotonic()
            if not scene.end_job():
                raise Missed("the job does not hear")

    # ---- the fault

    def strike(self):
        scene = self.scene
        victims = []
        for role, sig in self.case.faults:
            pid = scene.pid(role)
            if pid is None and self.case.is_random:
                continue
            if pid is None:
                raise Missed(f"there is no {role}")
            try:
                victims.append((role, sig, pid, os.pidfd_open(pid)))
            except ProcessLookupError:
                if not self.case.is_random:
                    raise Missed(f"the {role} has gone") from None
        if not victims:
            raise Missed("no victim is there")
        self.cause = max(self.cause or 0, time.monotonic())
        for role, sig, pid, pidfd in victims:
            number = signal.SIGSTOP if sig in ("STOP", "HOLD", "GONE") else getattr(signal, f"SIG{sig}")
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                if not self.case.is_random:
                    raise Missed(f"the {role} went before its signal") from None
            if number == signal.SIGSTOP:
                self.held.append((role, sig, pidfd))
            else:
                os.close(pidfd)
            self.client_hit = self.client_hit or role in ("client",)
        if self.tracer:
            self.tracer.release()

    def recover(self):
        """What an administrator does: waits, and starts the daemon again where it went."""
        daemon_hit = dict(self.case.faults).get("daemon")
        if daemon_hit == "GONE":
            self.await_end_without_daemon()
        elif self.held:
            time.sleep(0.15 if not any(role == "daemon" and sig == "HOLD" for role, sig, _ in self.held) else 1.2)
        self.resume(lambda role, sig: sig == "STOP" or role == "daemon")
        if daemon_hit in ("INT", "TERM", "HUP", "KILL"):
            if not self.scene.daemon.alive() or self.wait_daemon_gone():
                self.scene.restart()
                self.cause = time.monotonic()

    def await_end_without_daemon(self):
        """While it is stopped: what is left of the job is its client."""
        end = time.monotonic() + SETTLE_LIMIT
        scene = self.scene
        while any(one.pid != scene.client.pid for one in census.marked(scene.place.mark, census.processes())):
            if time.monotonic() > end:
                self.problems.append(("wrong", "the job goes on with a daemon that is stopped"))
                break
            time.sleep(0.05)
        self.cause = time.monotonic()

    def wait_daemon_gone(self):
        try:
            self.scene.daemon.process.wait(SETTLE_LIMIT)
            return True
        except harness.subprocess.TimeoutExpired:
            self.problems.append(("lost", "the daemon does not end"))
            return False

    def resume(self, which=lambda role, sig: True):
        rest = []
        for role, sig, pidfd in self.held:
            if not which(role, sig):
                rest.append((role, sig, pidfd))
                continue
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            except ProcessLookupError:
                pass
            os.close(pidfd)
        self.held = rest

    # ---- to the end

    def settle(self):
        scene = self.scene
        scene.acknowledged_id()
        if scene.next.id is None:
            scene.submit_next()
            self.cause = max(self.cause, time.monotonic())
        asked = self.case.phase in ("stop", "end") or self.asked_to_end
        end = time.monotonic() + SETTLE_LIMIT + self.expected.allowance
        while time.monotonic() < end:
            if scene.look() and self.is_over(scene.job) and self.is_over(scene.next):
                return
            state = scene.job.seen["state"] if scene.job.seen else None
            running = state == "running"
            if self.expected.cancel and not asked and (running or state == "starting"):
                asked = scene.cancel()
            elif running and not asked and (not self.expected.ends or self.case.is_random):
                asked = scene.end_job()
            else:
                time.sleep(0.008)
                continue
            self.cause = max(self.cause, time.monotonic())
        self.problems.append(("lost", f"not settled: {scene.job.seen} {scene.next.seen}"))

    def is_over(self, job):
        if job.seen is not None:
            return job.seen["state"] in ENDED
        # A client that lives, also one that a signal has hit, may submit it yet; one that stays stopped does not.
        waits = self.scene.submitter.poll() is None and not any(role == "client" for role, _, _ in self.held)
        return not job.acknowledged and not waits

    def await_client(self):
        """Of a client that no signal hit: its word on the job."""
        scene = self.scene
        if self.case.kind != "attached" or scene.client is None:
            return None
        try:
            status = scene.client.wait(10)
        except harness.subprocess.TimeoutExpired:
            self.problems.append(("wrong", "ebb run does not end with its job"))
            return None
        if self.client_hit:
            return None
        lines = (scene.daemon.dir / "client.out").read_text(errors="replace").splitlines()
        errors = (scene.daemon.dir / "client.err").read_text(errors="replace")
        return oracle.Client(status, lines, errors)

    def release_ms(self):
        for line in self.scene.journal.read_text().splitlines():
            words = line.split()
            if words[:2] == ["start", "B"] and self.cause:
                return max(0.0, int(words[4]) / 1e6 - self.cause * 1e3 - self.expected.allowance * 1e3)
        return None

    def run(self):
        """(violations, the facts that they are from)."""
        scene = self.scene
        for step in (self.reach, self.strike, self.recover, self.settle, self.resume):
            begin = time.monotonic()
            step()
            self.times.append(f"{step.__name__} {time.monotonic() - begin:.2f}")
        client = self.await_client()
        if scene.client is not None and self.case.kind == "detached":
            try:
                scene.client.wait(10)
            except harness.subprocess.TimeoutExpired:
                self.problems.append(("wrong", "the client of the detached job does not end"))
        if scene.daemon.stop() != 0:
            self.problems.append(("wrong", f"ebb serve ends with {scene.daemon.process.returncode}"))
        for job in (scene.job, scene.next):
            if job.id:
                job.reports = scene.reports(job)
        facts = oracle.Facts([scene.job, scene.next], scene.journal.read_text(), self.leftovers(), client,
                             self.release_ms(), self.problems)
        return oracle.judge(facts), facts

    def leftovers(self):
        end = time.monotonic() + 3.0
        while True:
            found = census.leftovers(self.scene.place)
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.01)

    def abandon(self):
        if self.tracer:
            self.tracer.release()
        self.resume()
