#!/usr/bin/env python3
"""A network that is lost, by the kernel's own: daemon and client in two network namespaces, with a cable between them
that is pulled out; and a proxy between them that resets its connections."""
import contextlib
import os
import select
import socket
import struct
import subprocess
import threading
import unittest

import harness
from harness import EBB, wait_for

HERE, THERE, PORT = "192.0.2.1", "192.0.2.2", 8765  # of a range that is no network's (RFC 5737)
COUNT = "i=0; while [ $i -lt %d ]; do i=$((i+1)); echo $i; sleep %g; done"


def counted(last):
    return "".join(f"{i}\n" for i in range(1, last + 1))


class Resetting:
    """A TCP proxy that ends every connection with a reset once so many bytes of answers have gone through it, until it
    is told to stop that."""

    def __init__(self, target, most):
        self.target, self.most, self.resets, self.mended = target, most, 0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[client, socket.create_connection(("127.0.0.1", self.target))],
                             daemon=True).start()

    def _carry(self, client, server):
        left = self.most
        with client, server, contextlib.suppress(OSError):
            while left > 0:
                for end in select.select([client, server], [], [])[0]:
                    got = end.recv(65536)
                    if not got:
                        return
                    (server if end is client else client).sendall(got)
                    left -= 0 if end is client or self.mended else len(got)
            self.resets += 1
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@unittest.skipUnless(os.getuid() == 0, "only root can make network namespaces")
class Cable(harness.Case):
    def setUp(self):
        self.here, self.there = self.namespace(), self.namespace()
        self.ip(self.here, "link", "add", "e0", "type", "veth", "peer", "name", "e0", "netns", str(self.there))
        for side, address in ((self.here, HERE), (self.there, THERE)):
            self.ip(side, "address", "add", f"{address}/30", "dev", "e0")
            for device in ("lo", "e0"):
                self.ip(side, "link", "set", device, "up")

    def namespace(self):
        """The pid of a process that holds a network namespace of its own."""
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE)
        self.addCleanup(lambda: (holder.kill(), holder.wait(), holder.stdout.close()))
        holder.stdout.readline()
        return holder.pid

    @staticmethod
    def within(side, *words):
        return ["nsenter", f"--net=/proc/{side}/ns/net", *words]

    def ip(self, side, *words):
        subprocess.run(self.within(side, "ip", *words), check=True)

    def pull(self):
        self.ip(self.there, "link", "set", "e0", "down")

    def plug(self):
        self.ip(self.there, "link", "set", "e0", "up")

    def daemon_here(self, lease):
        d = harness.Daemon(start=False, listen=f"{HERE}:{PORT}", config=f'[defaults]\nowner_lease = "{lease}"\n')
        self.addCleanup(self._end, d)
        words = d.command()
        d.command = lambda: self.within(self.here, *words)
        return d.start()

    def run_there(self, d, *words):
        env = d.client_env(EBB_SERVER=f"http://{HERE}:{PORT}", EBB_API_KEY=d.add_user("far", account="nobody"))
        run = subprocess.Popen(self.within(self.there, EBB, "run", "--workdir", "/", *words), env=env, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def end():
            run.kill()
            run.communicate()
        self.addCleanup(end)
        return run

    def running(self, d):
        return wait_for(lambda: next((j for j in d.http("GET", "/v1/jobs?state=running").json["items"]), None),
                        what="a running job")

    def test_pulled_out_for_good_both_sides_end(self):
        d = self.daemon_here("2s")
        run = self.run_there(d, "--gpus", "1", "--sidecar", "s=exec sleep 765432", "--", "sleep", "1000")
        job = self.running(d)
        self.pull()
        ended = d.wait_state(job["id"], deadline=30)
        self.assertEqual((ended["state"], ended["reason"]["kind"]), ("cancelled", "owner_lost"))
        self.assertTrue(d.report(job["id"])["complete"])
        _, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 125, err)
        self.assertRegex(err, r"lost the server at http://192\.0\.2\.1:8765; looking for it for 2 s")
        self.assertIn("s stopped (SIGTERM", err)
        self.assertEqual(d.wait_state(d.submit(["true"], gpus=4)["id"])["state"], "completed")

    def test_a_client_that_dies_while_it_is_pulled_out_is_missed(self):
        d = self.daemon_here("2s")
        run = self.run_there(d, "--gpus", "1", "--", "sleep", "1000")
        job = self.running(d)
        self.pull()
        run.kill()  # nothing of its end comes through
        self.assertEqual(d.wait_state(job["id"], deadline=30)["reason"]["kind"], "owner_lost")

    def test_back_before_the_lease_runs_out_nothing_happens(self):
        d = self.daemon_here("20s")
        run = self.run_there(d, "--gpus", "1", "--", "sh", "-c", COUNT % (1400, 0.01))
        job = self.running(d)
        self.pull()
        lost = ""
        while "lost the server" not in lost:
            lost = run.stderr.readline()
            self.assertTrue(lost, "the client has gone")
        self.plug()
        out, err = run.communicate(timeout=60)
        self.assertEqual((run.returncode, out), (0, counted(1400)), err)
        self.assertIn("ebb: the server is back", err)
        self.assertEqual(d.job(job["id"])["state"], "completed")


class Resets(harness.Case):
    def test_a_proxy_that_resets_costs_no_byte(self):
        d = self.daemon()
        # Less than the owner's connection carries until its job runs, more than any single answer.
        proxy = Resetting(d.port, most=1500)
        self.addCleanup(proxy.close)
        run = d.popen("run", "--workdir", "/", "--", "sh", "-c", COUNT % (1500, 0.002),
                      env={"EBB_SERVER": f"http://127.0.0.1:{proxy.port}",
                           "EBB_API_KEY": d.add_user("far", account="nobody")})
        self.addCleanup(lambda: (run.kill(), run.communicate()))
        wait_for(lambda: proxy.resets >= 4 or run.poll() is not None)
        proxy.mended = True
        out, err = run.communicate(timeout=60)
        self.assertGreaterEqual(proxy.resets, 4, err)
        self.assertEqual((run.returncode, out), (0, counted(1500)), err)
        self.assertIn("ebb: the server is back", err)


if __name__ == "__main__":
    harness.main()
