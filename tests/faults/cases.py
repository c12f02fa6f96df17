"""The matrix: which processes are hit, by which signal, at which moment, in which tier; and how the job may end then."""
import dataclasses
import fnmatch
import random

import transitions

# As `ebb doctor` names them; sandbox.py makes each. The last is inside a container-like sandbox.
TIERS = ("cgroup+pidns", "cgroup", "pidns", "subreaper")
# HOLD is a STOP that lasts until the job is settled; STOP is followed by CONT after a moment. GONE is a STOP of the
# daemon until keepers have ended the job for want of one.
SIGNALS = ("INT", "TERM", "HUP", "KILL", "STOP", "HOLD", "GONE")
KINDS = ("attached", "detached")
PAIRS = (("daemon", "keeper"), ("client", "daemon"), ("client", "keeper"), ("daemon", "leader"), ("daemon", "init"),
         ("keeper", "init"), ("daemon", "nvml"))


@dataclasses.dataclass(frozen=True)
class Case:
    tier: str
    kind: str        # attached: `ebb run` with its owner's lease; detached: `ebb submit`
    transition: str  # a name, or `N.G` of a random case: the N-th system call of generation G
    faults: tuple    # ((role, signal), …), sent one after the other
    seed: int = 0    # of the random cases: all else is in the name already

    @property
    def name(self):
        if self.seed:
            return f"random/{self.seed}"
        hits = "+".join(f"{role}-{sig}" for role, sig in self.faults)
        return f"{self.tier}/{self.kind}/{self.transition}/{hits}"

    @property
    def is_random(self):
        return self.seed != 0

    @property
    def phase(self):
        return "random" if self.is_random else transitions.BY_NAME[self.transition].phase

    def roles(self):
        return [role for role, _ in self.faults]


def applies(tier, kind, transition, role, sig):
    if role not in transition.roles:
        return False
    if role == "init" and "pidns" not in tier:
        return False
    if role in ("side", "sidekeeper") and kind != "attached":
        return False
    if sig == "GONE":  # it takes 6 s
        return role == "daemon" and kind == "attached" and transition.name == "running"
    # Held for as long as it takes, the nursery costs the next job its start; the daemon replaces it after 5 s.
    return not (role == "nursery" and sig == "HOLD")


def matrix():
    for transition in transitions.TRANSITIONS:
        for tier in TIERS:
            for kind in KINDS:
                for role in dict.fromkeys(transition.roles):
                    for sig in SIGNALS:
                        if applies(tier, kind, transition, role, sig):
                            yield Case(tier, kind, transition.name, ((role, sig),))
                for pair in PAIRS:
                    if all(applies(tier, kind, transition, role, "KILL") for role in pair):
                        yield Case(tier, kind, transition.name, tuple((role, "KILL") for role in pair))


def random_case(seed):
    draw = random.Random(seed)
    tier, kind = draw.choice(TIERS), draw.choice(KINDS)
    generation = draw.choice((0, 0, 1, 2, 2, 3, 4) if "pidns" in tier else (0, 0, 1, 2, 2, 3))
    most = {0: 600, 1: 30, 2: 110, 3: 60, 4: 40}[generation]
    moment = f"{draw.randint(1, most)}.{generation}"
    roles = ["client", "daemon", "keeper", "leader", "init", "nvml", "nursery"]
    if kind == "attached":
        roles += ["side", "sidekeeper"]
    if "pidns" not in tier:
        roles.remove("init")
    faults = []
    for role in draw.sample(roles, draw.choice((1, 1, 2, 3))):
        sig = draw.choice(("INT", "TERM", "HUP", "KILL", "KILL", "KILL", "STOP"))
        faults.append((role, sig))
    return Case(tier, kind, moment, tuple(faults), seed)


