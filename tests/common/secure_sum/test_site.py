"""A site's half: one order, one answer a leg, nothing kept longer than needed, and never both secrets of anyone."""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ProtocolOrderError, SecureSumError
from common.identity.roster import SigningKey
from common.identity.secret import Secret
from common.secure_sum.messages import Confirmation, Offer, Reveal
from common.secure_sum.site import ShareKey
from common.secure_sum.states import SITE, SitePhase, Steps
from tests.support.secure_sum import PLAN, Consortium, Player, names

ME = "site_00"


class Run:
    """A whole honest sum of four, with every request that ME would get, so that they can come in any order."""

    def __init__(self) -> None:
        group = Consortium(4)
        self.context, self.words = group.context, group.words[ME]
        self.site = group.sites[ME]
        self.offers = tuple(group.all_offers())
        for name, site in group.sites.items():
            if name not in (ME, "site_03"):
                site.mask(PLAN, self.offers, group.words[name])
        self.survivors = names(3)
        self.others = [group.sites[name].confirm(self.survivors) for name in self.survivors if name != ME]
        mine = replace(self.others[0], name=ME).signed(group.signing[ME])
        self.confirmations = (mine, *self.others)
        self.group = group

    @property
    def legs(self) -> dict[str, Callable[[], object]]:
        return {
            "offer": lambda: self.site.offer(self.context),
            "agree": lambda: self.site.agree(PLAN, self.offers),
            "mask": lambda: self.site.mask(PLAN, self.offers, self.words),
            "confirm": lambda: self.site.confirm(self.survivors),
            "reveal": lambda: self.site.reveal(self.confirmations),
        }

    def until(self, leg: str) -> Run:
        for name, ask in self.legs.items():
            if name == leg:
                return self
            ask()
        return self


LEGS = ("offer", "agree", "mask", "confirm", "reveal")


def test_the_table_is_one_line_with_an_end() -> None:
    steps = Steps(SitePhase.NEW, SITE)
    for leg in LEGS:
        others = [event for event in LEGS if event != leg]
        for event in others:
            with pytest.raises(ProtocolOrderError):
                steps.require(event)
        steps.move(leg)
    for leg in LEGS:
        with pytest.raises(ProtocolOrderError):
            steps.require(leg)
    steps.move("forget")
    assert steps.phase is SitePhase.FORGOTTEN


@pytest.mark.parametrize("done", LEGS)
def test_a_leg_ahead_of_its_turn_is_refused_and_changes_nothing(done: str) -> None:
    run = Run()
    run.site = run.group.player(ME) if done == "offer" else run.site
    ahead = LEGS[LEGS.index(done) + (2 if done == "agree" else 1) :]  # `mask` agrees by itself
    if done != "offer":
        run.until(done)
    phase = run.site.phase
    for leg in ahead:
        with pytest.raises(ProtocolOrderError):
            run.legs[leg]()
        assert run.site.phase is phase


def test_after_the_last_leg_no_other_is_answered() -> None:
    run = Run().until("end")
    assert run.site.phase is SitePhase.REVEALED
    for leg in ("offer", "agree", "mask", "confirm"):
        with pytest.raises(ProtocolOrderError):
            run.legs[leg]()


@pytest.mark.parametrize("leg", LEGS)
def test_the_same_request_gets_the_same_bytes(leg: str) -> None:
    run = Run().until(leg)
    first, second = run.legs[leg](), run.legs[leg]()
    assert first is second


def test_a_repeated_upload_ignores_other_words() -> None:
    """The same plan and offers: what was sent stands, byte for byte, whatever a second training gave."""
    run = Run().until("mask")
    head, packed = run.site.mask(PLAN, run.offers, run.words)
    again, same = run.site.mask(PLAN, run.offers[::-1], run.words + np.uint32(1))
    assert again.to_bytes() == head.to_bytes() and same.tobytes() == packed.tobytes()


def test_a_different_repeat_is_refused() -> None:
    run = Run()
    with pytest.raises(ProtocolOrderError):
        run.site.offer(run.group.another(number=2))
    run.until("agree").site.agree(PLAN, run.offers)
    for plan, offers in ((bytes(32), run.offers), (PLAN, run.offers[:3])):
        with pytest.raises(ProtocolOrderError):
            run.site.agree(plan, offers)
        with pytest.raises(ProtocolOrderError):
            run.site.mask(plan, offers, run.words)
    run.until("confirm").site.confirm(run.survivors)
    run.site.confirm(run.survivors[::-1])
    with pytest.raises(ProtocolOrderError):
        run.site.confirm(names(4))
    run.until("reveal").site.reveal(run.confirmations)
    run.site.reveal(run.confirmations[::-1])
    with pytest.raises(ProtocolOrderError):
        run.site.reveal(run.confirmations[:2])


