"""Words of k bits <-> bytes: word i is bits i*k to i*k + k - 1 of a stream whose bits run from the lowest of each byte.

Exactly ceil(count * k / 8) bytes; the bits left over in the last one are zero. Eight words are k bytes: in blocks of
eight, word j of each eight begins at bit j*k, in the same byte and at the same place in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import SecureSumError
from common.secure_sum.messages import MAX_BITS, MIN_BITS

Words = NDArray[np.uint32]
_Octets = NDArray[np.uint8]

_BLOCK = 1 << 15  # words at a time, so that what is spread out stays in the cache; a multiple of 8 ends at a whole byte


def packed_size(count: int, bits: int) -> int:
    """Bytes of `count` words. SecureSumError for a width that the protocol does not have."""
    _require_bits(bits)
    return (count * bits + 7) // 8


def pack(words: Words, bits: int) -> bytes:
    """SecureSumError unless `words` are uint32 (n,), each below 2^bits."""
    require_words(words, bits)
    octets = np.empty(packed_size(words.size, bits), dtype=np.uint8)
    for start in range(0, words.size, _BLOCK):
        pack_into(octets, start, words[start : start + _BLOCK], bits)
    return octets.tobytes()


def unpack(data: bytes, bits: int, count: int) -> Words:
    """The reverse of `pack`. SecureSumError for a wrong length, or for bits set after the last word."""
    octets = np.frombuffer(data, dtype=np.uint8)
    require_packed(octets, bits, count)
    words = np.empty(count, dtype=np.uint32)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        words[start:stop] = unpack_block(octets, start, stop, bits)
    return words


def pack_into(octets: _Octets, start: int, words: Words, bits: int) -> None:
    """Pack `words`, cut to `bits`, as the words from `start` (a multiple of 8) of a packed vector."""
    begin = start * bits // 8
    part = octets[begin : begin + packed_size(words.size, bits)]
    if bits == 32:
        part.view("<u4")[:] = words
        return
    padded = np.zeros((words.size + 7) // 8 * 8, dtype=np.uint64)
    np.bitwise_and(words, np.uint32((1 << bits) - 1), out=padded[: words.size])
    part[:] = _pack_eights(padded.reshape(-1, 8), bits).reshape(-1)[: part.size]


def unpack_block(octets: _Octets, start: int, stop: int, bits: int) -> Words:
    """The words [start, stop) of a packed vector; `start` a multiple of 8."""
    begin, end = start * bits // 8, (stop * bits + 7) // 8
    if bits == 32:
        return octets[begin:end].view("<u4")
    eights = (stop - start + 7) // 8
    padded = np.zeros(eights * bits, dtype=np.uint8)
    padded[: end - begin] = octets[begin:end]
    return _unpack_eights(padded.reshape(eights, bits), bits).reshape(-1)[: stop - start]


def require_words(words: Words, bits: int) -> None:
    """SecureSumError unless `words` is a vector of uint32, each below 2^bits."""
    _require_bits(bits)
    if not isinstance(words, np.ndarray) or words.dtype != np.uint32 or words.ndim != 1:
        raise SecureSumError("Words of a secure sum are a vector of uint32.")
    if bits < 32 and words.size and int(words.max()) >> bits:
        raise SecureSumError(f"A word of a secure sum has more than {bits} bits.")


def require_packed(octets: _Octets, bits: int, count: int) -> None:
    """SecureSumError unless the bytes are exactly `count` words."""
    if count < 0 or octets.ndim != 1 or octets.size != packed_size(count, bits):
        raise SecureSumError(f"{count} words of {bits} bits are not {octets.size} bytes.")
    if count * bits % 8 and int(octets[-1]) >> (count * bits % 8):
        raise SecureSumError("Bits are set after the last word of a packed vector.")


def _require_bits(bits: int) -> None:
    if not MIN_BITS <= bits <= MAX_BITS:
        raise SecureSumError(f"A word has {MIN_BITS} to {MAX_BITS} bits.")


def _pack_eights(words: NDArray[np.uint64], bits: int) -> _Octets:
    """(n, 8) words -> (n, bits) bytes."""
    octets = np.zeros((len(words), bits), dtype=np.uint8)
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        spread = (words[:, place] << np.uint64(shift)).astype("<u8").view(np.uint8).reshape(-1, 8)
        for column in range((shift + bits + 7) // 8):
            octets[:, byte + column] |= spread[:, column]
    return octets


def _unpack_eights(octets: _Octets, bits: int) -> Words:
    """(n, bits) bytes -> (n, 8) words."""
    words = np.empty((len(octets), 8), dtype=np.uint32)
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        spread = np.zeros((len(octets), 8), dtype=np.uint8)
        for column in range((shift + bits + 7) // 8):
            spread[:, column] = octets[:, byte + column]
        words[:, place] = (spread.reshape(-1).view("<u8") >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
    return words
