"""Stands in for vLLM, whose classes the original's client imports and, with a server elsewhere, never makes."""


class LLM:
    pass


class SamplingParams:
    pass
