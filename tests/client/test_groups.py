"""The groups that sums of two cuts show, held against weights drawn at random."""

from __future__ import annotations

from collections import Counter

from hypothesis import example, given
from hypothesis import strategies as st

from client.exact_sums.groups import NOWHERE, Flows, groups

PARTS = ("train", "validation", "test")
WAYS = [(was, now) for was in (*PARTS, NOWHERE) for now in (*PARTS, NOWHERE) if was or now]
WEIGHT = st.integers(-2, 2)
FLOWS = st.dictionaries(st.sampled_from(WAYS), st.integers(1, 30)).map(Counter)


def whole(flows: Flows) -> set[int]:
    """The sizes of the parts of each cut, which its own sums show."""
    sizes = Counter[tuple[str, str]]()
    for (was, now), number in flows.items():
        sizes["was", was] += number
        sizes["now", now] += number
    return {number for (_, part), number in sizes.items() if part != NOWHERE}


@given(FLOWS, st.tuples(WEIGHT, WEIGHT, WEIGHT), st.tuples(WEIGHT, WEIGHT, WEIGHT))
@example(Counter({("validation", "test"): 10, ("test", "test"): 20, (NOWHERE, "test"): 1}), (0, -1, -1), (0, 1, 1))
@example(Counter({("validation", "test"): 10, ("validation", "validation"): 1}), (0, 1, 0), (0, 0, -1))
def test_no_weights_show_fewer_than_the_smallest_group_or_part(flows: Flows, then, now) -> None:
    then, now = (dict(zip(PARTS, weights, strict=True)) | {NOWHERE: 0} for weights in (then, now))
    counted = Counter[bool]()
    for (was, is_now), number in flows.items():
        if weight := then[was] + now[is_now]:
            counted[weight > 0] += number
    assert all(size >= min(groups(flows) | whole(flows)) for size in counted.values())


@given(FLOWS)
def test_each_group_is_shown_by_some_weights(flows: Flows) -> None:
    """Nobody is refused for a group that no sums show: each is of those who cross a boundary one way."""
    ways = range(1 << 6)
    found = set[int]()
    for chosen in ways:
        inside = {
            (cut, part)
            for place, (cut, part) in enumerate((c, p) for c in (0, 1) for p in PARTS)
            if chosen >> place & 1
        }
        signs = [(((0, was) in inside) - ((1, now) in inside), number) for (was, now), number in flows.items()]
        found |= {sum(number for sign, number in signs if sign == one) for one in (1, -1)}
    assert groups(flows) <= found


def test_who_changes_parts_is_in_the_group_of_the_part_and_of_all() -> None:
    assert groups(Counter({("validation", "test"): 10, (NOWHERE, "test"): 1})) == {1, 10, 11}
    assert groups(Counter()) == set()


def test_a_part_that_is_small_and_cut_alike_is_no_group_of_the_difference() -> None:
    """Its own sum would show as much, and is given or not for that."""
    flows = Counter({("train", "train"): 50, ("test", "test"): 3, ("train", "validation"): 10})
    assert groups(flows) == {10, 50}


def test_few_are_hidden_by_five_times_the_smallest_group_and_not_by_one_less() -> None:
    others = {(NOWHERE, "test"): 3, ("test", "train"): 400, ("validation", "test"): 400}
    assert 3 not in groups(Counter(others | {("validation", NOWHERE): 50}), 10)
    assert 3 in groups(Counter(others | {("validation", NOWHERE): 49}), 10)


def test_as_many_as_the_smallest_group_are_told_beside_whatever_others() -> None:
    """They are shown with a person's word, who is told of them and not of the many beside."""
    flows = {(NOWHERE, "test"): 10, ("test", "train"): 400, ("validation", "test"): 400, ("validation", NOWHERE): 50}
    assert min(groups(Counter(flows), 10)) == 10
