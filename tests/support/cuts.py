"""Cuts without a cohort."""

from __future__ import annotations

from collections.abc import Mapping

from client.exact_sums.cut import Cut


def everyone(parts: Mapping[str, str], *names: str) -> Cut:
    """All of these patients (pseudonym -> part) have all of these modalities, which the sum uses."""
    having = frozenset(names or ("chart",))
    return Cut(parts, dict.fromkeys(parts, having), having)
