"""What hostile_test.py stands on: a daemon in a place that gives one tier of containment and no better, a census that
asks nothing of Ebb, a file system that hangs, and the words with which a hostile job begins."""
import ctypes
import os
import pathlib
import secrets
import select
import shutil
import struct
import subprocess
import sys
import unittest

import harness
from harness import wait_for

sys.path.insert(0, str(harness.ROOT / "tests" / "faults"))
import census  # noqa: E402

# The first lines of each job's script. `up(text)` tells the test that the script has come so far, and wait_for_go() waits
# until it lets it go on.
PRELUDE = """
import ctypes, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def up(text="up", name="up"):
    with open(name + ".part", "w") as file:
        file.write(str(text))
    os.rename(name + ".part", name)
def wait_for_go():
    while not os.path.exists("go"):
        time.sleep(0.01)
def ignore_all():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
def daemonize():
    # True in the process that has left session, group and parent.
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    return True
def set_title(title):
    # As setproctitle does: arguments and environment are overwritten where they are.
    fields = open("/proc/self/stat").read().rpartition(") ")[2].split()
    first, last = int(fields[45]), int(fields[48])  # arg_start, env_end
    ctypes.memmove(first, title.ljust(last - first, b"\\0"), last - first)
def rest():
    while True:
        signal.pause()
"""

_NO_GROUPS = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
              'umount --recursive --lazy /sys/fs/cgroup && exec "$@"', "sh"]
_NO_NAMESPACES = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]
NOBODY = 65534
# By tier: the words before the daemon's own.
PLACES = {"cgroup+pidns": [], "cgroup+subreaper": _NO_NAMESPACES, "pidns": _NO_GROUPS,
          "subreaper": [*_NO_GROUPS, *_NO_NAMESPACES]}


def unified():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return pathlib.Path(line.split()[4])
    raise RuntimeError("no cgroup v2 hierarchy is mounted")


class Daemon(harness.Daemon):
    """On two declared GPUs, in a cgroup of its own, with programs of its own; `uid`: an ordinary user's."""

    def __init__(self, case, tier, uid=None, scratch_size=None, more_env=None, **options):
        self.uid, self.scratch_size = uid, scratch_size
        self.programs = case.folder()
        harness.copy_programs(self.programs)
        self.tier, self.mark = tier, secrets.token_hex(6)
        options.setdefault("gpus", "declared:2")
        super().__init__(start=False, env={"EBB_LOCK_DIR": str(self.programs / "locks"), **(more_env or {})}, **options)
        self.group = unified() / f"ebb-hostile-{self.mark}" if "cgroup" in tier else None
        if self.group:
            self.group.mkdir()
        self.work = self.dir / "work"
        self.work.mkdir()
        self.work.chmod(0o777)
        if uid:
            os.chown(self.programs, uid, uid)
            os.chown(self.dir, uid, uid)

    def start(self, *args, **options):
        before = os.umask(0)  # for the socket on which it says that it is ready
        try:
            return super().start(*args, **options)
        finally:
            os.umask(before)

    def command(self):
        enter = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.group)] if self.group else []
        small = []
        if self.scratch_size:
            small = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'mkdir -p {self.dir}/scratch && '
                     f'mount -t tmpfs -o size={self.scratch_size},mode=0711,uid={self.uid or 0} none {self.dir}/scratch && '
                     'exec "$@"', "sh"]
        become = PLACES[self.tier]
        if self.uid:
            become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", "--"]
        return [*enter, *small, *become, str(self.programs / "ebb"), *super().command()[1:]]

    def submit(self, command, key=None, **spec):
        return self.submit_as(self.uid, command, **spec) if self.uid else super().submit(command, key, **spec)

    def submit_as(self, uid, command, **spec):
        """By a client of this user, whose environment and limits the daemon reads."""
        options = []
        for name, value in spec.items():
            if name == "env":
                options += [word for pair in value.items() for word in ("--env", "=".join(pair))]
            else:
                name = {"grace_s": "grace", "log_limit_bytes": "log-limit"}.get(name, name)
                options += [f"--{name}", f"{value}s" if name == "grace" else value]
        return {"id": self.ebb("submit", *options, "--", *command, user=uid, group=uid, extra_groups=[], cwd="/",
                               check=True).stdout.strip()}

    def cleanup(self):
        try:
            super().cleanup()
        finally:
            if self.group:
                for path in [*sorted(self.group.rglob("*"), reverse=True), self.group]:
                    if path.is_dir():
                        path.rmdir()

    def place(self):
        first, last = map(int, self.ports.split("-"))
        return census.Place(self.dir, self.programs, self.programs / "locks", self.mark, 0, (first, last), self.group)

    def processes_of(self, job):
        """Living ones of a job, by what they were given: the mark, the working directory, the cgroup."""
        found = []
        for one in census.processes():
            if one.program.startswith(f"{self.programs}/"):
                continue
            try:
                marked = f"EBB_FAULTS_MARK={self.mark}".encode() in pathlib.Path(f"/proc/{one.pid}/environ").read_bytes()
                inside = os.readlink(f"/proc/{one.pid}/cwd").startswith(str(self.dir))
                grouped = f"/{job}." in pathlib.Path(f"/proc/{one.pid}/cgroup").read_text()
            except OSError:
                continue
            if marked or inside or grouped:
                found.append(f"{one.pid} {one.name}: {census.words(one.pid)[:80]}")
        return found

    def keeper_of(self, job):
        return next((one.pid for one in census.products(self.programs, census.processes())
                     if census.words(one.pid).startswith(f"ebb-keeper {job}.") and one.parent == self.process.pid), None)


