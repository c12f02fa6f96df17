"""Jobs that want to keep or spoil what they were given: ports, cgroups, mounts, shared memory, scratch, the log. Each in
each tier of containment."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import harness
import hostile
from harness import wait_for

# A child that puts itself into the root of every hierarchy that it sees.
LEAVER = """
MS_REMOUNT, MS_BIND = 32, 4096
child = daemonize()
if child:
    ignore_all()
    left = []
    for line in open("/proc/self/mountinfo").read().splitlines():
        folder = line.split()[4]
        if " - cgroup2 " in line and folder != "/":
            libc.mount(None, folder.encode(), None, MS_REMOUNT | MS_BIND, None)
            try:
                with open(folder + "/cgroup.procs", "w") as file:
                    file.write("0")
                left.append(folder)
            except OSError:
                pass
    up(" ".join(left) or "refused")
rest()
"""


class Places:
    """What they had is free at their report, and nothing of them is left."""

    def test_a_listener_that_a_daemon_has_inherited(self):
        d = self.hostile_daemon(self.tier)
        job, port = self.start(d, """
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier job may linger
listener.bind(("127.0.0.1", int(os.environ["EBB_PORT"])))
listener.listen()
os.set_inheritable(listener.fileno(), True)
if daemonize():
    ignore_all()
    os.execvp("sleep", ["sleep", "1000"])
up(os.environ["EBB_PORT"])
wait_for_go()
""", ports=1)
        self.let_go(d, job, 2)
        self.check_released(d, job, "completed")
        socket.create_server(("127.0.0.1", int(port))).close()
        self.check_next(d, ports=20)
        self.check_gone(d)

    def test_a_child_that_opens_the_port_again_when_the_job_has_ended(self):
        d = self.hostile_daemon(self.tier)
        job, port = self.start(d, """
leader = os.getpid()
if daemonize():
    ignore_all()
    watch = os.pidfd_open(leader)
    up(os.environ["EBB_PORT"])
    import select
    select.select([watch], [], [])
    while True:
        again = socket.socket()
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", int(os.environ["EBB_PORT"])))
        again.listen()
        time.sleep(0.01)
        again.close()
while not os.path.exists("up"):
    time.sleep(0.01)
""", ports=1)
        self.check_released(d, job, "completed")
        socket.create_server(("127.0.0.1", int(port))).close()
        self.check_gone(d)

    def test_a_listener_that_is_handed_to_somebody_else(self):
        """The port is not free, whoever has it now: nobody gets it before it is."""
        d = self.hostile_daemon(self.tier)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind("\0ebb-hostile-" + d.mark)
            door.listen()
            job, port = self.start(d, """
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier job may linger
listener.bind(("127.0.0.1", int(os.environ["EBB_PORT"])))
listener.listen()
peer = socket.socket(socket.AF_UNIX)
peer.connect("\\0ebb-hostile-" + os.environ["EBB_FAULTS_MARK"])
socket.send_fds(peer, [b"x"], [listener.fileno()])
up(os.environ["EBB_PORT"])
rest()
""", ports=1)
            with door.accept()[0] as peer:
                handed = socket.recv_fds(peer, 1, 1)[1]
        try:
            self.cancel(d, job)
            self.assertEqual(d.processes_of(job), [])
            release = next(one for one in d.report(job)["releases"] if one["kind"] == "port")
            self.assertIn(f"port {port} is held by ", str(release["verified_by"]), release)
            waits = d.submit(["true"], ports=20)["id"]
            self.check_next(d, ports=19)
            self.assertEqual(d.job(waits)["state"], "queued")
        finally:
            os.close(handed[0])
        self.assertEqual(d.wait_state(waits)["state"], "completed")
        self.assertEqual(d.ebb("audit").returncode, 0)
        self.check_gone(d)

    def test_writes_to_its_cgroup(self):
        d = self.hostile_daemon(self.tier)
        job, said = self.start(d, """
