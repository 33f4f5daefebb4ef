"""Words of k bits <-> bytes: word i is bits i*k to i*k + k - 1 of a stream whose bits run from the lowest of each byte.

Exactly ceil(count * k / 8) bytes; the bits left over in the last one are zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import SecureSumError
from common.secure_sum.messages import MAX_BITS, MIN_BITS

Words = NDArray[np.uint32]
_Octets = NDArray[np.uint8]

_BLOCK = 1 << 14  # words at a time, so that what is spread out stays in the cache; a multiple of 8 ends at a whole byte


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` words."""
    return (count * bits + 7) // 8


def pack(words: Words, bits: int) -> bytes:
    """SecureSumError unless `words` are uint32 (n,), each below 2^bits."""
    require_words(words, bits)
    if bits == 32:
        return words.astype("<u4", copy=False).tobytes()
    packing = _pack_pairs if bits % 4 == 0 else _pack_bits
    octets = np.empty(packed_size(words.size, bits), dtype=np.uint8)
    for start in range(0, words.size, _BLOCK):
        part = packing(words[start : start + _BLOCK], bits)
        begin = start * bits // 8
        octets[begin : begin + part.size] = part
    return octets.tobytes()


def unpack(data: bytes, bits: int, count: int) -> Words:
    """The reverse of `pack`. SecureSumError for a wrong length, or for bits set after the last word."""
    _require_bits(bits)
    if count < 0 or len(data) != packed_size(count, bits):
        raise SecureSumError(f"{count} words of {bits} bits are {packed_size(count, bits)} bytes, not {len(data)}.")
    if count * bits % 8 and data[-1] >> (count * bits % 8):
        raise SecureSumError("Bits are set after the last word of a packed vector.")
    if bits == 32:
        return np.frombuffer(data, dtype="<u4").astype(np.uint32)
    unpacking = _unpack_pairs if bits % 4 == 0 else _unpack_bits
    octets, words = np.frombuffer(data, dtype=np.uint8), np.empty(count, dtype=np.uint32)
    for start in range(0, count, _BLOCK):
        size = min(_BLOCK, count - start)
        begin = start * bits // 8
        words[start : start + size] = unpacking(octets[begin : begin + packed_size(size, bits)], bits, size)
    return words


def require_words(words: Words, bits: int) -> None:
    """SecureSumError unless `words` is a vector of uint32, each below 2^bits."""
    _require_bits(bits)
    if not isinstance(words, np.ndarray) or words.dtype != np.uint32 or words.ndim != 1:
        raise SecureSumError("Words of a secure sum are a vector of uint32.")
    if bits < 32 and words.size and int(words.max()) >> bits:
        raise SecureSumError(f"A word of a secure sum has more than {bits} bits.")


def _require_bits(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise SecureSumError(f"A word has {MIN_BITS} to {MAX_BITS} bits.")


def _pack_pairs(words: Words, bits: int) -> _Octets:
    """Two words of a multiple of 4 bits are whole bytes: their 64-bit number, cut."""
    paired = np.zeros((words.size + 1) // 2 * 2, dtype=np.uint64)
    paired[: words.size] = words
    numbers = paired[0::2] | paired[1::2] << np.uint64(bits)
    octets = numbers.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, : bits // 4]
    return octets.reshape(-1)[: packed_size(words.size, bits)]


def _unpack_pairs(octets: _Octets, bits: int, count: int) -> Words:
    pairs = (count + 1) // 2
    spread = np.zeros((pairs, 8), dtype=np.uint8)
    padded = np.zeros(pairs * bits // 4, dtype=np.uint8)
    padded[: octets.size] = octets
    spread[:, : bits // 4] = padded.reshape(pairs, bits // 4)
    numbers = spread.reshape(-1).view("<u8")
    words = np.stack((numbers & np.uint64((1 << bits) - 1), numbers >> np.uint64(bits)), axis=1)
    return words.reshape(-1)[:count].astype(np.uint32)


def _pack_bits(words: Words, bits: int) -> _Octets:
    octets = words.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4)
    return np.packbits(np.unpackbits(octets, axis=1, bitorder="little")[:, :bits], bitorder="little")


def _unpack_bits(octets: _Octets, bits: int, count: int) -> Words:
    spread = np.zeros((count, 32), dtype=np.uint8)
    spread[:, :bits] = np.unpackbits(octets, count=count * bits, bitorder="little").reshape(count, bits)
    return np.packbits(spread, axis=1, bitorder="little").reshape(-1).view("<u4").astype(np.uint32)
