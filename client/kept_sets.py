"""Which sites a sum may be opened over, given those that sums were opened over before. Without privacy only.

Sums over different sets of sites can be added and subtracted. Whatever is computed from them, with any weights, treats
two sites alike that are in the very same of these sets. The largest groups of such sites are the atoms of the
partition that the sets make: nothing smaller than an atom can be computed. Where c sites may collude, and know what
they added themselves, an atom of c + 2 sites still hides each of its other sites in a sum of two at least.

Comparing sets in pairs is not enough: the complements of the eleven blocks of the (11, 5, 2) biplane differ in pairs
by three sites on either side, and together they show every site.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class KeptSet:
    """Sites (their keys) that added to a sum that was opened, and how many may collude by the study that asked."""

    sites: frozenset[str]
    colluding: int


def atoms(sets: Iterable[Collection[str]]) -> list[frozenset[str]]:
    """Return the atoms of the partition that these sets make of all their sites; sites in none of them have no part."""
    places: dict[str, set[int]] = defaultdict(set)
    for place, sites in enumerate(sets):
        for site in sites:
            places[site].add(place)
    found: dict[frozenset[int], set[str]] = defaultdict(set)
    for site, several in places.items():
        found[frozenset(several)].add(site)
    return [frozenset(sites) for sites in found.values()]


def is_allowed(kept: Collection[KeptSet], new: KeptSet) -> bool:
    """Return whether a sum over `new` may be opened: over the same sites as before, or with every atom large enough.

    The largest number of colluding sites of any of the studies counts.
    """
    return any(new.sites == old.sites for old in kept) or not small_atoms(kept, new)


def small_atoms(kept: Collection[KeptSet], new: KeptSet) -> list[frozenset[str]]:
    """Return the atoms, of all these sets, that are too small to hide each of their sites."""
    least = max(item.colluding for item in (*kept, new)) + 2
    return [atom for atom in atoms([*(old.sites for old in kept), new.sites]) if len(atom) < least]
