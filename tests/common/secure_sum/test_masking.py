"""Masks: the published cipher, the same bytes for every block size, and keys that change with everything they name."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RangeError, SecureSumError
from common.identity.secret import Secret
from common.secure_sum import masking
from common.secure_sum.key_agreement import MaskKey
from common.secure_sum.masking import (
    BLOCK_WORDS,
    SPAN_WORDS,
    ArrayWords,
    WordArray,
    add_packed,
    cut,
    encrypt,
    key_stream,
    mask_and_pack,
    pack_source,
    pairwise_mask_key,
    self_mask_key,
    stream_from,
    unmask_into,
)
from common.secure_sum.packing import unpack
from tests.support.secure_sum import apply_masks

KEY = bytes(range(32))
OWN = Secret(bytes(range(32, 64)))

COUNT = SPAN_WORDS + 3 * BLOCK_WORDS // 2 + 5  # more than a span, not a whole number of blocks

# Made once, with AES in ECB mode over counted blocks: SHA-256 of the first words under KEY, each cut to the width and
# written as 4 bytes, little endian.
GOLDEN_COUNT = SPAN_WORDS + 12_345
GOLDEN = {
    16: "83214b7dc08fe4bb97d083f6307dfac55dd90b94ba23798df9ea66ddfda5749d",
    19: "bc1fe19f3de92ab4453709b9fd7d11091df2db40e4af05d3388ec538183b9fa5",
    20: "ce8823aae48f49bc6d016f01c94fb7f2b541feac24a64eceae7f2073bb58de27",
    24: "29d6b3cd9ef75fe41a275daaaa74083e674c142023b3ab9b8297497294a46686",
    32: "d8b7417626924b4464a1c304f6d773df557dbbacbe0cc4ee69a9c51d97f20e5d",
}


def unmasked(
    vectors: Sequence[tuple[np.ndarray, Secret]],
    count: int,
    bits: int,
    plus: Sequence[Secret] = (),
    minus: Sequence[Secret] = (),
    threads: int = 1,
) -> np.ndarray:
    sink = WordArray(count)
    unmask_into(sink, vectors, bits, plus, minus, threads)
    return sink.words


def stream(key: bytes, count: int) -> np.ndarray:
    words = np.zeros(count, dtype=np.uint32)
    apply_masks(words, [Secret(key)], [])
    return words


def counted(key: bytes, count: int) -> np.ndarray:
    """The words of the definition: AES-256 of each counter block, by the primitive alone."""
    blocks = []
    for span in range(-(-count // SPAN_WORDS)):
        words = min(SPAN_WORDS, count - span * SPAN_WORDS)
        blocks += [span.to_bytes(12, "big") + (2 + i).to_bytes(4, "big") for i in range(-(-words // 4))]
    encryptor = Cipher(AES(key), ECB()).encryptor()
    return np.frombuffer(encryptor.update(b"".join(blocks)), dtype="<u4")[:count]


def test_first_block_is_the_published_one() -> None:
    """AES-256-GCM under a zero key and nonce, of a zero block: test case 14 of the GCM specification."""
    assert stream(bytes(32), 4).astype("<u4").tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@pytest.mark.parametrize("count", [1, 5, 1200, COUNT])
def test_stream_is_aes_over_counter_blocks(count: int) -> None:
    assert np.array_equal(stream(KEY, count), counted(KEY, count))


@pytest.mark.parametrize("start", [0, 4, 4000, SPAN_WORDS - 4, SPAN_WORDS, SPAN_WORDS + 65_536])
def test_a_stream_from_the_middle_is_the_same_stream(start: int) -> None:
    seen = np.frombuffer(stream_from(Secret(KEY), start).update(bytes(16)), dtype="<u4")
    assert np.array_equal(seen, counted(KEY, start + 4)[start:])


@pytest.mark.parametrize("bits", GOLDEN)
def test_golden_stream(bits: int) -> None:
    words = stream(KEY, GOLDEN_COUNT)
    cut(words, bits)
    assert hashlib.sha256(words.astype("<u4").tobytes()).hexdigest() == GOLDEN[bits]


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("bits", [19, 32])
def test_threads_change_nothing(threads: int, bits: int) -> None:
    words = np.random.default_rng(0).integers(0, 1 << bits, COUNT, dtype=np.uint64).astype(np.uint32)
    plus, minus = [Secret(bytes([i]) * 32) for i in range(2)], [Secret(bytes([9]) * 32)]
    packed = mask_and_pack(ArrayWords(words, bits), bits, plus, minus, OWN, threads)
    assert packed.tobytes() == mask_and_pack(ArrayWords(words, bits), bits, plus, minus, OWN).tobytes()
    assert np.array_equal(unmasked([(packed, OWN)], COUNT, bits, minus, plus, threads), words)


@pytest.mark.parametrize("block", [8, 1000, 4096, 65_536])
def test_block_size_changes_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    words = np.arange(50_001, dtype=np.uint32) % 99_991
    usual = mask_and_pack(ArrayWords(words, 20), 20, [Secret(KEY)], [], OWN)
    monkeypatch.setattr(masking, "BLOCK_WORDS", block)
    assert np.array_equal(mask_and_pack(ArrayWords(words, 20), 20, [Secret(KEY)], [], OWN), usual)
    assert np.array_equal(unmasked([(usual, OWN)], words.size, 20, [], [Secret(KEY)]), words)


def test_words_of_either_byte_order_are_masked_alike() -> None:
    """The stream is read as little endian wherever it is computed: by value, not by the machine's memory."""
    words = np.arange(1000, dtype=np.uint32)
    other = words.astype(">u4")
    apply_masks(other, [Secret(KEY)], [])  # type: ignore[arg-type]
    native = words.copy()
    apply_masks(native, [Secret(KEY)], [])
    assert np.array_equal(other.astype(np.uint32), native)
    encrypted, foreign = np.empty(1000, dtype="<u4"), np.empty(1000, dtype=">u4")
    encrypt(key_stream(OWN, 0), words, encrypted)
    encrypt(key_stream(OWN, 0), words.astype(">u4"), foreign)
    assert np.array_equal(encrypted, foreign)


