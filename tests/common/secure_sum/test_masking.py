"""Masks: the published cipher, the same bytes for every block size, and keys that change with everything they name."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from common.secure_sum.key_agreement import MaskKey
from common.secure_sum.masking import BLOCK_WORDS, apply_masks, cut, pairwise_mask_key, self_mask_key
from common.secure_sum.secret import Secret

KEY = bytes(range(32))

# Made once, with AES in ECB mode over counted blocks: SHA-256 of the first words under KEY, each cut to the width and
# written as 4 bytes, little endian.
GOLDEN_COUNT = 3 * BLOCK_WORDS + 12_345
GOLDEN = {
    16: "a7d179d1d4b7e065c0de876815f4f883fda6c87c7fc1ae54f31933a852bbdce4",
    19: "cabcab2303db8354825b3c635c541e1c98768fd4d0a88a6aab8c4d4f9527521e",
    20: "3557e86646c1cd935b5745132f7adefa65d593ec04fd61fde871acb470cd37b4",
    24: "90e0a96788b251c7fdd533367a0169e63bc905fa8456c271ce355d084ba55d1c",
    32: "a86c94183597c8c03f892c90a96a9c9289e00c91b355f4d7c7565512208af1cb",
}


def stream(key: bytes, count: int, block: int = BLOCK_WORDS) -> np.ndarray:
    words = np.zeros(count, dtype=np.uint32)
    apply_masks(words, [Secret(key)], [], block)
    return words


def test_first_block_is_the_published_one() -> None:
    """AES-256 of a zero block under a zero key: H of test case 13 of the GCM specification (McGrew and Viega)."""
    assert stream(bytes(32), 4).astype("<u4").tobytes().hex() == "dc95c078a2408989ad48a21492842087"


def test_stream_is_aes_over_a_counter_from_zero() -> None:
    counted = b"".join(number.to_bytes(16, "big") for number in range(300))
    encryptor = Cipher(AES(KEY), ECB()).encryptor()
    assert stream(KEY, 1200).astype("<u4").tobytes() == encryptor.update(counted)


@pytest.mark.parametrize("bits", GOLDEN)
def test_golden_stream(bits: int) -> None:
    words = stream(KEY, GOLDEN_COUNT)
    cut(words, bits)
    assert hashlib.sha256(words.astype("<u4").tobytes()).hexdigest() == GOLDEN[bits]


@pytest.mark.parametrize("block", [1, 3, 16, 1000, 4096, 65_535, 65_536, 1 << 20])
def test_block_size_changes_nothing(block: int) -> None:
    count = 70_001 if block > 100 else 5_001
    assert np.array_equal(stream(KEY, count, block), stream(KEY, count))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 300),
    st.integers(1, 64),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
)
def test_plus_and_minus_are_sums_in_the_ring(count: int, block: int, plus: list[bytes], minus: list[bytes]) -> None:
    start = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
    words = start.copy()
    apply_masks(words, [Secret(key) for key in plus], [Secret(key) for key in minus], block)
    expected = start.astype(object)
    for key in plus:
        expected = expected + stream(key, count).astype(object)
    for key in minus:
        expected = expected - stream(key, count).astype(object)
    assert words.tolist() == [int(value) % 2**32 for value in expected]
    apply_masks(words, [Secret(key) for key in minus], [Secret(key) for key in plus])
    assert np.array_equal(words, start)


@pytest.mark.parametrize("bits", range(16, 33))
def test_cutting_the_sum_is_summing_what_was_cut(bits: int) -> None:
    keys = [bytes([i]) * 32 for i in range(3)]
    words = np.zeros(100, dtype=np.uint32)
    apply_masks(words, [Secret(key) for key in keys], [])
    cut(words, bits)
    small = sum((stream(key, 100) & np.uint32((1 << bits) - 1)).astype(object) for key in keys)
    assert words.tolist() == [int(value) % (1 << bits) for value in small]


def test_a_pair_derives_one_key_from_either_side() -> None:
    first, second, agreed = MaskKey.generate(), MaskKey.generate(), bytes(32)
    one = pairwise_mask_key(first, "a", "b", second.public, agreed)
    other = pairwise_mask_key(second, "b", "a", first.public, agreed)
    assert bytes(one.expose()) == bytes(other.expose())


def test_every_input_changes_the_key() -> None:
    mine, peers, seed = MaskKey.generate(), [MaskKey.generate() for _ in range(2)], Secret.random(32)
    agreed = [bytes(32), bytes(31) + b"\1"]
    keys = [
        pairwise_mask_key(mine, name, peer, key.public, transcript)
        for (name, peer), key, transcript in itertools.product(
            [("a", "bc"), ("ab", "c"), ("a", "c"), ("b", "bc")], peers, agreed
        )
    ]
    keys += [self_mask_key(seed, transcript, name) for transcript in agreed for name in ("a", "b", "ab")]
    keys += [self_mask_key(Secret.random(32), agreed[0], "a")]
    exposed = {bytes(key.expose()) for key in keys}
    assert len(exposed) == len(keys)
    assert {len(key) for key in exposed} == {32}
