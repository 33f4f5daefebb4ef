"""What is said of release 0.1, wherever its files or its messages are met."""

from __future__ import annotations

OF_0_1 = (
    "under 0.1 a coordinator's plan could open what a single hospital added to a sum (CHANGELOG.md, What we got wrong "
    "in 0.1)."
)
