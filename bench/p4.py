"""P4: the engine alone, with a million queued jobs against a thousand; engine_bench measures and says it."""

import lib


def measure(_row, _runs):
    yield from lib.lines_of("engine_bench", "--p4")
