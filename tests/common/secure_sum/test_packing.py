"""Packing: exact size, exact bytes, back again, and nothing hidden in the bits left over."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import SecureSumError
from common.secure_sum import packing
from common.secure_sum.packing import pack, pack_into, unpack

COUNTING = np.arange(1, 10, dtype=np.uint32)
PATTERN = (np.arange(100_003, dtype=np.uint64) * 2654435761 % 2**32).astype(np.uint32)  # an odd length, many blocks

# Made once, bit by bit, without the code under test. First: the numbers 1 to 9; second: SHA-256 of PATTERN, cut.
GOLDEN = {
    16: (
        "010002000300040005000600070008000900",
        "383211470d323b5dff565a87106bd6c8de136432d0eff05b2e160ca180609299",
    ),
    19: (
        "01001000c00000080050000003001c00000100090000",
        "c3e9febcc7a181dd67a6e05c338b4e3859c7b5df12c3149a47ab3c21f096f213",
    ),
    20: (
        "0100200000030040000005006000000700800000090000",
        "2f2186765be9267359886652d5e948497f6ef5d0c0bf99c2ed3ef74aab44cb23",
    ),
    24: (
        "010000020000030000040000050000060000070000080000090000",
        "89624b6639988e45afbe1647fa70cddb0e7960bf0bfa544862d805de00940b5a",
    ),
    32: (
        "010000000200000003000000040000000500000006000000070000000800000009000000",
        "0bbd88095d9931f4c398fc0df63a8b90b4d286884cfe57a60f57bfd4925d2c4e",
    ),
}


def reference(words: list[int], bits: int) -> bytes:
    """By one big integer: word i from bit i * bits."""
    number = sum(word << (i * bits) for i, word in enumerate(words))
    return number.to_bytes((len(words) * bits + 7) // 8, "little")


def cut(words: np.ndarray, bits: int) -> np.ndarray:
    return words & np.uint32((1 << bits) - 1)


@pytest.mark.parametrize("bits", GOLDEN)
def test_golden_bytes(bits: int) -> None:
    counting, pattern = GOLDEN[bits]
    assert pack(COUNTING, bits).hex() == counting
    assert hashlib.sha256(pack(cut(PATTERN, bits), bits)).hexdigest() == pattern


@settings(deadline=None)
@given(st.integers(16, 32), st.lists(st.integers(0, 2**32 - 1), max_size=70))
def test_pack_is_the_big_integer_and_comes_back(bits: int, values: list[int]) -> None:
    words = cut(np.array(values, dtype=np.uint32), bits)
    data = pack(words, bits)
    assert data == reference(words.tolist(), bits)
    assert np.array_equal(unpack(data, bits, len(values)), words)


@pytest.mark.parametrize("bits", range(16, 33))
@pytest.mark.parametrize("count", [0, 1, 16_383, 16_384, 16_385, 50_001])
def test_block_borders(bits: int, count: int) -> None:
    words = cut(PATTERN[:count], bits)
    data = pack(words, bits)
    assert len(data) == (count * bits + 7) // 8
    assert np.array_equal(unpack(data, bits, count), words)


@pytest.mark.parametrize("bits", [17, 19, 20, 24, 28])
def test_block_size_changes_nothing(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = cut(PATTERN[:10_001], bits)
    expected = pack(words, bits)
    monkeypatch.setattr(packing, "_BLOCK", 8 * 31)
    assert pack(words, bits) == expected
    assert np.array_equal(unpack(expected, bits, words.size), words)


@pytest.mark.parametrize("bits", [16, 19, 24, 31, 32])
def test_words_from_another_byte_order_or_stride_pack_alike(bits: int) -> None:
    words = cut(PATTERN[:99], bits)
    expected = pack(words, bits)
    assert pack(np.repeat(words, 2)[::2], bits) == expected
    octets = np.empty(len(expected), dtype=np.uint8)
    pack_into(octets, 0, words.astype(">u4"), bits)
    assert octets.tobytes() == expected


@pytest.mark.parametrize("bits", range(16, 33))
def test_wrong_lengths_are_refused(bits: int) -> None:
    data = pack(cut(PATTERN[:9], bits), bits)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(SecureSumError):
            unpack(wrong, bits, 9)
    with pytest.raises(SecureSumError):
        unpack(data, bits, -1)


@pytest.mark.parametrize("bits", [bits for bits in range(16, 33) if 9 * bits % 8])
def test_bits_after_the_last_word_are_refused(bits: int) -> None:
    data = bytearray(pack(cut(PATTERN[:9], bits), bits))
    for bit in range(9 * bits % 8, 8):
        data[-1] ^= 1 << bit
        with pytest.raises(SecureSumError):
            unpack(bytes(data), bits, 9)
        data[-1] ^= 1 << bit


@pytest.mark.parametrize("bits", [15, 33, 0, -1])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(SecureSumError):
        pack(COUNTING, bits)
    with pytest.raises(SecureSumError):
        unpack(b"", bits, 0)


@pytest.mark.parametrize("bits", [16, 19, 20, 31])
def test_words_that_do_not_fit_are_refused_without_their_value(bits: int) -> None:
    for size in (1, 20_000):
        words = np.zeros(size, dtype=np.uint32)
        words[-1] = (1 << bits) + 12_345
        with pytest.raises(SecureSumError) as refusal:
            pack(words, bits)
        assert str((1 << bits) + 12_345) not in str(refusal.value) and "12345" not in str(refusal.value)


@pytest.mark.parametrize("words", [np.zeros(3), np.zeros(3, dtype=np.int32), np.zeros((3, 1), dtype=np.uint32), [1, 2]])
def test_words_of_another_type_are_refused(words: np.ndarray) -> None:
    with pytest.raises(SecureSumError):
        pack(words, 32)
