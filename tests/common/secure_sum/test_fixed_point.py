"""Fixed point: no sum wraps, rounding is unbiased and small, and what does not fit is refused without its value."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RangeError
from common.identity.secret import Secret
from common.secure_sum import fixed_point
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.masking import BLOCK_WORDS, SPAN_WORDS, mask_and_pack
from common.summand import Layout, Segment

OWN = Secret(bytes(32))
WIDTHS = (16, 19, 20, 24, 32)


def point(bound: float, length: int = 1, *, bits: int = 32, sites: int = 4) -> FixedPoint:
    return FixedPoint(Layout((Segment("update", length, bound),)), bits=bits, sites=sites)


@given(
    bound=st.floats(1e-20, 1e20),
    bits=st.integers(16, 32),
    sites=st.integers(1, 50),
)
def test_scale_is_the_largest_power_of_two_that_cannot_wrap(bound: float, bits: int, sites: int) -> None:
    fixed = point(bound, bits=bits, sites=sites)
    scale = Fraction(fixed.scale(fixed.layout.segments[0]))
    room = (1 << (bits - 1)) - 1
    assert scale.numerator == 1 or scale.denominator == 1
    assert math.log2(scale.numerator * scale.denominator).is_integer()
    assert sites * math.ceil(Fraction(bound) * scale) <= room
    assert sites * math.ceil(Fraction(bound) * scale * 2) > room


@settings(deadline=None)
@given(
    st.integers(16, 32),
    st.integers(2, 12),
    st.lists(st.tuples(st.integers(1, 9), st.floats(1e-6, 1e6)), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_sum_of_encodings_is_near_the_sum_of_values(
    bits: int, sites: int, shapes: list[tuple[int, float]], seed: int
) -> None:
    layout = Layout(tuple(Segment(f"part {i}", length, bound) for i, (length, bound) in enumerate(shapes)))
    fixed, rng = FixedPoint(layout, bits=bits, sites=sites), np.random.default_rng(seed)
    bounds = np.concatenate([np.full(length, bound) for length, bound in shapes])
    steps = np.concatenate([np.full(part.length, fixed.resolution()[part.name]) for part in layout.segments])
    vectors = [
        np.clip(rng.choice([-1.0, 1.0, 0.3, rng.uniform(-1, 1)]) * bounds, -bounds, bounds) for _ in range(sites)
    ]
    total = np.zeros(layout.length, dtype=np.uint32)
    for vector in vectors:
        words = fixed.encode(vector, [seed])
        assert words.dtype == np.uint32
        assert int(words.max()) < 1 << bits
        total = (total + words) & np.uint32((1 << bits) - 1)
    assert np.all(np.abs(fixed.decode(total) - np.sum(vectors, axis=0)) <= sites * steps)


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_site_at_its_bound_does_not_wrap(bits: int) -> None:
    for bound in (1.0, 0.3, 4.0, 3276.5, 1000 / 7):
        fixed = point(bound, 3, bits=bits, sites=10)
        extreme = np.array([bound, -bound, bound])
        total = sum(fixed.encode(extreme, [i]).astype(object) for i in range(10))
        decoded = fixed.decode(np.asarray(total % (1 << bits), dtype=np.uint32))
        assert np.allclose(decoded, 10 * extreme, atol=10 * fixed.resolution()["update"])


def test_integers_are_exact_where_there_is_room() -> None:
    fixed = point(10_000.0, 20_001, bits=32, sites=50)
    counts = np.arange(-10_000, 10_001, dtype=np.float64)
    for seed in range(3):
        assert np.array_equal(fixed.decode(fixed.encode(counts, [seed])), counts)


@pytest.mark.parametrize("draw", [0, 2**32 - 1])
@pytest.mark.parametrize(("bits", "sites"), [(32, 1), (32, 3), (32, 8), (24, 1), (16, 5)])
def test_the_extreme_draws_leave_integers_and_pass_no_integer(
    monkeypatch: pytest.MonkeyPatch, bits: int, sites: int, draw: int
) -> None:
    """Up to the largest integer of a site, where float64 has the fewest bits left for the fraction."""
    monkeypatch.setattr(fixed_point, "next_words", lambda stream, room: np.full(room.size, draw, dtype="<u4"))
    largest, up = (2 ** (bits - 1) - 1) // sites, 1 if draw else 0

    def rounded(values: np.ndarray) -> np.ndarray:
        fixed = point(float(largest), values.size, bits=bits, sites=sites)
        assert fixed.resolution() == {"update": 1.0}
        return fixed.decode(fixed.encode(values, [0]))

    integers = np.array([largest, largest - 1, largest // 2, 2**10, 1, 0], dtype=np.float64)
    integers = np.concatenate([integers, -integers])
    assert np.array_equal(rounded(integers), integers)
    for fraction in (2**-20, 0.25, 0.5, 1 - 2**-20):
        assert np.array_equal(rounded(integers[1:] + fraction), integers[1:] + up)
    below = integers[integers != -largest]
    assert np.array_equal(rounded(np.nextafter(below, -np.inf)), below - 1 + up)


def test_known_words() -> None:
    fixed = FixedPoint(Layout((Segment("a", 3, 4.0), Segment("b", 2, 1.0))), bits=16, sites=4)
    words = fixed.encode(np.array([4.0, -4.0, 0.0, 0.5, -1.0]), [0])
    assert fixed.resolution() == {"a": 1 / 1024, "b": 1 / 4096}
    assert words.tolist() == [4096, 65536 - 4096, 0, 2048, 65536 - 4096]


@pytest.mark.parametrize("bits", WIDTHS)
def test_rounding_is_unbiased(bits: int) -> None:
    """The mean error over a million draws is within 5 standard errors of nothing, at tiny and large values alike."""
    draws = 1_000_000
    for where in (0.37, -0.37, 0.999, -1e-3, 0.5):
        fixed = point(1.0, draws, bits=bits, sites=8)
        step = fixed.resolution()["update"]
        for value in (where * step, where / 2 + step / 3):  # within the first step, and far from zero
            errors = (fixed.decode(fixed.encode(np.full(draws, value), [bits])) - value) / step
            up = Fraction(value) / Fraction(step) % 1
            assert np.max(np.abs(errors)) < 1
            assert abs(errors.mean()) < 5 * math.sqrt(float(up * (1 - up)) / draws) + 1e-9
            assert len(np.unique(errors)) == 2


def test_the_test_for_bias_sees_dither_in_float32() -> None:
    """What is not done here: adding a float32 draw to a float32 value rounds twice, which shows from 20 bits on."""
    draws, rng, value = 1_000_000, np.random.default_rng(0), np.float32(2**21 + 0.37)
    dithered = np.floor(value + rng.random(draws, dtype=np.float32)) - float(value)
    up = float(value) % 1
    assert abs(dithered.mean()) > 5 * math.sqrt(up * (1 - up) / draws)


@pytest.mark.parametrize("bits", WIDTHS)
def test_the_measured_bias_over_many_values_is_nothing(bits: int) -> None:
    """Four million values of every size: the mean error, in steps, within 5 standard errors (0.0012 steps)."""
    draws = 4_000_000
    fixed, step = point(1.0, draws, bits=bits, sites=8), 0.0
    step = fixed.resolution()["update"]
    values = np.random.default_rng(bits).uniform(-1, 1, draws)
    errors = (fixed.decode(fixed.encode(values, [bits])) - values) / step
    assert abs(errors.mean()) < 5 * math.sqrt(1 / 6 / draws)
    assert abs(np.mean(errors * np.sign(values))) < 5 * math.sqrt(1 / 6 / draws), "neither towards zero nor away"


def test_rounding_follows_the_seed_and_nothing_else() -> None:
    fixed = point(1.0, 100_001, bits=16)
    vector = np.random.default_rng(5).uniform(-1, 1, 100_001)
    first = fixed.encode(vector, [1])
    assert np.array_equal(first, fixed.encode(vector.copy(), [1]))
    for other in ([2], [1, 0], [], [11]):
        assert not np.array_equal(first, fixed.encode(vector, other))


def test_words_do_not_depend_on_blocks_or_on_the_type_of_the_values() -> None:
    """float32 with a factor gives the words of the float64 products; any cut at a multiple of 4 gives the same."""
    layout = Layout((Segment("weight", 1, 40.0), Segment("update", 150_001, 160.0), Segment("counts", 7, 9.0)))
    fixed, rng = FixedPoint(layout, bits=24, sites=5), np.random.default_rng(3)
    update = rng.uniform(-4, 4, 150_001).astype(np.float32)
    values = {"weight": np.array([37.0]), "update": (update, 37.0), "counts": np.arange(7)}
    source, vector = fixed.words(layout.summand(values), [5, 6]), layout.join(values)
    whole = fixed.encode(vector, [5, 6])
    cuts = [0, *sorted(4 * rng.integers(1, 37_000, 9)), 150_009]
    for start, stop in itertools.pairwise(cuts):
        for begin in range(start, stop, 65_536):
            part = np.empty(min(65_536, stop - begin), dtype=np.uint32)
            source.write(begin, begin + part.size, part)
            assert np.array_equal(part, whole[begin : begin + part.size])


def test_words_do_not_depend_on_the_order_of_spans_or_on_asking_twice() -> None:
    fixed = point(1.0, 2 * SPAN_WORDS + BLOCK_WORDS + 1, bits=32)
    vector = np.random.default_rng(4).uniform(-1, 1, fixed.layout.length)
    source, whole = fixed.words(fixed.layout.summand(fixed.layout.part(vector)), [8]), fixed.encode(vector, [8])
    block = BLOCK_WORDS
    for start in (2 * SPAN_WORDS, 0, block, block, 2 * block, SPAN_WORDS, SPAN_WORDS + block, SPAN_WORDS - block, 0):
        part = np.empty(block, dtype=np.uint32)
        source.write(start, start + block, part)
        assert np.array_equal(part, whole[start : start + block])


@pytest.mark.parametrize("bits", [19, 32])
def test_rounding_does_not_depend_on_threads(bits: int) -> None:
    fixed = point(4.0, 2 * SPAN_WORDS + 5, bits=bits)
    update = np.random.default_rng(4).normal(0, 0.1, fixed.layout.length).astype(np.float32)
    summand = fixed.layout.summand({"update": (update, 3.0)})
    one, other = (mask_and_pack(fixed.words(summand, [1]), bits, [], [], OWN, threads) for threads in (1, 3))
    assert one.tobytes() == other.tobytes()


def test_a_vector_of_many_spans_rounds_each_value_with_its_own_bits() -> None:
    fixed = point(1.0, 2 * SPAN_WORDS + 5, bits=16)
    halves = np.full(fixed.layout.length, fixed.resolution()["update"] / 2)
    words = fixed.encode(halves, [0])
    first, second = words[:SPAN_WORDS], words[SPAN_WORDS : 2 * SPAN_WORDS]
    assert abs(int(np.sum(first == second)) - SPAN_WORDS / 2) < 5 * math.sqrt(SPAN_WORDS / 4)


@pytest.mark.parametrize(
    ("bits", "sites", "width"), [(16, 8, 19), (16, 3, 18), (20, 8, 23), (24, 9, 28), (32, 50, 32), (24, 1, 24)]
)
def test_a_word_has_room_for_the_sites(bits: int, sites: int, width: int) -> None:
    assert word_bits(bits, sites) == width


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1.5000000000000002, -7.65432e3])
def test_out_of_range_is_refused_without_a_value(wrong: float) -> None:
    fixed = FixedPoint(Layout((Segment("scores", 2, 9e9), Segment("update", 100_000, 1.5))), bits=32, sites=3)
    vector = np.full(fixed.layout.length, 0.7654321)
    vector[77_777] = wrong
    with pytest.raises(RangeError) as refusal:
        fixed.encode(vector, [0])
    text = str(refusal.value)
    assert "update" in text
    for value in ("0.765", "7654", "nan", "inf", "1.5", "77777"):
        assert value not in text.lower()
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("place", [0, SPAN_WORDS + 3, -1])
@pytest.mark.parametrize("wrong", [math.nan, -math.inf, 4.0000005])
def test_one_value_out_of_range_anywhere_stops_the_upload(wrong: float, place: int, threads: int) -> None:
    fixed = point(40.0, 2 * SPAN_WORDS + 5)
    update = np.full(fixed.layout.length, -4.0, dtype=np.float32)
    mask_and_pack(fixed.words(fixed.layout.summand({"update": (update, 10.0)}), [1]), 32, [], [], OWN, threads)
    update[place] = wrong
    with pytest.raises(RangeError, match="update"):
        mask_and_pack(fixed.words(fixed.layout.summand({"update": (update, 10.0)}), [1]), 32, [], [], OWN, threads)


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf, 10.000000000000002, -10.000000000000002, 1e308])
def test_a_weight_that_leaves_the_range_is_refused(factor: float) -> None:
    fixed = point(40.0, 3)
    for largest in (4.0, -4.0):
        values = np.array([0.0, largest, 0.0], dtype=np.float32)
        with pytest.raises(RangeError, match="update"):
            mask_and_pack(fixed.words(fixed.layout.summand({"update": (values, factor)}), [1]), 32, [], [], OWN)
        for allowed in (10.0, -10.0, 0.0):
            mask_and_pack(fixed.words(fixed.layout.summand({"update": (values, allowed)}), [1]), 32, [], [], OWN)


@pytest.mark.parametrize(
    "vector", [np.zeros(3), np.zeros((2, 1)), np.zeros(2, dtype=np.float32), np.zeros(2, dtype=np.int64)]
)
def test_vectors_of_other_shape_or_type_are_refused(vector: np.ndarray) -> None:
    with pytest.raises(RangeError):
        point(1.0, 2).encode(vector, [0])
    with pytest.raises(RangeError):
        point(1.0, 2).decode(vector)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_sum_that_no_sites_can_have_made_is_refused(bits: int) -> None:
    fixed = point(1.0, 2, bits=bits, sites=3)
    most = 3 * int(1 / fixed.resolution()["update"])
    for signed in (most, -most):
        fixed.decode(np.array([0, signed % (1 << bits)], dtype=np.uint32))
    for signed in (most + 1, -most - 1):
        with pytest.raises(RangeError):
            fixed.decode(np.array([0, signed % (1 << bits)], dtype=np.uint32))


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, 1e-300, 1e300])
def test_bounds_that_give_no_scale_are_refused(bound: float) -> None:
    with pytest.raises(RangeError):
        point(bound)


def test_width_and_number_of_sites_are_limited() -> None:
    for bits in (15, 33):
        with pytest.raises(RangeError):
            point(1.0, bits=bits)
    for sites in (0, 40_000):
        with pytest.raises(RangeError):
            point(1.0, bits=16, sites=sites)


def test_an_empty_vector_passes() -> None:
    fixed = FixedPoint(Layout(()), bits=32, sites=3)
    assert fixed.decode(fixed.encode(np.zeros(0), [0])).size == 0