own = next((line.split(":", 2)[2] for line in open("/proc/self/cgroup").read().splitlines() if line.startswith("0::")), "/")
written = []
for line in open("/proc/self/mountinfo").read().splitlines():
    if " - cgroup" not in line:
        continue
    for group in {own, own.rpartition("/")[0], own.rpartition("/job")[0], "/"}:
        folder = line.split()[4] + group
        for name, text in (("cgroup.procs", str(os.getpid())), ("tasks", str(os.getpid())), ("cgroup.kill", "1"),
                           ("cgroup.freeze", "1"), ("pids.max", "max"), ("cgroup.subtree_control", "+pids")):
            try:
                with open(f"{folder}/{name}", "w") as file:
                    file.write(text)
                written.append(f"{folder}/{name}")
            except OSError:
                pass
        try:
            os.mkdir(folder + "/mine")
            written.append(folder + "/mine")
        except OSError:
            pass
up(" ".join(written) or "nothing")
rest()
""")
        self.assertEqual(said, "nothing")
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)

    def test_a_root_job_that_leaves_its_cgroup(self):
        """It may mount what it wants and be in any group: the other means find it all the same."""
        for killed in (False, True):
            with self.subTest(keeper_killed=killed):
                d = self.hostile_daemon(self.tier)
                job, left = self.start(d, LEAVER, uid=0)
                if self.uid is None and "cgroup" in self.tier:
                    self.assertNotEqual(left, "refused")
                if killed:
                    os.kill(d.keeper_of(job), signal.SIGKILL)
                else:
                    self.cancel(d, job)
                self.check_released(d, job, "keeper_lost" if killed else "cancelled")
                self.check_gone(d)

    def test_mounts_in_a_namespace_of_its_own(self):
        """Whatever it mounts, and over what, goes with it; on the machine nothing was mounted."""
        before = pathlib.Path("/proc/self/mountinfo").read_text()
        d = self.hostile_daemon(self.tier)
        job, said = self.start(d, """
CLONE_NEWNS, CLONE_NEWUSER, MS_BIND, MS_REMOUNT = 0x20000, 0x10000000, 4096, 32
scratch = os.environ["EBB_SCRATCH"].encode()
made = []
def mount(what, where, kind, flags, name):
    if libc.mount(what, where, kind, flags, None) == 0:
        made.append(name)
mount(b"none", scratch, b"tmpfs", 0, "plain")
mount(None, b"/sys/fs/cgroup", None, MS_REMOUNT, "remounted")
if made:
    up("without a namespace: " + " ".join(made))
    sys.exit(1)
if os.fork() == 0:
    os.setsid()
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0:
        mount(b"none", scratch, b"tmpfs", 0, "tmpfs")
        mount(b"/proc", b"/dev/shm", None, MS_BIND, "bind")
    up(" ".join(made) or "refused")
    rest()
rest()
""")
        self.assertIn(said, ("tmpfs bind", "refused"))
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)
        own = [line for line in before.splitlines() if str(d.dir) in line]
        self.assertEqual([line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
                          if str(d.dir) in line], own)

    def test_shared_memory_left_behind(self):
        """By a user with no other process: of one who has some, nobody can tell whose a file in /dev/shm is."""
        uid = 600_000 + os.getpid()
        d = self.hostile_daemon(self.tier)
        job, said = self.start(d, """
size, IPC_CREAT = 1 << 20, 0o1000
ids = [libc.shmget(0, size, IPC_CREAT | 0o600) for _ in range(3)] + [libc.semget(0, 1, IPC_CREAT | 0o600)]
if os.fork() == 0:
    os.setsid()
    ignore_all()
    with open("/dev/shm/ebb-hostile-" + os.environ["EBB_FAULTS_MARK"], "wb") as file:
        file.write(b"x" * size)
    up(" ".join(map(str, ids)))
    rest()
