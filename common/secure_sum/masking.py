"""Masks: AES-256-CTR key streams (NIST SP 800-38A), one for each pair of sites and one for each site.

A **pairwise mask** is read as little-endian 32-bit words and added modulo 2^32 at one end of the pair, subtracted at
the other, so that it cancels in the sum. A site's **own mask** need not cancel, for the coordinator gets its seed: it
is the same key stream as an ordinary stream cipher, XOR, over the words that the pairwise masks have covered already.
Either hides them as a one-time pad does, in its own group, (Z_2^32)^n or (Z_2)^32n.

A mask key is derived by HKDF from a secret of one sum, for one T and one site or one pair of sites, and masks one
vector. A vector is cut into spans of 2^20 words; the stream of span i is AES over the counter blocks i || 2, i || 3,
..., with 12 and 4 bytes, big endian: no (key, counter) pair is ever used twice. These are the very blocks that AES-GCM
uses under the nonce i (SP 800-38D, GCTR), and OpenSSL computes them faster there than in its CTR mode; the tag of GCM
is not used. Spans are independent, so that more cores than one can work, and the masks do not depend on how many.

The ring has 2^k elements with k <= 32; as 2^k divides 2^32, cutting a sum of 32-bit words to k bits is the sum of the
words cut to k bits. The same is true of XOR, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from numpy.typing import NDArray

from common.identity.secret import Secret
from common.secure_sum.key_agreement import MaskKey, derive
from common.secure_sum.packing import pack_into, packed_size, require_packed, require_words, unpack_block

Words = NDArray[np.uint32]
Packed = NDArray[np.uint8]

SPAN_WORDS = 1 << 20
# A block of the vector and one of its mask stay in the cache while all streams pass; shorter ones are slower to read
# from memory, where the cipher reads them. Divides a span.
BLOCK_WORDS = 1 << 18
_ZEROS = bytes(4 * BLOCK_WORDS)
_LINE = 64  # bytes of a cache line: vectors that begin with one are added faster


class WordSource(Protocol):
    """A vector of words that is made when it is asked for, so that it never exists unmasked as a whole."""

    @property
    def length(self) -> int:
        """In words."""
        ...

    def write(self, start: int, stop: int, out: Words) -> None:
        """Write the words [start, stop) into `out`. Ranges lie within a span, begin at a multiple of 4, and may
        come from different threads.
        """
        ...


class WordSink(Protocol):
    """Takes the words of an opened sum, block by block, as a `WordSource` gives them."""

    @property
    def length(self) -> int:
        """In words."""
        ...

    def read(self, start: int, stop: int, words: Words) -> None:
        """Take the words [start, stop); `words` is used again afterwards."""
        ...


class ArrayWords:
    """The words of an array, (n,) uint32, each below 2^bits: SecureSumError for any other."""

    def __init__(self, words: Words, bits: int) -> None:
        require_words(words, bits)
        self._words = words

    @property
    def length(self) -> int:
        return int(self._words.size)

    def write(self, start: int, stop: int, out: Words) -> None:
        out[:] = self._words[start:stop]


class WordArray:
    """Words as one array, (n,) uint32."""

    def __init__(self, length: int) -> None:
        self.words: Words = np.empty(length, dtype=np.uint32)

    @property
    def length(self) -> int:
        return int(self.words.size)

    def read(self, start: int, stop: int, words: Words) -> None:
        self.words[start:stop] = words


def self_mask_key(seed: Secret, agreed: bytes, name: str) -> Secret:
    """The key of a site's own mask, from its seed `b` and T."""
    return derive(seed.expose(), "self mask", agreed, name.encode())


def pairwise_mask_key(mask_key: MaskKey, name: str, peer: str, peer_public: bytes, agreed: bytes) -> Secret:
    """The key of the mask between two sites: the same from either side, bound to T and both names in their order."""
    first, second = sorted((name, peer))
    return mask_key.agree(peer, peer_public, "pairwise mask", agreed, first.encode(), second.encode())


def adds(name: str, peer: str) -> bool:
    """Of two sites the one with the smaller name adds their mask, the other subtracts it."""
    return name < peer


def mask_and_pack(
    source: WordSource, bits: int, plus: Sequence[Secret], minus: Sequence[Secret], own: Secret, threads: int = 1
) -> Packed:
    """The words of `source` + the streams of `plus` - those of `minus`, XOR that of `own`, cut to `bits` and packed:
    uint8, in one pass.

    What is not masked yet is one block; when `source` raises, it is erased, and nothing is returned.
    """
    packed = aligned(packed_size(source.length, bits))

    def mask_spans(spans: Sequence[_Span]) -> None:
        room = _Room()
        for span in spans:
            streams, cipher = _Streams(plus, minus, span.number), key_stream(own, span.number)
            for begin, end in span.blocks():
                part = room.total[: end - begin]
                try:
                    source.write(begin, end, part)
                    streams.apply(part, room)
                except BaseException:
                    part[:] = 0
                    raise
                if bits == 32:  # words of 32 bits are packed as they stand
                    encrypt(cipher, part, packed.view("<u4")[begin:end])
                else:
                    pack_into(packed, begin, encrypt(cipher, part, room.spare[: part.size]), bits)

    _share_out(source.length, mask_spans, threads)
    return packed


