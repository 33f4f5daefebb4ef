"""Groups: whom sums over the parts of two cuts show together, when they are added and subtracted.

A sum over a part is a sum over its patients. Sums of both cuts, each with a weight, count a patient by the weight of
the part in the one and by that of the part in the other; who is in no part of a cut is counted by nothing there. So the
parts of both cuts are the vertices of a graph, with one more for "in no part", and each patient is an edge, from the
part of before to that of now. Weights that count most patients by nothing give the ends of their edges one value: what
is left is the edges across a boundary. A boundary between a set of vertices and the others shows those who leave the
set apart from those who enter it, for they have other signs; any weights show at least those of one such boundary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, combinations

NOWHERE = ""
Flows = Counter[tuple[str, str]]  # the part of before, and that of now -> patients
_BEFORE, _NOW = "before", "now"


def groups(flows: Flows) -> set[int]:
    """Return how many patients each group has that sums of the two cuts show together and that has anybody.

    A set of vertices within which no edge lies is left out, unless it is some parts in both cuts: its groups are whole
    parts, which the sums of one cut show.
    """
    edges = [((_BEFORE, was), (_NOW, now), number) for (was, now), number in flows.items()]
    vertices = {end for one, other, _ in edges for end in (one, other) if end[1] != NOWHERE}
    sizes = set[int]()
    for some in _subsets(sorted(vertices)):
        parts = {part for _, part in some}
        is_parts = some == {one for one in vertices if one[1] in parts}
        if is_parts or any(one in some and other in some for one, other, _ in edges):
            sizes.add(sum(number for one, other, number in edges if one in some and other not in some))
            sizes.add(sum(number for one, other, number in edges if other in some and one not in some))
    return sizes - {0}


def _subsets(vertices: list[tuple[str, str]]) -> Iterator[frozenset[tuple[str, str]]]:
    """Yield each set of these but the empty one."""
    return map(frozenset, chain.from_iterable(combinations(vertices, size) for size in range(1, len(vertices) + 1)))
