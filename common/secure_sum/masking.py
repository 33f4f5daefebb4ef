"""Masks: AES-256-CTR key streams (NIST SP 800-38A), read as little-endian 32-bit words and added modulo 2^32.

A mask key is derived by HKDF from a secret of one sum, for one T and one site or one pair of sites. It encrypts exactly
one stream, so the counter may start at zero: no (key, counter) pair is ever used twice. The ring has 2^k elements with
k <= 32; as 2^k divides 2^32, cutting a sum of 32-bit words to k bits is the sum of the words cut to k bits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from common.secure_sum.key_agreement import MaskKey, derive
from common.secure_sum.secret import Secret

Words = NDArray[np.uint32]

BLOCK_WORDS = 1 << 16  # 256 KiB: a block of the vector and of its mask stay in the cache while all streams pass
_START = bytes(16)


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


def apply_masks(words: Words, plus: Iterable[Secret], minus: Iterable[Secret], block: int = BLOCK_WORDS) -> None:
    """Add the streams of `plus` and subtract those of `minus`, in place, modulo 2^32. `block` is for speed only."""
    added, subtracted = [_stream(key) for key in plus], [_stream(key) for key in minus]
    zeros, room = bytes(4 * block), bytearray(4 * block)
    for start in range(0, words.size, block):
        part = words[start : start + block]
        plain, mask = memoryview(zeros)[: part.nbytes], memoryview(room)[: part.nbytes]
        stream_words = np.frombuffer(mask, dtype="<u4")
        for stream in added:
            stream.update_into(plain, mask)
            np.add(part, stream_words, out=part)
        for stream in subtracted:
            stream.update_into(plain, mask)
            np.subtract(part, stream_words, out=part)


def cut(words: Words, bits: int) -> None:
    """Reduce words modulo 2^bits, in place."""
    np.bitwise_and(words, np.uint32((1 << bits) - 1), out=words)


def _stream(key: Secret) -> CipherContext:
    return Cipher(AES(key.expose()), CTR(_START)).encryptor()