def test_two_sets_of_survivors_at_once_get_one_confirmation() -> None:
    for _ in range(20):
        run = Run().until("confirm")
        sets = [names(3), names(4), ["site_00", "site_01", "site_03"], ["site_00", "site_02", "site_03"]]
        start, outcomes = threading.Barrier(len(sets)), []

        def ask(survivors: list[str], run: Run = run, start: threading.Barrier = start, outcomes=outcomes) -> None:  # type: ignore[no-untyped-def]
            start.wait()
            try:
                outcomes.append(run.site.confirm(survivors))
            except ProtocolOrderError:
                outcomes.append(None)

        threads = [threading.Thread(target=ask, args=(survivors,)) for survivors in sets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(isinstance(outcome, Confirmation) for outcome in outcomes) == 1


def test_a_forked_copy_of_a_site_masks_nothing() -> None:
    """Both would use the same masks: the difference of their vectors would be that of their updates."""
    run = Run().until("mask")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run.site.mask(PLAN, run.offers, run.words)
            os.write(writing, b"masked")
        except ProtocolOrderError:
            os.write(writing, b"refused")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 16) == b"refused"
    run.site.mask(PLAN, run.offers, run.words)  # the original goes on
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("vanished", [[], ["site_03"], ["site_01", "site_04"]])
def test_one_share_for_each_site_and_of_the_right_secret(vanished: list[str]) -> None:
    group = Consortium(6, leave=dict.fromkeys(vanished, "mask")).until("reveal")
    for site in (group.sites[name] for name in group.half.survivors):
        reveal = site.reveal(group.half.confirmations)
        assert [item.dealer for item in reveal.seeds] == list(group.half.survivors)
        assert [item.dealer for item in reveal.keys] == vanished


def alive(thing: object, seen: set[int]) -> list[Secret]:
    """Every secret of the sum that can be reached from an object and is not erased; the signing key is not of it."""
    if id(thing) in seen or isinstance(thing, SigningKey):
        return []
    seen.add(id(thing))
    if isinstance(thing, Secret):
        return [] if thing.wiped else [thing]
    parts = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
    parts += [getattr(thing, slot) for kind in type(thing).__mro__ for slot in getattr(kind, "__slots__", ())]
    parts += list(thing.values()) if isinstance(thing, dict) else []
    parts += list(thing) if isinstance(thing, (tuple, list)) else []
    return [secret for part in parts for secret in alive(part, seen)]


def test_secrets_are_erased_as_soon_as_they_have_served() -> None:
    run = Run()
    key = run.group.keys[ME]
    own = run.site._own
    assert own is not None and len(alive(run.site, set())) == 5  # ek, sk, b, and its own two shares
    run.until("mask").site.agree(PLAN, run.offers)
    assert key.secret.wiped
    assert len(alive(run.site, set())) == 2 + 2 * 4  # sk, b, and two shares of each dealer
    run.legs["mask"]()
    assert own.mask_key.secret.wiped and own.seed.wiped
    run.legs["confirm"]()
    assert len(alive(run.site, set())) == 2 * 4
    run.legs["reveal"]()
    assert alive(run.site, set()) == []


@pytest.mark.parametrize("leg", LEGS)
def test_forgetting_erases_everything_in_any_phase(leg: str) -> None:
    run = Run().until(leg)
    run.site.forget()
    assert alive(run.site, set()) == [] and run.group.keys[ME].secret.wiped
    for ask in run.legs.values():
        with pytest.raises(ProtocolOrderError):
            ask()
    run.site.forget()


def test_dropping_the_object_erases_its_secrets() -> None:
    run = Run()
    views = [secret.expose() for secret in alive(run.site, set())]
    run.group.sites.clear()
    run.group.keys.clear()
    del run.site, run.group
    assert all(bytes(view) == bytes(len(view)) for view in views)


def test_an_offer_needs_its_own_consent_in_the_list() -> None:
    group, other = Consortium(4), Consortium(4)
    with pytest.raises(SecureSumError):
        other.sites[ME].offer(group.context)  # another roster
    stranger = Player(replace(group.members[ME], name="stranger"), group.keys[ME], group.signing[ME], group.roster)
    with pytest.raises(ProtocolOrderError):
        stranger.offer(group.context)
    fresh = ShareKey.generate()
    mine = replace(group.members[ME], share_key=fresh.public).signed(group.signing[ME])
    swapped = replace(group.context, members=(mine, *group.context.members[1:]))
    with pytest.raises(SecureSumError, match="own consent"):
        group.sites[ME].offer(swapped)
    assert isinstance(group.sites[ME].offer(group.context), Offer)


def test_a_name_written_in_another_normal_form_is_the_same_site() -> None:
    called = ["site_00", "site_01", "site_02", "études"]
    group = Consortium(4, called=[unicodedata.normalize("NFD", name) for name in called], leave={"site_02": "mask"})
    group.until("confirm")
    assert "études" in group.half.survivors
    group.sites["site_00"].confirm([unicodedata.normalize("NFD", name) for name in group.half.survivors])
    group.confirm()
    group.reveal()
    assert np.array_equal(group.half.open(), group.plain())


@pytest.mark.parametrize(
    "words",
    [
        np.array([0, 1 << 16], dtype=np.uint32),
        np.array([0, 2**32 - 1], dtype=np.uint32),
        np.zeros(2, dtype=np.int64),
        np.zeros(2),
        np.zeros((2, 2), dtype=np.uint32),
    ],
)
def test_words_out_of_range_are_refused_and_nothing_is_used_up(words: np.ndarray) -> None:
    group = Consortium(3, 2, bits=16).until("mask")
    site = group.sites[ME]
    with pytest.raises(SecureSumError):
        site.mask(PLAN, group.half.offers, words)
    group.mask()
    group.confirm()
    group.reveal()
    assert np.array_equal(group.half.open(), group.plain())


def test_the_callers_words_are_not_changed() -> None:
    run = Run().until("mask")
    before = run.words.copy()
    run.legs["mask"]()
    assert np.array_equal(run.words, before)


def test_a_reveal_is_what_the_type_says() -> None:
    reveal = Run().until("end").legs["reveal"]()
    assert isinstance(reveal, Reveal) and reveal.name == ME
