"""P2: no-op jobs over one keep-alive connection, contained, run to their reports, per second.

Requests are pipelined over one connection, so that the client's own round trips are not what is measured. Beside it:
task-spooler, which contains nothing and stores nothing, and a bare loop of keepers with neither daemon nor disk.
"""

import json
import os
import time

import lib

JOBS = 500
ROUNDS = 3
WINDOW = 32  # requests under way


def read_answers(stream, count):
    """Reads `count` answers; raises when one is not 201."""
    for _ in range(count):
        status = stream.readline()
        length = 0
        while (header := stream.readline().strip()):
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = stream.read(length)
        if b" 201 " not in status:
            raise lib.Unmeasured(f"{status.decode().strip()}: {body.decode()}")


def ebb_seconds(daemon):
    body = json.dumps({"command": ["/bin/true"]}).encode()
    request = (b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
               b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    connection = daemon.connect()
    connection.connect()
    stream = connection.sock.makefile("rb")
    start = time.monotonic()
    sent = answered = 0
    while answered < JOBS:
        window = min(WINDOW, JOBS - sent)
        if window:
            connection.sock.sendall(request * window)
            sent += window
        count = min(WINDOW // 2 if sent < JOBS else JOBS - answered, JOBS - answered)
        read_answers(stream, count)
        answered += count
    stream.close()
    while True:  # the last report's transaction is what makes this list empty
        connection.request("GET", "/v1/jobs?state=queued,starting,running,releasing&limit=1")
        if not json.loads(connection.getresponse().read())["items"]:
            break
        time.sleep(0.005)
    took = time.monotonic() - start
    connection.close()
    return took


def spooler_seconds(spooler):
    start = time.monotonic()
    for _ in range(JOBS):
        spooler.run("-n", "true")
    spooler.run("-w")
    return time.monotonic() - start


def measure(_row, _runs):
    ebb, tsp, bare = [], [], []
    with lib.folder() as where, lib.daemon(gpus="none") as daemon:
        spooler = lib.Spooler(where, slots=os.cpu_count() or 1)
        try:
            for _ in range(ROUNDS):
                ebb.append(JOBS / ebb_seconds(daemon))
                tsp.append(JOBS / spooler_seconds(spooler))
                bare.append(JOBS / lib.keeper_loop(JOBS, 8))
        finally:
            spooler.close()
    ours, peer = lib.median(ebb), lib.median(tsp)
    yield lib.result("P2", f"no-op jobs run to their reports, {JOBS} at a time", ours, "jobs/s", ROUNDS,
                     lib.median(bare), goal="≥ task-spooler's", held=ours >= peer, peers={"task-spooler": peer})
