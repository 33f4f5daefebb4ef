"""The rules by which a site lets sums be opened over other sites than before: by linear algebra, and by an attack."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.exact_sums.asked import Asked
from client.exact_sums.kept_sets import KeptSet, atoms, is_allowed, is_apart
from client.exact_sums.sum_records import SumRecords
from common.errors import AnsweredError

SITES = tuple("abcdefghijkl")
# The (11, 5, 2) biplane: the squares modulo 11, shifted. Two of its blocks meet in two points.
BLOCKS = [{(square + shift) % 11 for square in (1, 3, 4, 5, 9)} for shift in range(11)]
BIPLANE = [frozenset(SITES[point] for point in range(11) if point not in block) | {SITES[11]} for block in BLOCKS]


def shown(sets: Sequence[frozenset[str]], known: Sequence[str]) -> set[str]:
    """The sites whose numbers whoever has the sums over these sets, and the numbers of the sites `known`, computes."""
    rows = [[float(site in sites) for site in SITES] for sites in (*sets, *({site} for site in known))]
    rank = np.linalg.matrix_rank(rows)
    units = {site: [float(site == other) for other in SITES] for site in SITES}
    return {site for site in set(SITES) - set(known) if np.linalg.matrix_rank([*rows, units[site]]) == rank}


def accepted(sets: Sequence[frozenset[str]], colluding: int = 1) -> list[KeptSet]:
    """Those that a site opens, asked for them one after the other."""
    kept: list[KeptSet] = []
    for sites in sets:
        if is_allowed(kept, KeptSet(sites, colluding)):
            kept.append(KeptSet(sites, colluding))
    return kept


def test_the_biplane_shows_every_site_though_any_two_of_its_sets_differ_by_three() -> None:
    for one, other in combinations(BIPLANE, 2):
        assert len(one - other) == len(other - one) == 3 and len(one & other) == 4
    for colluder in SITES:
        assert shown(BIPLANE, [colluder]) == set(SITES) - {colluder}


def test_of_the_biplane_a_site_opens_so_few_sets_that_none_is_shown() -> None:
    kept = [item.sites for item in accepted(BIPLANE)]
    assert len(kept) < 3
    for colluder in SITES:
        assert not shown(kept, [colluder])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from(SITES), min_size=3), max_size=8), st.integers(1, 3), st.data())
def test_whatever_is_opened_shows_no_site_to_as_many_as_may_collude(sets, colluding, data) -> None:
    kept = [item.sites for item in accepted([item for item in sets if len(item) >= colluding + 2], colluding)]
    known = data.draw(st.lists(st.sampled_from(SITES), max_size=colluding, unique=True))
    assert not shown(kept, known)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.frozensets(st.sampled_from(SITES), min_size=1), min_size=1, max_size=6))
def test_atoms_are_a_partition_and_every_set_is_made_of_them(sets) -> None:
    found = atoms(sets)
    assert sorted(site for atom in found for site in atom) == sorted(frozenset().union(*sets))
    assert all(atom <= sites or not atom & sites for atom in found for sites in sets)
    for one, other in combinations(found, 2):
        assert any((one <= sites) != (other <= sites) for sites in sets), "two atoms that no set tells apart"


@pytest.mark.parametrize(
    ("kept", "new", "colluding", "allowed"),
    [
        ("", "abc", 1, True),
        ("", "ab", 1, False),
        ("abcd", "abcd", 1, True),
        ("abcd", "abc", 1, False),  # d is shown
        ("abcd", "abcde", 1, False),  # a new member is
        ("abcdef", "abc", 1, True),
        ("abcdef", "abcd", 1, False),  # e and f: one that colludes shows the other
        ("abcdef", "abcdefghi", 1, True),
        ("abcdef", "abc", 2, False),
        ("abcdefgh", "abcd", 2, True),
        ("abcdef", "ghijkl", 1, True),
    ],
)
def test_the_rule_by_hand(kept, new, colluding, allowed) -> None:
    before = [KeptSet(frozenset(kept), 1)] if kept else []
    assert is_allowed(before, KeptSet(frozenset(new), colluding)) is allowed


def test_the_largest_number_that_may_collude_in_any_study_counts() -> None:
    kept = [KeptSet(frozenset("abcdef"), 2)]
    assert not is_allowed(kept, KeptSet(frozenset("abc"), 1))
    assert is_allowed(kept, KeptSet(frozenset("abcdef"), 1))


@pytest.mark.parametrize(
    ("kept", "new", "apart"),
    [
        ((), "abc", True),
        ((), "ab", False),
        (("abcd",), "abcd", True),
        (("abc", "abcd"), "abc", True),  # a person allowed the second
        (("abcdef",), "abc", False),  # a partition would allow it
        (("abcdef",), "abcdefghi", False),
        (("abc", "def"), "abcdef", False),
        (("abcdef",), "fgh", False),
        (("abcdef",), "ghi", True),
        (("abcdef",), "gh", False),
    ],
)
def test_of_what_all_add_a_site_is_in_one_set(kept, new, apart) -> None:
    assert is_apart([KeptSet(frozenset(sites), 1) for sites in kept], KeptSet(frozenset(new), 1)) is apart


SETS = st.frozensets(st.sampled_from(SITES), min_size=4)  # t of c + 2 and more


@settings(max_examples=100, deadline=None)
@given(st.lists(SETS, max_size=12), st.frozensets(st.sampled_from(SITES), max_size=2))
def test_what_all_add_shows_no_site_to_colluders_whatever_each_site_knows(sets, colluding) -> None:
    """Each honest site holds a new set against those that it was in; the colluders agree to any. Two may collude."""
    kept: dict[str, list[KeptSet]] = {site: [] for site in SITES}
    opened = []
    for sites in sets:
        honest = sites - colluding
        if all(is_apart(kept[site], KeptSet(sites, 2)) for site in honest):
            opened.append(sites)
            for site in honest:
                kept[site].append(KeptSet(sites, 2))
    assert not shown(opened, sorted(colluding))


def test_the_records_of_the_sites_open_so_few_sets_of_the_biplane_that_none_is_shown(tmp_path) -> None:
    """A scripted coordinator asks for the sums of a modality that other sites have each time, over the same twelve;
    all of them have to agree, from what each keeps on disk.
    """
    records = {site: SumRecords(tmp_path / site) for site in SITES}
    keys, opened = {site: site for site in SITES}, []
    for number, sites in enumerate(BIPLANE):
        having = {site: site for site in sites}
        asked = Asked((f"question {number}",), {"shared": keys, "chart": having}, 1)
        try:
            for site in SITES:
                records[site].require_allowed(asked, SITES)
        except AnsweredError:
            continue
        opened.append(sites)
        for site in SITES:
            records[site].confirming(asked, SITES)
    assert opened[0] == BIPLANE[0]
    for colluder in SITES:
        assert not shown(opened, [colluder])
