"""Words of k bits <-> bytes: word i is bits i*k to i*k + k - 1 of a stream whose bits run from the lowest of each byte.

Exactly ceil(count * k / 8) bytes; the bits left over in the last one are zero. Eight words are k bytes. They are cut
into pieces of two words, or of one where two would not fit: numbers of 64 bits. Bytes are written and read as 64-bit
windows at the same places of all eights, with whatever pieces touch the window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.errors import SecureSumError
from common.secure_sum.messages import MAX_BITS, MIN_BITS

Words = NDArray[np.uint32]
_Octets = NDArray[np.uint8]

_BLOCK = 1 << 15  # words at a time, so that pieces stay in the cache; a multiple of 8 ends at a whole byte
_PLAIN = {16: "<u2", 32: "<u4"}  # words that are whole numbers of the machine
_EIGHT = 8  # words that are as many bytes as one has bits; also the bytes of a window


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
    if bits in _PLAIN:
        np.copyto(part.view(_PLAIN[bits]), words, casting="unsafe")
        return
    whole = words.size // _EIGHT * _EIGHT
    for first in range(0, whole, _BLOCK):
        last = min(first + _BLOCK, whole)
        _pack_eights(words[first:last], part[first * bits // 8 : last * bits // 8], bits)
    if whole < words.size:
        part[whole * bits // 8 :] = _pack_rest(words[whole:], bits)


def unpack_block(octets: _Octets, start: int, stop: int, bits: int) -> Words:
    """The words [start, stop) of a packed vector; `start` a multiple of 8."""
    part = octets[start * bits // 8 : (stop * bits + 7) // 8]
    if bits in _PLAIN:
        return part.view(_PLAIN[bits]).astype(np.uint32, copy=False)
    words = np.empty(stop - start, dtype=np.uint32)
    whole = words.size // _EIGHT * _EIGHT
    for first in range(0, whole, _BLOCK):
        last = min(first + _BLOCK, whole)
        _unpack_eights(part[first * bits // 8 : last * bits // 8], words[first:last], bits)
    if whole < words.size:
        words[whole:] = _unpack_rest(part[whole * bits // 8 :], bits)[: words.size - whole]
    return words


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


def _pack_eights(words: Words, octets: _Octets, bits: int) -> None:
    """(8n,) words -> (n * bits,) bytes."""
    width, pieces = _pieces(words, bits)
    for offset in (*range(0, bits - _EIGHT, _EIGHT), bits - _EIGHT):  # the last one ends where the eight words end
        window = np.zeros(len(pieces), dtype=np.uint64)
        for place in range(pieces.shape[1]):
            shift = place * width - 8 * offset
            if -width < shift < 64:
                window |= _shifted(pieces[:, place], shift)
        _window(octets, offset, bits)[:] = window  # what is zero above its pieces is overwritten by the next window


def _unpack_eights(octets: _Octets, words: Words, bits: int) -> None:
    """(n * bits,) bytes -> (8n,) words."""
    width = _width(bits)
    pieces = np.empty((words.size // _EIGHT, 8 * bits // width), dtype=np.uint64)
    for place in range(pieces.shape[1]):
        offset = min(place * width // 8, bits - _EIGHT)
        np.right_shift(_window(octets, offset, bits), np.uint64(place * width - 8 * offset), out=pieces[:, place])
    low = np.uint64((1 << bits) - 1)
    if width == bits:
        np.copyto(words, (pieces & low).reshape(-1), casting="unsafe")
        return
    pairs = pieces.reshape(-1)
    lanes = pairs & low
    np.left_shift(pairs, np.uint64(32 - bits), out=pairs)
    np.bitwise_and(pairs, low << np.uint64(32), out=pairs)
    np.bitwise_or(lanes, pairs, out=lanes)
    np.copyto(words, lanes.astype("<u8", copy=False).view("<u4"))


def _pieces(words: Words, bits: int) -> tuple[int, NDArray[np.uint64]]:
    """(8n,) words, cut -> bits of a piece, (n, pieces of eight words)."""
    width, low = _width(bits), np.uint64((1 << bits) - 1)
    if width == bits:
        return width, (words & low).reshape(-1, 8)
    lanes = np.ascontiguousarray(words, dtype="<u4").view("<u8")
    pairs = lanes >> np.uint64(32 - bits)
    np.bitwise_and(pairs, low << np.uint64(bits), out=pairs)
    np.bitwise_or(pairs, lanes & low, out=pairs)
    return width, pairs.reshape(-1, 4)


def _width(bits: int) -> int:
    """Bits of a piece: two words, if they fit into a window wherever in a byte they begin."""
    return 2 * bits if bits <= 30 else bits


def _shifted(pieces: NDArray[np.uint64], shift: int) -> NDArray[np.uint64]:
    return pieces << np.uint64(shift) if shift >= 0 else pieces >> np.uint64(-shift)


def _window(octets: _Octets, offset: int, bits: int) -> NDArray[np.uint64]:
    """The 8 bytes from `offset` of every eight words, little endian: a view, (n,)."""
    return np.ndarray((octets.size // bits,), dtype="<u8", buffer=octets, offset=offset, strides=(bits,))


def _pack_rest(words: Words, bits: int) -> _Octets:
    """Fewer than eight words -> their bytes."""
    eight, octets = np.zeros(_EIGHT, dtype=np.uint32), np.empty(bits, dtype=np.uint8)
    eight[: words.size] = words
    _pack_eights(eight, octets, bits)
    return octets[: packed_size(words.size, bits)]


def _unpack_rest(octets: _Octets, bits: int) -> Words:
    """The bytes of fewer than eight words -> eight words."""
    padded, eight = np.zeros(bits, dtype=np.uint8), np.empty(_EIGHT, dtype=np.uint32)
    padded[: octets.size] = octets
    _unpack_eights(padded, eight, bits)
    return eight