def unmask_into(
    sink: WordSink,
    vectors: Sequence[tuple[Packed, Secret]],
    bits: int,
    plus: Sequence[Secret],
    minus: Sequence[Secret],
    threads: int = 1,
) -> None:
    """Take each packed vector's own mask off, add them up, add the streams of `plus`, subtract those of `minus`, cut to
    `bits`: into `sink`, in one pass over the memory. All have the sink's length, as `require_packed` holds.
    """

    def unmask_spans(spans: Sequence[_Span]) -> None:
        room = _Room()
        for span in spans:
            ciphers = [key_stream(own, span.number) for _, own in vectors]
            streams = _Streams(plus, minus, span.number)
            for begin, end in span.blocks():
                part, spare = room.total[: end - begin], room.spare[: end - begin]
                for place, ((packed, _), cipher) in enumerate(zip(vectors, ciphers, strict=True)):
                    words = encrypt(cipher, unpack_block(packed, begin, end, bits), spare if place else part)
                    if place:
                        np.add(part, words, out=part)
                streams.apply(part, room)
                cut(part, bits)
                sink.read(begin, end, part)

    _share_out(sink.length, unmask_spans, threads)


def pack_source(source: WordSource, bits: int) -> Packed:
    """The words of `source`, packed as they are: for a study that switched the secure sum off."""
    packed, room = aligned(packed_size(source.length, bits)), _Room()
    for start in range(0, source.length, BLOCK_WORDS):
        part = room.total[: min(BLOCK_WORDS, source.length - start)]
        source.write(start, start + part.size, part)
        pack_into(packed, start, part, bits)
    return packed


def add_packed(total: Words, packed: Packed | bytes, bits: int, threads: int = 1) -> None:
    """Add packed words to `total`, in place, modulo 2^32. SecureSumError, and nothing added, for a wrong length or for
    bits set after the last word.
    """
    octets = np.frombuffer(packed, dtype=np.uint8)
    require_packed(octets, bits, total.size)

    def add_spans(spans: Sequence[_Span]) -> None:
        for span in spans:
            for begin, end in span.blocks():
                total[begin:end] += unpack_block(octets, begin, end, bits)

    _share_out(total.size, add_spans, threads)


def cut(words: Words, bits: int) -> None:
    """Reduce words modulo 2^bits, in place."""
    if bits < 32:
        np.bitwise_and(words, np.uint32((1 << bits) - 1), out=words)


def key_stream(key: Secret, span: int) -> CipherContext:
    """AES-256 over the counter blocks of one span; encrypting zeros gives the stream."""
    return Cipher(AES(key.expose()), GCM(span.to_bytes(12, "big"))).encryptor()


def stream_from(key: Secret, start: int) -> CipherContext:
    """The same stream from the word `start` (a multiple of 4) on, to the end of its span."""
    span, offset = divmod(start, SPAN_WORDS)
    if not offset:
        return key_stream(key, span)
    counter = span.to_bytes(12, "big") + (2 + offset // 4).to_bytes(4, "big")
    return Cipher(AES(key.expose()), CTR(counter)).encryptor()


def next_words(stream: CipherContext, room: Words) -> Words:
    """The next (n,) words of a stream, written into `room`; n at most BLOCK_WORDS."""
    octets = room.view(np.uint8)
    stream.update_into(memoryview(_ZEROS)[: octets.size], octets.data)
    return octets.view("<u4")


def encrypt(stream: CipherContext, words: Words, out: Words) -> Words:
    """words XOR the next of a stream, written into `out`, which must be other memory; decrypts as well. (n,)"""
    little = words.astype("<u4", copy=False)
    stream.update_into(little.view(np.uint8).data, out.view(np.uint8).data)
    if out.dtype != little.dtype:
        out.byteswap(inplace=True)
    return out


def aligned(octets: int) -> Packed:
    """So many bytes, (octets,) uint8, from the beginning of a cache line."""
    room = np.empty(octets + _LINE, dtype=np.uint8)
    begin = -room.ctypes.data % _LINE
    return room[begin : begin + octets]


class _Room:
    """What one core works in: memory that stays in its cache, and that is not asked for again at every span."""

    def __init__(self) -> None:
        self.total, self.spare = (aligned(4 * BLOCK_WORDS).view(np.uint32) for _ in range(2))


class _Span(NamedTuple):
    """The words [start, stop) of a vector."""

    number: int
    start: int
    stop: int

    def blocks(self) -> Iterator[tuple[int, int]]:
        for begin in range(self.start, self.stop, BLOCK_WORDS):
            yield begin, min(begin + BLOCK_WORDS, self.stop)


class _Streams:
    """The streams of some keys over one span, from its beginning."""

    def __init__(self, plus: Sequence[Secret], minus: Sequence[Secret], span: int) -> None:
        self._plus = [key_stream(key, span) for key in plus]
        self._minus = [key_stream(key, span) for key in minus]

    def apply(self, words: Words, room: _Room) -> None:
        """Go on by one block. (n,) words, n at most BLOCK_WORDS."""
        mask, zeros = room.spare[: words.size].view(np.uint8), memoryview(_ZEROS)[: 4 * words.size]
        octets, mask_words = mask.data, mask.view("<u4")
        for stream in self._plus:
            stream.update_into(zeros, octets)
            np.add(words, mask_words, out=words)
        for stream in self._minus:
            stream.update_into(zeros, octets)
            np.subtract(words, mask_words, out=words)


def _share_out(length: int, work: Callable[[Sequence[_Span]], None], threads: int) -> None:
    """Call work(spans) for every core that pays, so that together they get all spans of a vector."""
    starts = range(0, length, SPAN_WORDS)
    spans = [_Span(number, start, min(start + SPAN_WORDS, length)) for number, start in enumerate(starts)]
    if threads < 2 or len(spans) < 2:
        work(spans)
        return
    lanes = min(threads, len(spans))
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(work, spans[lane::lanes]) for lane in range(lanes)]:
            done.result()
