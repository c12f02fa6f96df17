"""One run's daemon, its jobs and its client, and which of the machine's processes they are."""
import os
import secrets
import select
import signal
import sqlite3
import subprocess
import tempfile
import time

import census
import harness
import oracle

NOBODY = 65534
CONFIG = """
[jobs]
kill_timeout = "2s"
gpu_release_timeout = "2s"
daemon_gone = "{gone}"
"""


class Daemon(harness.Daemon):
    """Inside the worker's sandbox, on two GPUs of the stand-in driver."""

    def __init__(self, worker, on_stop, gone):
        self.worker = worker
        super().__init__(config=CONFIG.format(gone=gone), args=["--on-stop", on_stop], gpus="0,1", listen="none", start=False, env={
            "EBB_LOCK_DIR": str(worker.locks), "EBB_NVML_LIBRARY": str(worker.stub),
            "EBB_NVML_STUB": str(worker.gpus)})

    def command(self):
        return [*self.worker.sandbox.prefix, *super().command()]


class StopAt:
    """The tracer: holds the thread that makes the last of the moments."""

    def __init__(self, worker, pid, moments):
        self.process = subprocess.Popen([worker.stop_at, str(pid), *moments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        if self._line(5) != "armed":
            self.process.kill()
            self.process.wait()
            raise RuntimeError("stop_at does not trace")

    def _line(self, timeout):
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        return self.process.stdout.readline().decode().strip() if ready else ""

    def hit(self, timeout):
        """(pid, thread, generation), or None where the moment does not come."""
        words = self._line(timeout).split()
        return tuple(map(int, words[1:])) if words[:1] == ["hit"] else None

    def release(self):
        """Everything goes on, untraced."""
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Scene:
    def __init__(self, worker, case, draw):
        self.worker, self.case = worker, case
        inside = dict(case.faults)
        self.on_stop = "keep" if inside.get("daemon") == "TERM" else "end"
        self.daemon = Daemon(worker, self.on_stop, "1s" if inside.get("daemon") == "GONE" else "60s")
        self.records = self.daemon.dir / "records"
        self.records.mkdir()
        self.records.chmod(0o777)
        self.journal = self.records / "journal"
        self.journal.touch()
        self.journal.chmod(0o666)
        first, last = map(int, self.daemon.ports.split("-"))
        self.place = census.Place(self.daemon.dir, worker.programs, worker.locks, f"{worker.name}-{secrets.token_hex(6)}",
                                  4097 + secrets.randbelow(1 << 28), (first, last), worker.sandbox.cgroup)
        self.user = draw.choice((0, NOBODY))
        self.job = oracle.Job("A")
        self.next = oracle.Job("B")
        if inside.get("daemon") == "INT":  # it may have been started already
            self.next.reasons.add("daemon_stopped")
        if "nursery" in inside:  # its death while it forks a keeper costs that keeper's job its start
            self.next.reasons.add("start_failed")
        self.client = self.submitter = self.connection = None
        self.hit_role = {}  # what the tracer holds: role → pid

    # ---- jobs

    def _command(self, name, tree="flat"):
        return [str(self.worker.marked_job), str(self.records), name, tree]

    def _environment(self):
        found = {"EBB_FAULTS_MARK": self.place.mark, "EBB_FAULTS_IPC": str(self.place.ipc)}
        # Without a namespace nothing tells whose a file in /dev/shm is while its user has other processes, as the
        # client here: then it stays, and `ebb audit` names it.
        if "pidns" in self.case.tier:
            found["EBB_FAULTS_SHM"] = "1"
        return found

    def _popen(self, *words, name="client", **options):
        out = open(self.daemon.dir / f"{name}.out", "wb")
        err = open(self.daemon.dir / f"{name}.err", "wb")
        with out, err:
            return self.daemon.popen(*words, stdout=out, stderr=err, user=self.user, group=self.user, extra_groups=[],
                                     cwd="/", start_new_session=True, **options)

    def submit(self, tree):
        words = ["--name", "A", "--gpus", "2", "--ports", "1", "--grace", "300ms", "--ready", "/ready"]
        if self.case.kind == "attached":
            # On a busy machine a second is short: only where nothing else would end the job.
            lost = ("client", "HOLD") in self.case.faults or {"client", "daemon"} <= set(self.case.roles())
            lease = "1s" if lost else "15s"
            words = ["run", *words, "--owner-lease", lease]
            if {"side", "sidekeeper"} & set(self.case.roles()):
                words += ["--sidecar", "side=sleep 1000"]
        else:
            words = ["submit", *words]
        self.submitter = self.client = self._popen(*words, "--", *self._command("A", tree), env=self._environment())

    def follow(self):
        """A detached job's client from when its submitter has gone."""
        if self.case.kind == "detached" and self.client is self.submitter and self.acknowledged_id():
            self.client = self._popen("wait", self.job.id, name="wait")

    def acknowledged_id(self):
        """What the submitter printed, of a detached job."""
        if self.case.kind == "detached" and not self.job.acknowledged:
            text = (self.daemon.dir / "client.out").read_text().strip()
            if text:
                self.job.id, self.job.acknowledged = text, True
        return self.job.id

    def submit_next(self, deadline=10):
        """The job that waits for everything that the first one has. Repeated until it is answered: its key makes
        that one job."""
        body = {"command": self._command("B"), "name": "B", "gpus": 2, "ports": 1, "env": self._environment(),
                "workdir": "/"}

        def post():
            answer = self.ask("POST", "/v1/jobs", body, {"Idempotency-Key": self.place.mark})
            return answer if answer is not None and answer.status in (200, 201) else None
        self.next.id = harness.wait_for(post, deadline, "an answer to the next job's submission").json["id"]
        self.next.acknowledged = True

    def ask(self, *words, timeout=5):
        """None where nobody answers. One connection for as long as it lasts: the daemon asks much of a new one."""
        if self.connection is None:
            self.connection = self.daemon.connect(timeout=timeout)
        try:
            if self.connection.sock:
                self.connection.sock.settimeout(timeout)
            return self.daemon.http(*words, connection=self.connection)
        except (OSError, harness.http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return None

    def look(self, timeout=5):
        """The API's word on both jobs; whether it answers."""
        answer = self.ask("GET", "/v1/jobs", timeout=timeout)
        if answer is None or answer.status != 200:
            return False
        known = {one["name"]: one for one in answer.json["items"]}
        for job in (self.job, self.next):
            job.seen = known.get(job.name)
            if job.seen:
                job.id = job.seen["id"]
        return True

    def use_gpus(self):
        """As if the leader had opened the GPUs: the driver names it until it is gone."""
        pid = self.pid("leader")
        if pid:
            with open(self.worker.gpus, "a") as control:
                control.write(f"process 0 {pid} 500\nprocess 1 {pid} 500\n")

    def end_job(self):
        """Asks the job itself; whether it heard."""
        ports = (self.job.seen or {}).get("ports") or []
        try:
            connection = harness.http.client.HTTPConnection("127.0.0.1", ports[0], timeout=2)
            connection.request("GET", "/end")
            return connection.getresponse().status == 200
        except (OSError, IndexError, harness.http.client.HTTPException):
            return False

    def cancel(self, timeout=5):
        answer = self.ask("DELETE", f"/v1/jobs/{self.job.id}?grace=300ms", timeout=timeout)
        return answer is not None and answer.status in (200, 202)

    def reports(self, job):
        path = self.daemon.state / "ebb.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT body FROM reports JOIN jobs ON jobs.seq = reports.job WHERE jobs.id = ?",
                                    (int(job.id, 16),)).fetchall()
        database.close()
        return [harness.json.loads(row[0]) for row in rows]

    # ---- processes

    def pid(self, role):
        """Of a role's living process, or None."""
        if role in self.hit_role:
            return self.hit_role[role]
        if role == "client":
            return self.client.pid if self.client and self.client.poll() is None else None
        if role == "daemon":
            return self.daemon.process.pid if self.daemon.alive() else None
        everyone = census.processes()
        ours = census.products(self.place.programs, everyone)

        def children(parent, program=""):
            return sorted((one for one in everyone if parent and one.parent == parent
                           and one.program.endswith(program)), key=lambda one: one.started)

        def first(found):
            return found[0].pid if found else None
        daemon = self.daemon.process.pid
        if role == "nvml":
            return first(children(daemon, "/ebb-nvml"))
        if role == "nursery":
            return first([one for one in children(daemon, "/ebb-keeper") if "nursery:" in census.words(one.pid)])
        if role in ("side", "sidekeeper"):
            keeper = first(children(self.client.pid, "/ebb-keeper"))
            return keeper if role == "sidekeeper" else self._leader_below(keeper, children)
        nursery = first([one for one in ours if one.parent == daemon and "nursery:" in census.words(one.pid)])
        keepers = [one for one in ours if one.parent == daemon and one.program.endswith("/ebb-keeper")
                   and one.pid != nursery]
        keeper = self.hit_role.get("keeper") or first(keepers[-1:])
        if role == "keeper":
            return keeper
        if role == "init":
            return first(children(keeper, "/ebb-keeper"))
        return self._leader_below(keeper, children) if role == "leader" else None

    @staticmethod
    def _leader_below(keeper, children):
        """Below the keeper itself, or below its namespace's init, which is a fork of it."""
        below = children(keeper)
        if below and below[0].program.endswith("/ebb-keeper"):
            below = children(below[0].pid)
        return below[0].pid if below else None

    # ---- the end

    def restart(self):
        self.daemon.args = ["--on-stop", "end"]
        self.daemon.start()

    def close(self, keep=None):
        """Ends what a failed run may have left, so that the next run is not blamed for it. `keep`: a folder to move
        the evidence to."""
        if self.connection:
            self.connection.close()
        # Until two looks in a row find nothing: what was killed in the middle of a fork may leave a child that the
        # look in which its parent vanishes does not see.
        empty = 0
        while empty < 2:
            found = self.everything()
            empty = empty + 1 if not found else 0
            for pid in found:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for process in (self.submitter, self.client, self.daemon.process):
            if process is not None:
                process.wait(10)
        if self.place.cgroup:
            for path in sorted(self.place.cgroup.rglob("*"), reverse=True):
                if path.is_dir():
                    (path / "cgroup.kill").write_text("1")
                    harness.wait_for(lambda: self._remove(path), 5, f"{path} to be empty")
        self.daemon.ports_claim.close()
        if keep:
            keep.parent.mkdir(parents=True, exist_ok=True)
            harness.shutil.rmtree(keep, ignore_errors=True)
            harness.shutil.move(self.daemon.dir, keep)
        harness.shutil.rmtree(self.daemon.dir, ignore_errors=True)
        for line in census.segments(self.place.ipc):
            subprocess.run(["ipcrm", "--shmem-id", line], check=False)
        shared = f"/dev/shm/ebb-faults-{self.place.mark}"
        if os.path.exists(shared):
            os.unlink(shared)

    @staticmethod
    def _remove(path):
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True

    def everything(self):
        everyone = census.processes()
        found = census.products(self.place.programs, everyone) + census.marked(self.place.mark, everyone)
        return {one.pid for one in found} - {os.getpid()}