@pytest.mark.parametrize("bits", [16, 19, 20, 24, 32])
@pytest.mark.parametrize("count", [1, 7, 1201, COUNT])
def test_a_masked_vector_is_what_its_definition_says(bits: int, count: int) -> None:
    """Pairwise masks added and subtracted, then XOR, word by word, with streams made by the primitive alone."""
    words, other = np.arange(count, dtype=np.uint32) * 7 % 60_000, bytes(32)
    packed = mask_and_pack(ArrayWords(words, bits), bits, [Secret(KEY)], [Secret(other)], OWN)
    expected = (words + counted(KEY, count) - counted(other, count)) ^ counted(bytes(OWN.expose()), count)
    assert np.array_equal(unpack(packed.tobytes(), bits, count), expected & np.uint32((1 << bits) - 1))


class Watched(ArrayWords):
    """A source that keeps every block that it wrote into, and fails from a word on."""

    def __init__(self, words: np.ndarray, bits: int, fails: int = 2**40) -> None:
        super().__init__(words, bits)
        self.blocks: list[np.ndarray] = []
        self._fails = fails

    def write(self, start: int, stop: int, out: np.ndarray) -> None:
        super().write(start, stop, out)
        self.blocks.append(out)
        if start >= self._fails:
            raise RangeError("told")


@pytest.mark.parametrize("bits", [19, 32])
def test_a_source_that_fails_leaves_nothing_unmasked(bits: int) -> None:
    source = Watched(np.full(3 * BLOCK_WORDS, 77, dtype=np.uint32), bits, fails=BLOCK_WORDS)
    with pytest.raises(RangeError, match="told"):
        mask_and_pack(source, bits, [Secret(KEY)], [], OWN)
    assert len(source.blocks) == 2 and not np.any(source.blocks[-1])
    assert np.count_nonzero(source.blocks[0] == 77) < 10


@pytest.mark.parametrize("bits", [19, 32])
def test_no_block_stays_unmasked(bits: int) -> None:
    source = Watched(np.full(COUNT, 77, dtype=np.uint32), bits)
    packed = mask_and_pack(source, bits, [Secret(KEY)], [], OWN, threads=2)
    assert np.count_nonzero(unpack(packed.tobytes(), bits, COUNT) == 77) < 50
    assert sum(block.size for block in source.blocks) == COUNT
    assert sum(np.count_nonzero(block == 77) for block in source.blocks) < 10


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bits", [16, 19, 31, 32])
@pytest.mark.parametrize("vectors", range(1, 6))
def test_any_number_of_vectors_is_added_up_and_unmasked(vectors: int, bits: int, threads: int) -> None:
    count, rng = COUNT if threads > 1 else 70_001, np.random.default_rng(vectors)
    words = [rng.integers(0, 1 << bits, count, dtype=np.uint32) for _ in range(vectors)]
    keys = [Secret(bytes([i]) * 32) for i in range(vectors)]
    packed = [
        (mask_and_pack(ArrayWords(part, bits), bits, [], [], key), key) for part, key in zip(words, keys, strict=True)
    ]
    expected = sum((part.astype(np.uint64) for part in words), np.zeros(count, dtype=np.uint64))
    assert np.array_equal(unmasked(packed, count, bits, threads=threads), expected % (1 << bits))


@pytest.mark.parametrize("bits", [16, 19, 32])
def test_packed_words_of_another_size_are_not_added(bits: int) -> None:
    total, packed = np.zeros(9, dtype=np.uint32), pack_source(ArrayWords(np.arange(9, dtype=np.uint32), bits), bits)
    wrong = [packed[:-1], np.append(packed, np.uint8(0)), packed[:0]]
    if 9 * bits % 8:
        wrong.append(np.append(packed[:-1], packed[-1] | np.uint8(0x80)))
    for other in wrong:
        with pytest.raises(SecureSumError):
            add_packed(total, other, bits)
        assert not np.any(total)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 300),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
)
def test_plus_and_minus_are_sums_in_the_ring(count: int, plus: list[bytes], minus: list[bytes]) -> None:
    start = np.random.default_rng(count).integers(0, 2**32, count, dtype=np.uint32)
    words = start.copy()
    apply_masks(words, [Secret(key) for key in plus], [Secret(key) for key in minus])
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
