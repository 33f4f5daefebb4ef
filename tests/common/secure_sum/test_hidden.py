"""Hidden: one site's vector looks uniform, and all that the coordinator has opens the sum and no part of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from common.errors import SecureSumError, WardroundError
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.key_agreement import MaskKey
from common.secure_sum.masking import adds, cut, encrypt, key_stream, pairwise_mask_key, self_mask_key
from common.secure_sum.messages import Reveal
from common.secure_sum.packing import unpack
from common.secure_sum.secret_sharing import combine
from tests.support.secure_sum import PLAN, Consortium, add_up, apply_masks, names

LENGTH = 40_000
SIGMAS = 6  # chance of a false alarm: about one in a billion for each figure


def looks_uniform(words: np.ndarray, bits: int) -> bool:
    """Chi-square of the lowest and the highest byte, balance of every bit, and of neighbours."""
    return all(
        [
            _even(words & np.uint32(0xFF), 256),
            _even(words >> np.uint32(bits - 8), 256),
            _even(((words >> np.uint32(bits - 4)) << np.uint32(4))[:-1] | words[1:] >> np.uint32(bits - 4), 256),
            *(_even(words >> np.uint32(bit) & np.uint32(1), 2) for bit in range(bits)),
        ]
    )


def _even(values: np.ndarray, kinds: int) -> bool:
    """Chi-square with kinds - 1 degrees of freedom, by its normal approximation (Wilson and Hilferty)."""
    expected, freedom = values.size / kinds, kinds - 1
    chi_square = float(np.sum((np.bincount(values, minlength=kinds) - expected) ** 2) / expected)
    spread = 2 / (9 * freedom)
    return ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < SIGMAS


def test_the_test_for_uniformity_sees_what_is_not() -> None:
    rng = np.random.default_rng(0)
    fair = rng.integers(0, 1 << 20, LENGTH, dtype=np.uint32)
    assert looks_uniform(fair, 20)
    for unfair in (fair // 2, fair & np.uint32(0xFFFFE), np.sort(fair), np.where(fair % 17 == 0, 0, fair), fair * 0):
        assert not looks_uniform(unfair.astype(np.uint32), 20)


@pytest.mark.parametrize("bits", [16, 19, 20, 24, 32])
@pytest.mark.parametrize("update", ["zeros", "largest", "small"])
def test_a_masked_vector_looks_uniform_whatever_the_update(bits: int, update: str) -> None:
    group = Consortium(3, LENGTH, bits=bits).until("mask")
    words = {
        "zeros": np.zeros(LENGTH, dtype=np.uint32),
        "largest": np.full(LENGTH, (1 << bits) - 1, dtype=np.uint32),
        "small": np.random.default_rng(1).integers(0, 50, LENGTH, dtype=np.uint32),
    }[update]
    _, packed = group.sites["site_01"].mask(PLAN, group.half.offers, words)
    seen = unpack(packed.tobytes(), bits, LENGTH)
    assert looks_uniform(seen, bits)
    difference = (seen - words) & np.uint32((1 << bits) - 1)
    assert looks_uniform(difference, bits)


def test_the_same_update_twice_has_masks_with_nothing_in_common() -> None:
    words = np.zeros(LENGTH, dtype=np.uint32)
    seen = []
    for _ in range(2):
        group = Consortium(3, LENGTH).until("mask")
        uploads = [group.sites[name].mask(PLAN, group.half.offers, words) for name in names(2)]
        seen += [unpack(packed.tobytes(), 32, LENGTH) for _, packed in uploads]
    for one, other in itertools.combinations(seen, 2):
        assert looks_uniform(one - other, 32) and looks_uniform(one + other, 32)


# ------------------------------------------------------------------------------------- a coordinator that kept it all


class Keeper:
    """Everything that crossed the coordinator's hands in a sum, late vectors included, and its best use of it."""

    def __init__(self, group: Consortium, late: Iterable[str] = ()) -> None:
        self.context, self.words, self.group = group.context, group.words, group
        group.until("mask")
        self.offers = {offer.name: offer for offer in group.half.offers}
        self.vectors: dict[str, np.ndarray] = {}
        for name in group.there("mask"):
            self.take(name, group.half)
        group.confirm()
        self.survivors = group.half.survivors
        for name in late:
            self.take(name, None)
        self.reveals: list[Reveal] = [group.sites[n].reveal(group.half.confirmations) for n in self.survivors]

    def take(self, name: str, half: CoordinatorSum | None) -> None:
        head, packed = self.group.sites[name].mask(PLAN, self.group.half.offers, self.words[name])
        self.vectors[name] = unpack(packed.tobytes(), self.context.bits, head.count)
        self.transcript = head.transcript
        if half is not None:
            half.add_masked(head, packed)

    def shares(self, dealer: str, part: str) -> dict[int, bytes]:
        return {
            self.context.place(reveal.name): item.share
            for reveal in self.reveals
            for item in getattr(reveal, part)
            if item.dealer == dealer
        }

    def rebuilt(self, dealer: str, part: str) -> object:
        shares = sorted(self.shares(dealer, part).items())[: self.context.threshold]
        return combine(dict(shares))

    def best_guess(self, subset: Iterable[str]) -> np.ndarray:
        """Add the subset's vectors, and take off every mask whose key can be derived from what was revealed."""
        subset, plus, minus, vectors = list(subset), [], [], []
        for name in subset:
            vector = self.vectors[name].copy()
            if self.shares(name, "seeds"):
                own = self_mask_key(self.rebuilt(name, "seeds"), self.transcript, name)  # type: ignore[arg-type]
                encrypt(key_stream(own, 0), self.vectors[name], vector)
            vectors.append(vector)
            for peer in self.offers:
                known = next((n for n in (peer, name) if self.shares(n, "keys")), None)
                if peer not in subset and known is not None:
                    key = MaskKey(self.rebuilt(known, "keys"))  # type: ignore[arg-type]
                    other = name if known == peer else peer
                    mask = pairwise_mask_key(key, known, other, self.offers[other].mask_key, self.transcript)
                    (plus if adds(name, peer) else minus).append(mask)
        total = add_up(vectors, 32)
        apply_masks(total, minus, plus)
        cut(total, self.context.bits)
        return total