def chosen(only, runs, seed):
    """(case, seed of its details) in the order of the runs. The whole matrix once, in an order that the seed shuffles;
    then random cases. `only` is a pattern of names, or `random/SEED`."""
    if only and only.startswith("random/") and only != "random/*":
        return [(random_case(int(only.split("/")[1])), seed)] * max(1, runs or 1)
    cases = [one for one in matrix() if not only or fnmatch.fnmatchcase(one.name, only)]
    random.Random(seed).shuffle(cases)
    count = len(cases) if runs is None else runs
    if only and cases:
        return [(cases[i % len(cases)], seed + i // len(cases)) for i in range(count)]
    # The random part is a fifth at least, and whatever is over the matrix.
    fixed = cases[:min(len(cases), count - count // 5)] if runs is not None else cases
    order = [(one, seed) for one in fixed]
    order += [(random_case(seed * 1_000_000 + i + 1), seed) for i in range(count - len(order))]
    return order


@dataclasses.dataclass
class Expectation:
    reasons: set          # how the job may end
    ends: bool            # the faults end it; else it is asked to end, and must do so undisturbed
    cancel: bool = False  # a stop is asked for, since what was stopped would hold it for ever
    allowance: float = 0  # seconds that the contract itself gives away before the next job can start


def expectation(case):
    natural = {"start": "completed", "run": "completed", "stop": "cancelled", "end": "completed"}
    if case.is_random:
        found = Expectation({"completed"}, False)
    else:
        found = Expectation({natural[case.phase]}, case.phase in ("stop", "end"))
    early = case.phase in ("start", "run", "random")
    before = set(found.reasons)
    for role, sig in case.faults:
        more, ends = _effect(case, role, sig, found)
        found.reasons |= more
        found.ends = found.ends or (ends and early)
    if found.ends and early and not case.is_random and found.reasons - before:
        found.reasons -= {"completed"}
    if {"client", "daemon"} <= set(case.roles()):
        found.allowance = max(found.allowance, 1.5)  # the next daemon gives one full lease
    killed = {role for role, sig in case.faults if sig == "KILL"}
    if {"daemon", "keeper"} <= killed or {"daemon", "init"} <= killed or {"daemon", "leader"} <= killed:
        # Killed before anything of the job was executed, the attempt never came to life: the job is back in its place.
        if case.phase in ("start", "random"):
            found.reasons.add("completed")
            found.ends = False
    return found


def _effect(case, role, sig, found):
    """What a fault adds to the reasons, and whether it ends the job."""
    dies = sig in ("KILL", "TERM", "INT", "HUP")
    if role == "client" and case.kind == "attached":
        if dies:
            return {"cancelled", "owner_lost"}, True
        if sig == "HOLD":
            found.allowance = max(found.allowance, 1.5)
            return {"owner_lost"}, True
    elif role == "daemon" and sig == "HOLD":
        found.allowance = max(found.allowance, 1.2)  # for as long as it is stopped
    elif role == "daemon" and sig == "GONE":
        return {"daemon_stopped"}, True
    elif role == "daemon" and sig == "INT":  # --on-stop end; TERM: keep
        return {"daemon_stopped"}, False
    elif role == "keeper":
        if sig in ("KILL", "TERM"):
            return {"keeper_lost"}, True
        if sig == "HOLD":
            found.cancel = case.phase in ("start", "run")
            # A request that is not answered costs 5 s; one that was, grace, kill_timeout and 5 s.
            found.allowance = max(found.allowance, 8 if case.phase == "stop" else 5.5)
            return {"keeper_lost"}, True
    elif role in ("leader", "init"):
        if sig == "KILL" or (role == "leader" and dies):
            return {"failed", "start_failed"}, True
        if sig == "HOLD":
            found.cancel = case.phase in ("start", "run")
            found.allowance = max(found.allowance, 1)
            return {"cancelled"}, True
    elif role == "nvml" and sig == "HOLD":
        # Two bounded questions to a driver that does not answer, and the time until it is asked again.
        found.allowance = max(found.allowance, 7)
    elif role == "nursery" and dies and case.phase in ("start", "random"):
        # Nobody can say whether there is a keeper, so there shall be none.
        return {"start_failed"}, False
    return set(), False
