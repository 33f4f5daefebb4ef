"""Dealing: a box key seals one box, and what is sealed or digested is bound to its sum, dealer, holder and secret."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import SecureSumError
from common.identity.encoding import split
from common.identity.secret import Secret
from common.secure_sum import dealing
from common.secure_sum.dealing import deal, open_box, seed_digest, share_digest
from common.secure_sum.key_agreement import MaskKey
from tests.support.secure_sum import Consortium, names, next_member


class Recorder:
    """AES-GCM that notes every key, nonce and associated data that seals something."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes, bytes]] = []

    def __call__(self, key: memoryview) -> Recorder:
        self._key = bytes(key)
        return self

    def encrypt(self, nonce: bytes, data: memoryview, associated: bytes) -> bytes:
        self.seen.append((self._key, nonce, associated))
        return AESGCM(self._key).encrypt(nonce, data, associated)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(dealing, "AESGCM", recorder)
    return recorder


def test_no_key_and_nonce_seal_twice(recorder: Recorder) -> None:
    """Also when a site offers again under the same share key, as one whose memory was copied would."""
    group = Consortium(4)
    for _ in range(60):
        for name in group.keys:
            group.player(name).offer(group.context)
    assert len(recorder.seen) == 60 * 4 * 3
    assert len({(key, nonce) for key, nonce, _ in recorder.seen}) == len(recorder.seen)


def test_a_box_names_its_sum_dealer_holder_and_key(recorder: Recorder) -> None:
    group = Consortium(3)
    offer = group.sites["site_01"].offer(group.context)
    for holder, (_, _, associated) in zip(("site_00", "site_02"), recorder.seen, strict=True):
        assert split(associated) == [group.context.digest, b"site_01", holder.encode(), offer.mask_key]


def test_a_box_opens_for_its_holder_in_its_sum_only() -> None:
    group = Consortium(4)
    following = next_member(group.members["site_01"], group.signing["site_01"])
    offer, own = deal(group.context, following, group.keys["site_01"], MaskKey.generate(), Secret.random(32))
    renamed = replace(offer, name="site_03", following=replace(following, name="site_03"))
    assert bytes(open_box(group.context, offer, "site_00", group.keys["site_00"]).key.expose()) != bytes(
        own.key.expose()
    )
    wrong = [
        (group.context, offer, "site_00", group.keys["site_02"]),  # another holder's key
        (group.context, offer, "site_02", group.keys["site_00"]),
        (group.context, renamed, "site_00", group.keys["site_00"]),  # another dealer's name
        (group.another(number=2), offer, "site_00", group.keys["site_00"]),  # another sum, with the same keys
        (group.context, offer, "site_01", group.keys["site_01"]),  # the dealer's own box is empty
    ]
    for context, shown, holder, key in wrong:
        with pytest.raises(SecureSumError, match="do not open"):
            open_box(context, shown, holder, key)


def test_every_input_changes_a_digest() -> None:
    group = Consortium(3)
    contexts = (group.context, group.another(number=2))
    shares = [
        share_digest(*parts)
        for parts in itertools.product(
            contexts, names(2), names(2), ("mask key", "seed"), (bytes(66), bytes(65) + b"1")
        )
    ]
    seeds = [seed_digest(*parts) for parts in itertools.product(contexts, names(2), (bytes(32), bytes(31) + b"1"))]
    assert len({*shares, *seeds}) == len(shares) + len(seeds) == 40
