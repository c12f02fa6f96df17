"""Judges one run by what was seen of it. It believes the product's word (answers, reports) only where the job's own
journal, the test's own locks and the census agree with it. Pure: facts in, violations out."""
import dataclasses

BOUND = 5.0  # seconds from the cause of a job's end, or the next daemon's readiness, to the next job's start

# As the contract's table has it: what `ebb run` exits with (None: the job's own), and the job's last state.
EXITS = {"completed": 0, "failed": None, "start_failed": None, "timeout": 124, "oom": 137, "cancelled": 143,
         "owner_lost": 143, "daemon_stopped": 143, "keeper_lost": 125, "reboot": 125}
STATES = {"completed": "completed", "failed": "failed", "start_failed": "failed", "keeper_lost": "failed",
          "cancelled": "cancelled", "owner_lost": "cancelled", "daemon_stopped": "cancelled"}
KINDS = ("leftovers", "double_leases", "lost", "wrong", "late")


@dataclasses.dataclass
class Job:
    name: str
    id: str = None
    acknowledged: bool = False  # its submitter was told that it exists
    seen: dict = None           # the API's last word
    reports: list = dataclasses.field(default_factory=list)  # every one that is in the database
    reasons: set = dataclasses.field(default_factory=lambda: {"completed"})
    quarantined: set = dataclasses.field(default_factory=set)  # kinds of releases that may be, for a while


@dataclasses.dataclass
class Client:
    """An `ebb run` that no fault hit: it lives with its job, over the daemon's restarts."""
    status: int
    lines: list
    errors: str = ""


@dataclasses.dataclass
class Facts:
    jobs: list
    journal: str
    leftovers: list = dataclasses.field(default_factory=list)
    client: Client = None
    release_ms: float = None   # how long the next job waited, less what the contract gives away
    problems: list = dataclasses.field(default_factory=list)  # (kind, text), seen on the way

    def reason(self):
        seen = self.jobs[0].seen
        return seen["reason"]["kind"] if seen and seen["reason"] else None


def judge(facts):
    """(kind, text) for each violation."""
    lines = [line.split() for line in facts.journal.splitlines()]
    found = list(facts.problems)
    found += [("leftovers", text) for text in facts.leftovers]
    found += [("double_leases", text) for text in _double_leases(lines)]
    found += [("wrong", " ".join(line)) for line in lines if line[0] == "broken"]
    for job in facts.jobs:
        found += _judge_job(job, lines)
    if facts.client:
        found += [("wrong", text) for text in _judge_client(facts.client, facts.jobs[0])]
    if facts.release_ms is not None and facts.release_ms > BOUND * 1000:
        found.append(("late", f"the next job started after {facts.release_ms:.0f} ms"))
    return found


def _double_leases(lines):
    yield from (" ".join(line) for line in lines if line[0] == "conflict")
    ends = {(line[2], line[3]): int(line[4]) for line in lines if line[0] == "end"}
    held = []  # what ended unseen was killed: for those the locks speak
    for line in lines:
        if line[0] == "start":
            things = {f"gpu {id}" for id in line[5].split(",")} | {f"port {id}" for id in line[6].split(",")}
            held.append((int(line[4]), ends.get((line[2], line[3])), line[2], things))
    for begin, end, job, things in held:
        for later, _, other, wanted in held:
            if other != job and end and begin <= later < end and things & wanted:
                yield f"{job} and {other} both had {', '.join(sorted(things & wanted))}"


def _judge_job(job, lines):
    starts = [line for line in lines if line[0] == "start" and line[1] == job.name]
    ends = [line for line in lines if line[0] == "end" and line[1] == job.name]
    if len(starts) > 1:
        yield "wrong", f"job {job.name} ran {len(starts)} times"
    if job.seen is None:
        if job.acknowledged or starts:
            yield "lost", f"job {job.name} ({job.id}) is not known any more"
        return
    state, reason = job.seen["state"], job.seen["reason"]
    if state not in ("completed", "failed", "cancelled"):
        yield "lost", f"job {job.name} ({job.id}) does not end: {state}, {job.seen['why']}"
        return
    if len(job.reports) != 1:
        yield "wrong", f"job {job.name} has {len(job.reports)} reports"
    if reason["kind"] not in job.reasons:
        yield "wrong", f"job {job.name} ended as {reason}; expected {sorted(job.reasons)}"
    if STATES.get(reason["kind"]) != state:
        yield "wrong", f"job {job.name} is {state} for {reason}"
    if reason["kind"] == "completed" and not (starts and ends):
        yield "lost", f"job {job.name} is completed, and its program did not run to its end"
    for report in job.reports:
        yield from (("wrong", text) for text in _judge_report(job, report, starts))


def _judge_report(job, report, starts):
    if report["job"] != job.id or report["reason"] != job.seen["reason"]:
        yield f"job {job.name}: its report is of {report['job']}, {report['reason']}"
    if report["attempt"] == 0 and (starts or report["releases"]):
        yield f"job {job.name} ran, and its report says that it did not"
    if report["attempt"] == 0:
        return
    kinds = sorted(one["kind"] for one in report["releases"])
    missing = [kind for kind in ("gpu", "gpu", "port", "processes", "scratch") if kind not in kinds]
    if missing or kinds.count("gpu") != 2:
        yield f"job {job.name}: its report lacks {missing or 'a GPU'}"
    for one in report["releases"]:
        allowed = {"released", "quarantined"} if one["kind"] in job.quarantined else {"released"}
        if one["outcome"] not in allowed:
            yield f"job {job.name}: {one['kind']} {one['target']} is {one['outcome']}: {one.get('error')}"
    if report["complete"] != all(one["outcome"] == "released" for one in report["releases"]):
        yield f"job {job.name}: complete is {report['complete']}"


def _judge_client(client, job):
    if job.seen is None or job.seen["state"] not in ("completed", "failed", "cancelled"):
        return
    kind = job.seen["reason"]["kind"]
    expected = EXITS.get(kind)
    if expected is None:
        exit = job.seen["exit"] or {}
        expected = 128 + exit["signal"] if exit.get("signal") else exit.get("code")
        if kind == "start_failed" and expected not in (126, 127):
            expected = 125
    if client.status != expected:
        yield f"ebb run exits with {client.status}, not {expected}, after {kind}:\n{client.errors}"
    lines = [f"line {i}" for i in range(1, 41)]
    whole = client.lines == lines if kind == "completed" else client.lines == lines[:len(client.lines)]
    if not whole:
        yield f"ebb run's output has gaps or doubled lines: {client.lines}"
