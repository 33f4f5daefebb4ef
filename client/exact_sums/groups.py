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
Vertex = tuple[str, str]  # a cut, and a part of it
_BEFORE, _NOW = "before", "now"
_HIDE = 5  # times the smallest group, counted with the other sign


def groups(flows: Flows, smallest: int = 1) -> set[int]:
    """Return how many patients each group has that sums of the two cuts show together and that has anybody.

    Sets of vertices are looked at that patients within join, so that something is taken away by something. A part alone
    shows what the sums of its own cut do; a part in both cuts is looked at however few are in it both times.

    smallest: of a group that may be shown. Where the set is not the same parts in both cuts, fewer that are counted
        with one sign are hidden by `_HIDE` times as many with the other one, and left out
    """
    edges = [((_BEFORE, was), (_NOW, now), number) for (was, now), number in flows.items()]
    vertices = {end for one, other, _ in edges for end in (one, other) if end[1] != NOWHERE}
    sizes = set[int]()
    for some in _subsets(sorted(vertices)):
        parts = {part for _, part in some}
        is_same = some == {one for one in vertices if one[1] in parts}
        if not (is_same and len(parts) == 1) and not _joins(edges, some):
            continue
        entering = sum(number for one, other, number in edges if other in some and one not in some)
        leaving = sum(number for one, other, number in edges if one in some and other not in some)
        few, many = sorted((entering, leaving))
        hides = not is_same and 0 < few < smallest and many >= _HIDE * smallest
        sizes |= {many} if hides else {few, many}
    return sizes - {0}


def _subsets(vertices: list[Vertex]) -> Iterator[frozenset[Vertex]]:
    """Yield each set of these but the empty one."""
    return map(frozenset, chain.from_iterable(combinations(vertices, size) for size in range(1, len(vertices) + 1)))


def _joins(edges: list[tuple[Vertex, Vertex, int]], vertices: frozenset[Vertex]) -> bool:
    """Return whether the edges within make one piece of the vertices, and there is one."""
    within = [{one, other} for one, other, _ in edges if one in vertices and other in vertices]
    reached = set(within[0]) if within else set[Vertex]()
    for _ in within:
        reached |= {end for edge in within if edge & reached for end in edge}
    return bool(within) and reached == vertices
