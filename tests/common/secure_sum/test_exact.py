"""Exact: whoever vanishes, as long as t stay, the opened sum is the sum over U2, bit for bit. With fewer, none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import TooFewSitesError
from common.secure_sum.fixed_point import FixedPoint
from common.secure_sum.thresholds import smallest_threshold
from common.summand import Layout, Segment
from tests.support.secure_sum import LEGS, Consortium, names


def patterns(count: int) -> Iterator[Mapping[str, str]]:
    """Every way in which up to |R| - t sites fall silent, each with any leg."""
    for away in range(count - smallest_threshold(count, 1) + 1):
        for who in itertools.combinations(names(count), away):
            for legs in itertools.product(LEGS, repeat=away):
                yield dict(zip(who, legs, strict=True))


@pytest.mark.parametrize(
    ("count", "expected"), [(3, 1), (4, 17), (5, 21), pytest.param(6, 265, marks=pytest.mark.soak)]
)
def test_every_pattern_of_dropouts(count: int, expected: int) -> None:
    tried = 0
    for seed, leave in enumerate(patterns(count)):
        group = Consortium(count, 3, bits=19, seed=seed, leave=leave)
        opened = group.open()
        stayed = [name for name in group.sites if leave.get(name) not in ("offer", "mask")]
        assert list(group.half.survivors) == stayed
        assert opened.dtype == np.uint32
        assert np.array_equal(opened, group.plain())
        tried += 1
    assert tried == expected


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_random_sums(data: st.DataObject) -> None:
    """Sizes, thresholds, widths, odd lengths, dropouts, orders of arrival."""
    count = data.draw(st.sampled_from([3, 5, 7, 10]))
    threshold = data.draw(st.integers(smallest_threshold(count, 1), count))
    away = data.draw(st.lists(st.sampled_from(names(count)), max_size=count - threshold, unique=True))
    leave = {name: data.draw(st.sampled_from(LEGS)) for name in away}
    group = Consortium(
        count,
        data.draw(st.integers(0, 40)),
        bits=data.draw(st.sampled_from([16, 19, 20, 24, 32])),
        threshold=threshold,
        number=data.draw(st.integers(0, 2**63 - 2)),
        seed=data.draw(st.integers(0, 2**32)),
        leave=leave,
    )
    assert np.array_equal(group.open(), group.plain())


@pytest.mark.parametrize(("count", "seed"), [(10, 1), (10, 2), (10, 3), (10, 4), (30, 5), (30, 6)])
def test_large_consortia(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    away = rng.permutation(names(count))[: count - smallest_threshold(count, 1)]
    leave = {str(name): str(rng.choice(LEGS)) for name in away}
    group = Consortium(count, 101, bits=(16, 24, 32)[seed % 3], seed=seed, leave=leave)
    assert np.array_equal(group.open(), group.plain())


@pytest.mark.parametrize("bits", [16, 19, 20, 24, 32])
def test_vectors_of_many_blocks(bits: int) -> None:
    group = Consortium(4, 200_003, bits=bits, leave={"site_02": "mask"})
    assert np.array_equal(group.open(), group.plain())


@pytest.mark.parametrize("value", [0, 1, 2**16 - 1])
def test_extreme_words(value: int) -> None:
    group = Consortium(4, 9, bits=16)
    for words in group.words.values():
        words[:] = value
    assert group.open().tolist() == [4 * value % 2**16] * 9


def test_real_numbers_end_to_end() -> None:
    """Five sites' values, one lost: the decoded sum is that of the remaining four, to within a step each."""
    layout = Layout((Segment("update/shared", 33, 4.0), Segment("cases", 1, 10_000.0)))
    group = Consortium(5, layout.length, leave={"site_03": "mask"})
    fixed, rng = FixedPoint(layout, bits=32, sites=5), np.random.default_rng(8)
    values = {name: np.append(rng.uniform(-4, 4, 33), rng.integers(1, 10_000)) for name in group.sites}
    group.words = {name: fixed.encode(vector, [len(name), i]) for i, (name, vector) in enumerate(values.items())}
    summed = layout.part(fixed.decode(group.open()))
    expected = layout.part(sum(values[name] for name in group.half.survivors))
    assert summed["cases"] == expected["cases"]
    assert np.all(np.abs(summed["update/shared"] - expected["update/shared"]) < 4 * fixed.resolution()["update/shared"])


@pytest.mark.parametrize("leg", LEGS)
@pytest.mark.parametrize("count", [3, 6])
def test_one_too_few_opens_nothing(leg: str, count: int) -> None:
    threshold = smallest_threshold(count, 1)
    away = names(count)[: count - threshold + 1]
    with pytest.raises(TooFewSitesError) as refusal:
        Consortium(count, leave=dict.fromkeys(away, leg)).open()
    assert f"{threshold - 1} " in str(refusal.value) and str(threshold) in str(refusal.value)


def test_dropouts_over_several_legs_add_up() -> None:
    away = {"site_00": "offer", "site_01": "confirm", "site_02": "reveal"}
    with pytest.raises(TooFewSitesError):
        Consortium(6, leave=away).open()


def test_a_late_reveal_opens_what_was_one_short() -> None:
    group = Consortium(6).until("reveal")
    first, *others = (site.reveal(group.half.confirmations) for site in list(group.sites.values())[:4])
    for reveal in others:
        group.half.add_reveal(reveal)
    with pytest.raises(TooFewSitesError):
        group.half.open()
    group.half.add_reveal(first)
    assert np.array_equal(group.half.open(), group.plain())
