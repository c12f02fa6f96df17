"""P2b: `ebb run -- true`, process start to exit. Limit: one bare keeper after the other, and one durable commit."""

import lib


def measure(_row, runs):
    ebb, tsp, commits = [], [], []
    with lib.folder() as where, lib.daemon(gpus="none") as daemon:
        spooler = lib.Spooler(where, slots=1)
        database = lib.open_database(where)
        env = daemon.client_env()
        try:
            spooler.run("-fn", "true")
            for _ in range(runs):
                ebb.append(lib.spawn_ms([str(lib.BIN / "ebb"), "run", "-q", "--", "true"], env))
                tsp.append(lib.spawn_ms(["/usr/bin/tsp", "-fn", "true"], spooler.env))
                commits.append(lib.commit_ms(database))
            keeper = 1000 * lib.keeper_loop(runs, 1) / runs
        finally:
            spooler.close()
    yield lib.result("P2b", "ebb run -- true, start to exit", lib.median(ebb), "ms", runs,
                     keeper + lib.median(commits), goal="≤ 10 ms", held=lib.median(ebb) <= 10,
                     peers={"task-spooler": lib.median(tsp)}, worst=max(ebb))
