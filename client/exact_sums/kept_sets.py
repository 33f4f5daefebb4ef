"""Which sites a sum may be opened over, given those that sums were opened over before. Without privacy only.

Sums over different sets of sites can be added and subtracted. Whatever is computed from them, with any weights, treats
two sites alike that are in the very same of these sets. The largest groups of such sites are the atoms of the
partition that the sets make: nothing smaller than an atom can be computed. Where c sites may collude, and know what
they added themselves, an atom of c + 2 sites still hides each of its other sites in a sum of two at least.

Comparing sets in pairs by their differences is not enough: the complements of the eleven blocks of the (11, 5, 2)
biplane differ in pairs by three sites on either side, and together they show every site.

The partition of all sets that were opened is what counts, and a site knows those alone that it was in. After sums over
{a b c d e f g}, {a b c} and {e f g} each site knows two of them, in whose partition nothing is small, and all three
show d. So of all that sites add (`shared`) a site is in one set (`is_apart`): each honest site of a set keeps it before
it confirms, and confirms no other that has a site of it. None of them is then in another set that was opened, and
whatever is computed treats them alike, c + 2 less the c that collude at the least. And all sites of a set see each sum
over it, with the owners of each modality and the fillers of each part of the cohort, their own or not: of those sets
they all know the same, and the partition decides (`is_allowed`).
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


def is_apart(kept: Collection[KeptSet], new: KeptSet) -> bool:
    """Return whether a sum of what all sites add may be opened over `new`: over a set of before, or one that has no
    site of any.
    """
    if any(new.sites == old.sites for old in kept):
        return True
    return not any(new.sites & old.sites for old in kept) and not small_atoms((), new)


def is_allowed(kept: Collection[KeptSet], new: KeptSet) -> bool:
    """Return whether a sum over `new` may be opened, where all of `new` know the same sets: over the same sites as
    before, or with every atom large enough.

    The largest number of colluding sites of any of the studies counts.
    """
    return any(new.sites == old.sites for old in kept) or not small_atoms(kept, new)


def small_atoms(kept: Collection[KeptSet], new: KeptSet) -> list[frozenset[str]]:
    """Return the atoms, of all these sets, that are too small to hide each of their sites."""
    least = max(item.colluding for item in (*kept, new)) + 2
    return [atom for atom in atoms([*(old.sites for old in kept), new.sites]) if len(atom) < least]
