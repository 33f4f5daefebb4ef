"""Constants of the measures, for those that read them without PyTorch: `common/tasks.py` computes them."""

from __future__ import annotations

LOG_LOSS_CAP = 10.0  # nats; public, so that one case's share is bounded
NORMAL_95 = 1.96  # of a normal distribution, 95 % lies within so many standard deviations
