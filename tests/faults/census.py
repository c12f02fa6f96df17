"""What is left on the machine of one run, found without asking the product: from /proc, the cgroup file system, the
kernel's lists of locks, sockets, mounts and IPC, and the run's own folders. Each function returns lines to read."""
import dataclasses
import os
import pathlib
import re


@dataclasses.dataclass
class Place:
    """Where one run happens, and by what its things are known."""
    folder: pathlib.Path     # everything of the run: state, scratch, sockets, records
    programs: pathlib.Path   # the worker's own copies of the product's programs
    locks: pathlib.Path      # $EBB_LOCK_DIR
    mark: str                # EBB_FAULTS_MARK of every process of its jobs
    ipc: int                 # size of their System V segments
    ports: tuple             # first and last
    cgroup: pathlib.Path = None


@dataclasses.dataclass
class Process:
    pid: int
    parent: int
    name: str
    program: str
    started: int


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def process(pid):
    """None where it is gone, a zombie, which holds nothing, or the kernel's."""
    try:
        program = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None
    name, _, rest = _read(f"/proc/{pid}/stat").decode(errors="replace").partition("(")[2].rpartition(") ")
    fields = rest.split()
    if not fields or fields[0] in "ZX":
        return None
    return Process(pid, int(fields[1]), name, program, int(fields[19]))


def words(pid):
    return _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()


def processes():
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [one for one in found if one]


def products(programs, among):
    """The product's own: known by their file, which a fork shares."""
    return [one for one in among if one.program.startswith(f"{programs}/")]


def marked(mark, among):
    wanted = f"EBB_FAULTS_MARK={mark}".encode()
    return [one for one in among if wanted in _read(f"/proc/{one.pid}/environ").split(b"\0")]


def _processes(place):
    everyone = processes()
    ours = products(place.programs, everyone)
    found = {one.pid: one for one in ours + marked(place.mark, everyone)}
    return [f"process {one.pid}: {one.name} ({words(one.pid)})" for one in found.values()]


def _cgroups(place):
    if not place.cgroup:
        return []
    return [f"cgroup {path}" for path in sorted(place.cgroup.rglob("*")) if path.is_dir()]


def _locks(place):
    ours = {}
    for folder in (place.folder, place.locks):
        for path in folder.rglob("*"):
            try:
                info = path.lstat()
            except OSError:
                continue
            ours[info.st_ino] = path
    found = []
    for line in _read("/proc/locks").decode().splitlines():
        match = re.search(r"(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", line)
        if match and int(match[2]) in ours:
            found.append(f"lock on {ours[int(match[2])]}, taken by {match[1]}")
    return found


def _sockets(place):
    found = [f"socket {line.split()[-1]}" for line in _read("/proc/net/unix").decode(errors="replace").splitlines()
             if str(place.folder) in line]
    for table in ("tcp", "tcp6"):
        for line in _read(f"/proc/net/{table}").decode().splitlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == "0A" and place.ports[0] <= port <= place.ports[1]:
                found.append(f"listener on port {port}, of {_holder(fields[9]) or 'nobody any more'}")
    return found


def _holder(inode):
    """Who holds this socket, whoever that is: the one found may be a stranger's."""
    for one in processes():
        try:
            if any(os.readlink(fd) == f"socket:[{inode}]" for fd in pathlib.Path(f"/proc/{one.pid}/fd").iterdir()):
                return f"process {one.pid}: {one.name} ({words(one.pid)})"
        except OSError:
            continue
    return None


def _mounts(place):
    return [f"mount {line.split()[4]}" for line in _read("/proc/self/mountinfo").decode().splitlines()
            if str(place.folder) in line]


def segments(size):
    """The ids of System V segments of this size."""
    lines = [line.split() for line in _read("/proc/sysvipc/shm").decode().splitlines()[1:]]
    return [line[1] for line in lines if int(line[3]) == size]


def _ipc(place):
    path = f"/dev/shm/ebb-faults-{place.mark}"
    return [f"shared memory segment {id}" for id in segments(place.ipc)] + ([path] if os.path.exists(path) else [])


def _files(place):
    found = []
    for folder in ("scratch", "state/attempts"):
        path = place.folder / folder
        found += [f"file {one}" for one in (sorted(path.iterdir()) if path.exists() else [])]
    return found + [f"file {one}" for one in place.folder.glob("*.sock")]


def leftovers(place):
    """Of a run whose daemon was told to end everything: nothing may be left."""
    found = []
    for look in (_processes, _cgroups, _locks, _sockets, _mounts, _ipc, _files):
        found += look(place)
    return found
