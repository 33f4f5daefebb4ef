"""The coordinator's half over a grid whose nodes lie, mix up and come back: the sum is right, or there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from client.ledger.ledger import Entry
from common.derived import derive
from common.errors import BudgetError, RunError, SecureSumError, TooFewSitesError
from common.messages import (
    ConfirmReply,
    JoinReply,
    OfferReply,
    Reply,
    RevealReply,
    RoundReply,
    from_records,
    new_message,
    spoken_in,
    to_records,
)
from common.plan import RoundPlan
from common.privacy.plan import plan_privacy
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal
from server.lost import Silence
from server.run.secure_sum import Summation
from tests.support.scripted import NAMES, RUN, Hospitals
from tests.support.tiny import study_of

PRIVACY = {"mode": "local", "sample_rate": 0.2, "expected_batch_size": 4.0}
Tamper = Callable[[int, Reply, Mapping[int, Reply]], Reply]  # node, its reply, those of the nodes before


class HandlerGrid(Grid):
    """Flower's grid over real handlers in this process. `tamper` changes replies, `lost` loses nodes' answers."""

    def __init__(self, them: Hospitals) -> None:
        self.them, self.tamper, self.lost = them, _honest, dict[int, str]()
        self.legs: list[tuple[str, tuple[int, ...]]] = []
        self._answers: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return range(1, len(self.them.names) + 1)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, *_: Any
    ) -> Message:
        return new_message(content, message_type, dst_node_id, group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        made, replies = [], dict[int, Reply]()
        sent = list(messages)
        if sent:
            self.legs.append((sent[0].metadata.message_type, tuple(m.metadata.dst_node_id for m in sent)))
        for place, message in enumerate(sent):
            node = message.metadata.dst_node_id
            name = f"{len(self.legs)}/{place}"
            message.metadata._message_id = name  # as a grid gives it
            made.append(name)
            if self.lost.get(node) in ("always", message.metadata.message_type.partition(".")[2]):
                continue
            answer = self.them.sites[self.them.names[node - 1]](message)
            if self.tamper is not _honest:
                reply = from_records(answer.content)
                replies[node] = reply  # type: ignore[assignment]
                said = self.tamper(node, reply, replies)  # type: ignore[arg-type]
                answer.content = to_records(said, spoken_in(answer.content))
            self._answers[name] = answer
        return made

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._answers.pop(name) for name in message_ids if name in self._answers]

    def send_and_receive(self, *_: Any, **__: Any) -> Iterable[Message]:
        raise NotImplementedError

    def set_run(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError


def _honest(node: int, reply: Reply, before: Mapping[int, Reply]) -> Reply:
    return reply


@pytest.fixture
def them(tmp_path) -> Hospitals:
    return Hospitals(tmp_path, study_of("chart", "panel", privacy={"mode": "none"}))


def summation(them: Hospitals, **changes: Any) -> Summation:
    grid = HandlerGrid(them)
    derived = lambda plan: derive(plan, them.study, them.parameters, None)  # noqa: E731
    nodes = list(grid.get_node_ids())
    return Summation(grid, them.study, RUN, them.roster, nodes, derived, 0.5, **changes)


def plan_for(them: Hospitals, number: int) -> Callable[..., RoundPlan]:
    def make(holders: Any, working: Any) -> RoundPlan:
        names = tuple(item.site for item in holders)
        owners = dict.fromkeys(("shared", *them.study.names), names)
        return them.plan(round=number, sites=names, owners=owners)

    return make


def alone(them: Hospitals, number: int, names: Iterable[str]) -> np.ndarray:
    """What these sites' cases weigh: enough to see who is in a sum."""
    return np.array([sum(float(len(them.cohorts[name].train)) for name in names)])


def test_offers_ride_and_a_round_has_three_exchanges(them) -> None:
    summing = summation(them)
    grid: Any = summing.grid
    summing.total(plan_for(them, 1))
    three = ["train.round", "query.confirm", "query.reveal"]
    assert [kind for kind, _ in grid.legs] == ["query.join", "query.offer", *three]
    grid.legs.clear()
    total = summing.total(plan_for(them, 2), last=True)
    assert [kind for kind, _ in grid.legs] == three
    assert total.sites == NAMES and not total.dropped
    assert np.array_equal(total.values["weight/shared"], alone(them, 2, NAMES))


