"""A keeper of another version of Ebb, as one that an upgraded daemon meets: it is left running and shown, never adopted."""
import os
import pathlib
import signal
import subprocess
import sys
import time

import harness
from harness import wait_for

# Holds the attempt's lock as a keeper does, and answers every packet with a Welcome (65) of version 99.
KEEPER = """
import fcntl, os, socket, sys, threading
folder = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(folder, fcntl.LOCK_EX)
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
os.chdir(sys.argv[1])
door.bind("keeper.sock")
door.listen()
print("up", flush=True)
def serve(peer):
    while peer.recv(65536):
        try:
            peer.send(bytes([65, 99]) + b"and more that nobody knows")
        except BrokenPipeError:
            return
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""


class ForeignKeeper(harness.Case):
    def upgraded(self):
        """A daemon whose one job has a keeper of a newer version: (daemon, job, keeper)."""
        d = self.daemon()
        job = d.wait_state(d.submit(["sleep", "600"], workdir="/", gpus=1)["id"], "running")
        d.kill()
        folder = d.state / "attempts" / f"{job['id']}.1"
        for entry in pathlib.Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            if words[1:2] == [f"{job['id']}.1".encode()]:
                os.kill(int(entry.name), signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{job['pid']}"), what="the end of the real keeper's job")
        (folder / "keeper.sock").unlink()
        keeper = subprocess.Popen([sys.executable, "-c", KEEPER, folder], stdout=subprocess.PIPE)
        self.addCleanup(keeper.stdout.close)
        self.addCleanup(keeper.wait)
        self.addCleanup(keeper.kill)
        self.assertEqual(keeper.stdout.readline(), b"up\n")
        return d.start(), job["id"], keeper

    def gpu(self, d, job):
        return [gpu["state"] for gpu in d.http("GET", "/v1/devices").json["gpus"] if gpu["job"] == job]

    def test_it_is_left_running_and_shown_and_what_it_holds_stays_held(self):
        d, job, keeper = self.upgraded()
        wait_for(lambda: "protocol version 99" in d.output(), what="what the daemon says of it")
        time.sleep(0.5)  # nothing tells that something is not going to happen
        self.assertEqual(d.job(job)["state"], "running")
        self.assertEqual(self.gpu(d, job), ["leased"])
        self.assertIsNone(keeper.poll())
        done = d.ebb("audit", env={"EBB_LOCK_DIR": d.env["EBB_LOCK_DIR"]})
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, f"keeper of attempt {job}.1\n.*version 99.*stays held")
        keeper.kill()
        self.assertEqual(d.wait_state(job)["reason"]["kind"], "keeper_lost")
        self.assertTrue(d.report(job)["complete"])

    def test_a_cancel_ends_it(self):
        d, job, keeper = self.upgraded()
        wait_for(lambda: "protocol version 99" in d.output(), what="what the daemon says of it")
        self.assertEqual(d.ebb("cancel", job).returncode, 0)
        self.assertEqual(keeper.wait(20), -signal.SIGKILL)
        self.assertEqual(d.job(job)["reason"]["kind"], "cancelled")
        self.assertTrue(d.report(job)["complete"])
        self.assertEqual(self.gpu(d, job), [])


if __name__ == "__main__":
    harness.main()
