"""Subnormal numbers flushed to zero, so that no patient's work takes longer for them.

A processor takes many times as long for a product of numbers below 2^-126. Weights can be made for which one patient's
activations are such numbers and nobody else's, and the time of a round would tell whether that patient is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_to_zero() -> Iterator[bool]:
    """Within this context subnormal results and inputs count as 0 in this thread; whether the processor can do it.

    The setting is a thread's own, so torch is left one thread on the CPU: others, which exist already, would keep
    theirs. It is put back afterwards.
    """
    torch.set_num_threads(1)
    before = is_flushing()
    can = torch.set_flush_denormal(True)
    try:
        yield can
    finally:
        torch.set_flush_denormal(before)


def is_flushing() -> bool:
    """Whether a subnormal number counts as 0 in this thread."""
    return not bool((torch.full((1,), 2.0**-1060, dtype=torch.float64) * 2.0**20).item())