SWAPPED: dict[str, Tamper] = {
    "consents": lambda n, r, b: b[1] if n == 2 and isinstance(r, JoinReply) else r,
    "offers": lambda n, r, b: b[1] if n == 2 and isinstance(r, OfferReply) else r,
    "vectors": lambda n, r, b: b[1] if n == 2 and isinstance(r, RoundReply) else r,
    "confirmations": lambda n, r, b: b[1] if n == 2 and isinstance(r, ConfirmReply) else r,
    "reveals": lambda n, r, b: b[1] if n == 2 and isinstance(r, RevealReply) else r,
}


@pytest.mark.parametrize("what", sorted(set(SWAPPED) - {"consents"}))
def test_a_node_that_answers_as_another_site_costs_itself_its_place(them, what) -> None:
    """Well signed, by another: the others' sum goes on and is right."""
    summing = summation(them)
    summing.grid.tamper = SWAPPED[what]  # type: ignore[attr-defined]
    total = summing.total(plan_for(them, 1))
    left = tuple(name for name in NAMES if name != "north") if what in ("offers", "vectors") else NAMES
    assert total.sites == left
    assert list(total.dropped) == ["north"] and total.dropped["north"].why == Silence.UNACCEPTABLE
    assert np.array_equal(total.values["weight/shared"], alone(them, 1, left))


def test_two_nodes_under_one_name_stop_the_run(them) -> None:
    summing = summation(them)
    summing.grid.tamper = SWAPPED["consents"]  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="east"):
        summing.total(plan_for(them, 1))


def _unsigned(reply: Reply) -> Reply:
    match reply:
        case JoinReply(member):
            return JoinReply(replace(Member.from_bytes(member), signature=b"").to_bytes())
        case OfferReply(offer):
            return OfferReply(replace(Offer.from_bytes(offer), signature=b"").to_bytes())
        case RoundReply():
            return replace(reply, head=replace(MaskedVector.from_bytes(reply.head), signature=b"").to_bytes())
        case ConfirmReply(given):
            return ConfirmReply(replace(Confirmation.from_bytes(given), signature=b"").to_bytes())
        case RevealReply():
            return replace(reply, reveal=replace(Reveal.from_bytes(reply.reveal), signature=b"").to_bytes())
    return reply


@pytest.mark.parametrize("kind", [JoinReply, OfferReply, RoundReply, ConfirmReply, RevealReply])
def test_what_is_not_signed_is_not_taken(them, kind) -> None:
    summing = summation(them)
    summing.grid.tamper = lambda n, r, b: _unsigned(r) if n == 3 and isinstance(r, kind) else r  # type: ignore[attr-defined]
    total = summing.total(plan_for(them, 1))
    left = NAMES if kind in (ConfirmReply, RevealReply) else tuple(name for name in NAMES if name != "south")
    assert total.sites == left
    assert list(total.dropped) == ["node 3" if kind is JoinReply else "south"]  # nobody knows yet who it is
    assert np.array_equal(total.values["weight/shared"], alone(them, 1, left))


def test_a_vector_of_rubbish_costs_its_site_alone_or_the_sum(them) -> None:
    """Wrong bytes of the right length cannot be told from right ones, and give no sum instead of a wrong one."""

    def rubbish(node: int, reply: Reply, before: Mapping[int, Reply]) -> Reply:
        if node == 3 and isinstance(reply, RoundReply):
            return replace(reply, masked=np.roll(reply.masked, 1) if cut is None else reply.masked[:cut])
        return reply

    for cut in (-1, None):
        summing = summation(them, number=10 if cut is None else 0)
        summing.grid.tamper = rubbish  # type: ignore[attr-defined]
        if cut is None:
            with pytest.raises(SecureSumError):
                summing.total(plan_for(them, 2))
        else:
            assert "south" not in summing.total(plan_for(them, 1)).sites


@pytest.mark.parametrize("leg", ["offer", "round", "confirm", "reveal"])
def test_a_site_that_is_lost_in_a_leg_is_back_in_the_next_sum(them, leg) -> None:
    summing = summation(them)
    grid: Any = summing.grid
    grid.lost = {2: leg}
    first = summing.total(plan_for(them, 1))
    assert list(first.dropped) == ["north"]
    grid.lost = {}
    second = summing.total(plan_for(them, 2))
    assert second.sites == NAMES and not second.dropped


def test_rubbish_as_an_offer_beside_a_reveal_is_asked_for_again(them) -> None:
    summing = summation(them)
    summing.grid.tamper = lambda n, r, b: replace(r, offer=b"rubbish") if n == 2 and isinstance(r, RevealReply) else r  # type: ignore[attr-defined]
    assert summing.total(plan_for(them, 1)).sites == NAMES
    assert summing.total(plan_for(them, 2)).sites == NAMES