def test_the_keeper_can_open_the_sum_itself() -> None:
    """The attack below is a real one: on the whole of U2 it gives the sum."""
    keeper = Keeper(Consortium(6, 50, leave={"site_04": "mask", "site_05": "mask"}))
    assert np.array_equal(keeper.best_guess(keeper.survivors), keeper.group.plain())


def test_no_smaller_subset_can_be_unmasked() -> None:
    keeper = Keeper(Consortium(5, LENGTH, leave={"site_04": "mask"}))
    for size in range(1, len(keeper.survivors)):
        for subset in itertools.combinations(keeper.survivors, size):
            guess = keeper.best_guess(subset)
            true = add_up([keeper.words[name] for name in subset], 32)
            assert looks_uniform(guess, 32)
            assert looks_uniform(guess - true, 32)


def test_of_each_site_only_one_secret_can_be_rebuilt() -> None:
    keeper = Keeper(Consortium(6, 3, leave={"site_05": "mask"}))
    for name in keeper.offers:
        open_part, closed_part = ("seeds", "keys") if name in keeper.survivors else ("keys", "seeds")
        assert len(keeper.shares(name, open_part)) >= keeper.context.threshold
        assert keeper.shares(name, closed_part) == {}


def test_one_reveal_short_no_secret_can_be_rebuilt() -> None:
    keeper = Keeper(Consortium(6, 3, leave={"site_05": "mask"}))
    keeper.reveals = keeper.reveals[: keeper.context.threshold - 1]
    for name, part in [(name, "seeds") for name in keeper.survivors] + [("site_05", "keys")]:
        with pytest.raises(SecureSumError):
            keeper.rebuilt(name, part)


def test_a_vector_that_comes_after_its_key_was_revealed_stays_closed() -> None:
    """The coordinator has the late site's `sk`, so every pairwise mask; its self mask remains."""
    keeper = Keeper(Consortium(5, LENGTH, leave={"site_04": "mask"}), late=["site_04"])
    guess = keeper.best_guess(["site_04"])
    assert keeper.shares("site_04", "keys") and not keeper.shares("site_04", "seeds")
    assert looks_uniform(guess, 32) and looks_uniform(guess - keeper.words["site_04"], 32)
    together = keeper.best_guess([*keeper.survivors, "site_04"])
    assert looks_uniform(together - add_up(keeper.words.values(), 32), 32)


def test_an_opened_sum_leaves_no_vector_and_no_secret_at_the_coordinator() -> None:
    group = Consortium(4, LENGTH, leave={"site_03": "mask"}).until("open")
    group.half.open()
    left = repr(vars(group.half))
    assert "MaskedVector" not in left and "Secret" not in left and "Reveal(" not in left
    assert group.half._vectors == {}


def test_no_error_and_no_repr_has_a_value_of_a_vector() -> None:
    """A value that is easy to find, put through every refusal that has a vector at hand."""
    group = Consortium(4, 100, bits=32)
    secret = 3_141_592_653
    for words in group.words.values():
        words[:] = secret
    group.until("mask")
    site, offers, half = group.sites["site_00"], group.half.offers, group.half
    texts = []

    def refused(act: object, *arguments: object) -> None:
        with pytest.raises(WardroundError) as refusal:
            act(*arguments)  # type: ignore[operator]
        assert refusal.value.__cause__ is None
        texts.append(str(refusal.value))

    refused(site.mask, PLAN, offers, group.words["site_00"].astype(np.float64))
    refused(site.mask, PLAN, offers[:2], group.words["site_00"])
    masked, packed = site.mask(PLAN, offers, group.words["site_00"])
    refused(site.mask, bytes(32), offers, group.words["site_00"])
    refused(half.add_masked, replace(masked, count=99), packed)
    refused(half.add_masked, masked, packed[1:])
    refused(half.add_masked, replace(masked, transcript=bytes(32)), packed)
    half.add_masked(masked, packed)
    refused(half.add_masked, masked, packed)
    refused(half.open)
    texts += [repr(masked), repr(site), repr(half), repr(offers)]
    hidden = [str(secret), hex(secret)[2:], secret.to_bytes(4, "little").hex(), packed[:8].tobytes().hex()]
    for text, value in itertools.product(texts, hidden):
        assert value not in text