rest()
""", uid=uid)
        self.assertNotIn("-1", said)
        path = pathlib.Path(f"/dev/shm/ebb-hostile-{d.mark}")
        self.assertEqual((len(hostile.ipc_of(uid)), path.exists()), (0, False) if "pidns" in self.tier else (4, True))
        self.cancel(d, job)
        self.check_released(d, job)
        self.assertEqual((hostile.ipc_of(uid), path.exists()), ([], False))
        self.check_gone(d)

    def test_shared_memory_of_a_user_with_other_processes(self):
        """Where it is the machine's, nobody can tell whose: it stays, and audit names it."""
        uid = 600_000 + os.getpid()
        bystander = subprocess.Popen(["sleep", "1000"], user=uid, start_new_session=True)
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        d = self.hostile_daemon(self.tier)
        path = pathlib.Path(f"/dev/shm/ebb-hostile-{d.mark}")
        self.addCleanup(path.unlink, missing_ok=True)
        job, _ = self.start(d, "open('/dev/shm/ebb-hostile-' + os.environ['EBB_FAULTS_MARK'], 'w').close()\nup()\nrest()\n",
                            uid=uid)
        self.cancel(d, job)
        self.assertEqual(path.exists(), "pidns" not in self.tier)
        if path.exists():
            done = d.ebb("audit")
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertRegex(done.stdout, f"{path}.*\n.*while attempt {job}.1 ran.*\n.*remove it: rm {path}\n")
            path.unlink()
        self.assertEqual(d.ebb("audit").returncode, 0)
        self.check_gone(d)

    def test_scratch_filled_and_closed(self):
        """To the last block, deeper than a path may be long, and with folders that nobody may enter."""
        d = self.hostile_daemon(self.tier, scratch_size="12m")
        job, said = self.start(d, """
os.chdir(os.environ["EBB_SCRATCH"])
for depth in range(100):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
try:
    with open("full", "wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
except OSError as full:
    said = os.strerror(full.errno)
os.chdir(os.environ["EBB_SCRATCH"])
os.symlink("/etc", "link")
os.chmod("d" * 200, 0)
os.chdir(sys.argv[1])
up(said)
rest()
""", "{workdir}")
        self.assertEqual(said, "No space left on device")
        self.cancel(d, job)
        self.check_released(d, job)
        self.check_gone(d)

    def test_a_flood_of_output(self):
        d = self.hostile_daemon(self.tier)
        job, _ = self.start(d, """
ignore_all()
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(2, b"e" * 65536)
up()
while True:
    os.write(1, b"o" * 65536)
""", log_limit_bytes=1 << 20)
        log = d.state / "logs" / f"{job}.1"
        wait_for(lambda: int(d.http("GET", f"/v1/jobs/{job}/logs").headers.get("Ebb-Log-Offset") or 0) > 4 << 20,
                 what="more than the log holds")
        began = time.monotonic()
        self.cancel(d, job)
        self.assertLess(time.monotonic() - began, 20 * harness.PATIENCE)
        self.check_released(d, job)
        size = sum(path.stat().st_size for path in log.iterdir())
        self.assertLess(size, 3 << 20)
        self.check_gone(d)


globals().update(hostile.in_each_tier(Places))


@hostile.needs_root
class Handed(hostile.Case):
    """Work that a job hands to another daemon of the machine is not in its tree: it is not ended, but it is seen."""

    def test_a_gpu_that_is_used_by_somebody_else_when_its_job_has_ended(self):
        table = self.folder() / "gpus"
        table.write_text("gpu 0\ngpu 1\n")
        d = self.hostile_daemon("cgroup+pidns", gpus="auto", more_env={
            "EBB_NVML_LIBRARY": str(harness.BIN.parent / "nvml-stub/libnvidia-ml.so.1"), "EBB_NVML_STUB": str(table)})
        job, _ = self.start(d, "up()\nrest()\n")
        gpu = d.job(job)["gpu_ids"][0]
        outsider = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.addCleanup(outsider.wait)
        self.addCleanup(outsider.kill)
        with open(table, "a") as file:
            file.write(f"process {gpu} {outsider.pid} 500\n")
        self.cancel(d, job)
        report = d.report(job)
        self.assertTrue(report["complete"], report)
        release = next(one for one in report["releases"] if one["kind"] == "gpu")
        self.assertEqual(release["outcome"], "released")
        self.assertEqual(release["outside"], [{"pid": outsider.pid, "user": "root", "mib": 500}])
        self.check_next(d, gpus=1)
        waits = d.submit(["true"], gpus=2)["id"]
        wait_for(lambda: d.http("GET", "/v1/devices").json["gpus"][gpu]["state"] == "outside", what="it is seen")
        self.assertEqual(d.job(waits)["state"], "queued")
        outsider.kill()
        outsider.wait()
        self.assertEqual(d.wait_state(waits)["state"], "completed")
        self.check_gone(d)


if __name__ == "__main__":
    harness.main()