def test_only_the_same_sites_may_repeat_what_was_opened(them) -> None:
    summing = summation(them)
    summing.total(plan_for(them, 1), last=True)
    summing.grid.lost = {4: "always"}  # type: ignore[attr-defined]
    with pytest.raises(TooFewSitesError, match="all of"):
        summing.total(plan_for(them, 1), only=NAMES)
    with pytest.raises(SecureSumError):
        summing.total(plan_for(them, 1))  # a coordinator that tries all the same
    summing.grid.lost = {}  # type: ignore[attr-defined]
    assert summing.total(plan_for(them, 1), only=NAMES).sites == NAMES


def test_numbers_and_survivors_are_kept_before_anyone_hears_of_them(them) -> None:
    kept: list[tuple[int, tuple[str, ...], int]] = []
    summing = summation(them)
    grid: Any = summing.grid
    summing.keep = lambda number, survivors: kept.append((number, tuple(survivors), len(grid.legs)))
    summing.total(plan_for(them, 1))
    assert kept == [(1, (), 1), (2, NAMES, 4)]  # before the offer leg, and before the reveal leg


def test_what_comes_from_a_site_is_noise(them) -> None:
    """Of the weights and updates in it nothing shows: its words are spread evenly over the ring."""
    seen: list[np.ndarray] = []

    def watch(node: int, reply: Reply, before: Mapping[int, Reply]) -> Reply:
        if isinstance(reply, RoundReply):
            seen.append(reply.masked.view(np.uint32))
        return reply

    summing = summation(them)
    summing.grid.tamper = watch  # type: ignore[attr-defined]
    summing.total(plan_for(them, 1))
    assert len(seen) == 4
    for words in seen:
        assert abs(float(np.mean(words / 2**32)) - 0.5) < 5 * (1 / 12 / words.size) ** 0.5


def test_a_spent_budget_ends_the_question_before_a_silent_site_would(tmp_path) -> None:
    """A run that was refused anyway waited a quarter of an hour for a site that read its data, or was away."""
    them = Hospitals(tmp_path, study_of("chart", "panel", privacy=PRIVACY))
    privacy = plan_privacy(them.study)
    assert privacy is not None
    summing = summation(them, first=0, names=dict(enumerate(them.names, start=1)))
    summing.seconds, summing.grid.lost = 120.0, {2: "always"}  # type: ignore[attr-defined]
    poor = them.sites[them.names[0]].site
    spent = Entry(them.study.digest, "earlier", 1, 1, "training", (privacy.training(them.study.rounds),))
    assert poor.ledger.spend(spent, privacy.epsilon, privacy.delta, privacy.accountant)
    began = time.monotonic()
    with pytest.raises(BudgetError, match=f"budget of {poor.name} does not carry") as refusal:
        summing.total(plan_for(them, 0))
    assert time.monotonic() - began < 110
    assert "Leave these sites out" in str(refusal.value) and "its name may be given to another run" in str(
        refusal.value
    )


@pytest.mark.parametrize(("poor", "advice"), [(2, "The 2 others are too few for a run"), (4, "These are all sites")])
def test_sites_are_not_left_out_where_no_others_would_be_enough(tmp_path, poor: int, advice: str) -> None:
    """Refused by the budgets of all its sites, a run was told to leave them out, with --site for each of the others."""
    them = Hospitals(tmp_path, study_of("chart", "panel", privacy=PRIVACY))
    privacy = plan_privacy(them.study)
    assert privacy is not None
    for name in them.names[:poor]:
        site = them.sites[name].site
        spent = Entry(them.study.digest, "earlier", 1, 1, "training", (privacy.training(them.study.rounds),))
        assert site.ledger.spend(spent, privacy.epsilon, privacy.delta, privacy.accountant)
    called = dict(enumerate(them.names, start=1))
    with pytest.raises(BudgetError) as refusal:
        summation(them, first=0, names=called).total(plan_for(them, 0))
    said = str(refusal.value)
    assert all(name in said for name in them.names[:poor])
    assert advice in said and "start a study with fewer rounds" in said
    assert "Leave these sites out" not in said and "--site" not in said
    with pytest.raises(BudgetError) as later:
        summation(them, first=0, number=7).total(plan_for(them, 0))
    assert "its name may be given" not in str(later.value)  # a sum of it was begun: its folder holds a checkpoint
