"""P5 to P8b: pipelines; flow_bench measures and says it."""

import lib


def measure(row, runs):
    yield from lib.lines_of("flow_bench", row, str(runs))
