"""Makes a worker's place in the machine such that the daemons in it find one tier of containment and no better.

    cgroup+pidns   a cgroup of the worker's own; root with all capabilities
    cgroup         the same, and the daemon without CAP_SYS_ADMIN, so that it can make no namespaces
    pidns          a mount namespace without any cgroup hierarchy
    subreaper      like a container: a PID namespace of its own, /proc masked and /proc/sys read-only, no cgroups, no
                   CAP_SYS_ADMIN for the daemon
"""
import os
import pathlib
import subprocess

_WITHOUT_SYS_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]


def launch(tier):
    """The words before a worker's command."""
    if tier == "pidns":
        return ["unshare", "--mount", "--propagation", "private", "--"]
    if tier == "subreaper":
        return ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
    return []


def missing(tier):
    """Why this machine does not give a tier its sandbox, or None."""
    if os.geteuid() != 0:
        return "only root can make it"
    try:
        if "cgroup" in tier:
            trial = _unified() / f"ebb-faults-trial-{os.getpid()}"
            trial.mkdir()
            trial.rmdir()
        subprocess.run([*launch(tier), "true"], check=True, capture_output=True)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as why:
        return str(why)
    return None


class Sandbox:
    def __init__(self, tier, name):
        """In the worker, before it starts anything."""
        self.prefix = _WITHOUT_SYS_ADMIN if "pidns" not in tier else []
        self.cgroup = None
        if "cgroup" in tier:
            self.cgroup = _unified() / f"ebb-faults-{name}"
            self.cgroup.mkdir()
            (self.cgroup / "cgroup.procs").write_text(str(os.getpid()))
        else:
            subprocess.run(["umount", "--recursive", "--lazy", "/sys/fs/cgroup"], check=True)
        if tier == "subreaper":
            _become_child_of_a_reaper()
            _mask_proc()

    def leave(self):
        if self.cgroup:
            (_unified() / "cgroup.procs").write_text(str(os.getpid()))
            self.cgroup.rmdir()


def _unified():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if " - cgroup2 " in line:
            return pathlib.Path(fields[4])
    raise RuntimeError("no cgroup v2 hierarchy is mounted")


def _become_child_of_a_reaper():
    """As the first process of the namespace this would have to reap strangers, whose exits are subprocess's to see."""
    child = os.fork()
    if child == 0:
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _mask_proc():
    """What Docker does."""
    for name in ("kcore", "keys", "timer_list", "sched_debug"):
        if os.path.exists(f"/proc/{name}"):
            subprocess.run(["mount", "--bind", "/dev/null", f"/proc/{name}"], check=True)
    for name in ("acpi", "scsi"):
        if os.path.exists(f"/proc/{name}"):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", f"/proc/{name}"], check=True)
    for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"):
        if os.path.exists(f"/proc/{name}"):
            subprocess.run(["mount", "--bind", f"/proc/{name}", f"/proc/{name}"], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", f"/proc/{name}"], check=True)