class HangingFileSystem:
    """Whoever looks for a file in it cannot be killed until it is let go. As modules/process/tests/hanging_file_system.h."""

    def __init__(self, folder):
        self.folder = os.fsencode(folder)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        nosuid_nodev = 2 | 4
        if self.libc.mount(b"ebb-hang", self.folder, b"fuse", nosuid_nodev, options) != 0:
            raise OSError(ctypes.get_errno(), "cannot mount FUSE")
        unique = struct.unpack_from("<IIQ", os.read(self.device, 1 << 17))[2]
        init = struct.pack("<IIIIHHIIHHII24x", 7, 31, 0, 0, 0, 0, 4096, 0, 0, 0, 0, 0)
        os.write(self.device, struct.pack("<IiQ", 16 + len(init), 0, unique) + init)

    def wait_for_victim(self, timeout=15):
        if not select.select([self.device], [], [], timeout * harness.PATIENCE)[0]:
            raise AssertionError("nobody came to the file system that hangs")
        os.read(self.device, 1 << 17)

    def let_go(self):
        if self.device is not None:
            os.close(self.device)
            self.device = None
            detach = 2
            self.libc.umount2(self.folder, detach)


class Case(harness.Case):
    uid = None  # of the daemon; None: root

    def hostile_daemon(self, tier, **options):
        d = Daemon(self, tier, self.uid, **options)
        self.addCleanup(self._end, d)
        d.start()
        d.key = d.add_user("mallory", account="nobody") if self.uid is None else None
        return d

    def start(self, d, script, *words, uid=NOBODY, **spec):
        """A job of this user on one GPU whose script has said how far it is: (job, what it said)."""
        for old in ("up", "go"):
            (d.work / old).unlink(missing_ok=True)
        script = ["/usr/bin/python3", "-c", PRELUDE + script, *words]
        spec = {"gpus": 1, "grace_s": 0.3, "workdir": str(d.work), "env": {"EBB_FAULTS_MARK": d.mark}, **spec}
        if uid in (0, NOBODY) or d.uid:
            job = d.submit(script, key=None if uid == 0 else d.key, **spec)["id"]
        else:  # over the socket, as it has no account; it begins when its client is no process of this user any more
            before = d.submit(["sleep", "1000"], gpus=2)["id"]
            job = d.submit_as(uid, script, **spec)["id"]
            self.cancel(d, before)
        path = d.work / "up"
        wait_for(lambda: path.exists() or d.job(job)["state"] in harness.TERMINAL, what="the job's script")
        if not path.exists():
            raise AssertionError(f"the script ended early:\n{d.ebb('logs', job).stdout}{d.ebb('logs', job).stderr}")
        return job, path.read_text()

    def let_go(self, d, job, processes):
        """When it has so many."""
        wait_for(lambda: len(d.processes_of(job)) == processes, what=f"{processes} processes")
        (d.work / "go").touch()

    def cancel(self, d, job):
        self.assertEqual(d.http("DELETE", f"/v1/jobs/{job}?wait=30s").status, 200)

    def check_released(self, d, job, reason="cancelled"):
        """At the moment when its report is there nothing of the job is: then all that it had is somebody else's."""
        ended = d.wait_state(job)
        left = d.processes_of(job)
        self.assertEqual(left, [], d.report(job))
        self.assertEqual(ended["reason"]["kind"], reason, ended)
        report = d.report(job)
        self.assertTrue(report["complete"], report)
        self.assertEqual(report["tier"], d.tier)
        self.assertEqual({one["outcome"] for one in report["releases"]}, {"released"}, report)
        self.check_next(d)
        done = d.ebb("audit")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return report

    def check_next(self, d, gpus=2, **spec):
        self.assertEqual(d.wait_state(d.submit(["true"], gpus=gpus, **spec)["id"])["state"], "completed")

    def check_gone(self, d):
        """After the daemon's end nothing of all this is there."""
        self.assertEqual(d.stop(), 0, d.output())
        self.assertIn("nothing is left behind", d.output())
        end = []
        try:
            wait_for(lambda: not census.leftovers(d.place()), 3)
        except AssertionError:
            end = census.leftovers(d.place())
        self.assertEqual(end, [])


needs_root = unittest.skipUnless(os.getuid() == 0, "only root can make each tier's place, and jobs of another user")


def in_each_tier(tests):
    """A test case of these tests for each tier, by name, and one for the daemon of an ordinary user."""
    cases = {tests.__name__ + "In" + "".join(word.capitalize() for word in tier.split("+")): {"tier": tier}
             for tier in PLACES}
    cases[tests.__name__ + "OfAUsersDaemon"] = {"tier": "pidns", "uid": 700_000 + os.getpid()}  # in a user namespace
    return {name: needs_root(type(name, (tests, Case), {**where, "__module__": tests.__module__}))
            for name, where in cases.items()}


def ipc_of(uid):
    """System V objects of a user, by their kind and number."""
    owners = {"shm": 7, "sem": 4, "msg": 7}
    return [f"{kind} {line.split()[1]}" for kind, owner in owners.items()
            for line in pathlib.Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            if line.split()[owner] == str(uid)]
