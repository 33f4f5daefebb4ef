"""A study that needs a newer protocol than some sites speak: who blocks it is said by name, before anything is paid."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message

from common import protocols
from common.derived import derive
from common.errors import ReleaseError
from common.messages import PROTOCOL, Refusal, spoken_in, to_records
from common.privacy.plan import plan_privacy
from common.protocols import Need
from common.study import Study
from server.lost import Lost, Refused, Silence, Speaks
from server.run import exchange
from server.run.reasons import ways_out
from server.run.secure_sum import Summation
from tests.server.test_summation import HandlerGrid, plan_for, summation
from tests.support.scripted import NAMES, PRIVATE, Hospitals
from tests.support.tiny import study_of

OLDER, OTHER_RELEASE = Speaks(4, 5), Refused(ReleaseError.code)


@pytest.fixture
def them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospitals:
    """Four sites, and a study that asks what protocol 4 has no words for."""
    monkeypatch.setattr(protocols, "NEEDS", (Need(5, _is_private, "asks for more than was known"),))
    return Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE, rounds=9))


def _is_private(study: Study) -> bool:
    return study.private


def older(them: Hospitals, *names: str) -> None:
    """These sites are of 0.2 from now on: as `tests/releases/test_wire.py` finds that release's agent to answer."""
    for name in names:
        handler = them.sites[name]

        def answer(message: Message, handler: Any = handler) -> Message:
            if spoken_in(message.content) == 4:
                return handler(message)
            return Message(to_records(Refusal("other_release"), 4), reply_to=message)

        them.sites[name] = answer  # type: ignore[assignment]


def playing(them: Hospitals, **changes: Any) -> Summation:
    made = summation(them, names=dict(enumerate(NAMES, start=1)), **changes)
    privacy = plan_privacy(them.study)
    made.derive = lambda plan: derive(plan, them.study, them.parameters, privacy)
    return made


def paid(them: Hospitals) -> list[str]:
    return [name for name in NAMES if (them.folder / name / "ledger.jsonl").exists()]


@pytest.mark.parametrize("first", [0, 3], ids=["begun", "gone on with"])
def test_who_does_not_speak_it_is_named_with_the_way_out_and_nobody_works(them: Hospitals, first: int) -> None:
    older(them, "north")
    summing = playing(them, first=first)
    with pytest.raises(ReleaseError) as caught:
        summing.total(plan_for(them, 1))
    said = str(caught.value)
    assert "Not begun" in said and "Nothing was charged" in said and "asks for more than was known" in said
    assert "needs protocol 5, of release 0.3" in said and "north (protocol 4, of release 0.2)" in said
    assert "install release 0.3 or a newer one" in said and "leave these sites out" in said and "--site" in said
    assert not any(name in said for name in NAMES if name != "north")
    grid: Any = summing.grid
    assert {kind for kind, _ in grid.legs} == {"query.join"} and not paid(them)
    assert summing.dropped["north"] == Lost("join", OLDER)
    assert summing.number == 0, "no sum was announced"


def test_all_who_block_are_named_and_too_few_others_are_called_so(them: Hospitals) -> None:
    older(them, "north", "west")
    with pytest.raises(ReleaseError, match=r"north \(.*\), west \(.*\).*the 2 others are too few"):
        playing(them, first=0).total(plan_for(them, 1))
    older(them, "east", "south")
    with pytest.raises(ReleaseError, match="these are all sites of the run"):
        playing(them, first=0).total(plan_for(them, 1))


def test_the_same_study_over_sites_that_speak_it_is_played_in_it(them: Hospitals) -> None:
    """And one that needs nothing newer is played with the older site, in what it speaks."""
    total = playing(them, first=0).total(plan_for(them, 1))
    assert total.sites == NAMES and not total.dropped and paid(them)


def test_a_study_that_needs_nothing_newer_is_played_with_the_older_site(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE, rounds=9))
    older(them, "north")
    total = playing(them, first=0).total(plan_for(them, 1))
    assert total.sites == NAMES and not total.dropped


def test_a_site_that_goes_back_to_an_older_release_in_a_run_is_lost_with_the_reason(them: Hospitals) -> None:
    summing = playing(them, first=0)
    summing.total(plan_for(them, 1))
    older(them, "north")
    assert summing.total(plan_for(them, 2)).dropped == {"north": Lost("round", OLDER)}
    for number in (3, 4):
        assert summing.total(plan_for(them, number)).dropped == {"north": Lost("join", OLDER)}
    words = Lost("join", OLDER).words
    assert words.startswith("join: speaks protocol 4 at most, of release 0.2, and this study needs 5")
    assert Lost.parse(str(Lost("join", OLDER))) == Lost("join", OLDER)
    assert "have them install a release" in ways_out([Lost("join", OLDER)], "first").lower()


def test_an_answer_in_another_number_than_was_asked_is_none(them: Hospitals) -> None:
    """What a site can gain by answering in another number is nothing: a refusal is one, and all else unreadable."""
    summing = playing(them)
    handler = them.sites["north"]

    def in_four(message: Message) -> Message:
        reply = handler(message)
        reply.content["config"]["protocol"] = 4
        return reply

    them.sites["north"] = in_four  # type: ignore[assignment]
    total = summing.total(plan_for(them, 1))
    assert total.dropped == {"north": Lost("join", Silence.UNREADABLE)}
    them.sites["north"] = handler
    assert playing(them, number=5).total(plan_for(them, 2)).sites == NAMES


def test_a_site_of_a_newer_release_is_called_newer(them: Hospitals) -> None:
    """One that speaks nothing of what is spoken here: it is named, and not said to be damaged."""
    handler = them.sites["north"]

    def newer(message: Message) -> Message:
        return Message(to_records(Refusal("other_release"), PROTOCOL + 1), reply_to=message)

    them.sites["north"] = newer  # type: ignore[assignment]
    total = playing(them).total(plan_for(them, 1))
    assert total.sites == ("east", "south", "west") and total.dropped == {"north": Lost("join", Silence.NEWER)}
    assert "install the newer release of wardround here" in total.dropped["north"].words
    them.sites["north"] = handler
    assert playing(them, number=5).total(plan_for(them, 2)).sites == NAMES


class Slow(HandlerGrid):
    """The second site's answers are there at once, the others' a moment later."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.since = time.monotonic()
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        late = time.monotonic() - self.since > 0.2
        return super().pull_messages([name for name in message_ids if late or name.endswith("/1")])


def test_a_refusal_of_that_code_in_the_number_that_was_asked_cuts_no_others_time_short(
    them: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that says so is lost as any that refuses; the run goes on with the others, who took their time."""
    monkeypatch.setattr(exchange, "GRACE_SECONDS", 0.0)
    summing = playing(them, first=0)
    summing.grid = Slow(them)
    summing.grid.tamper = lambda node, reply, before: Refusal("other_release") if node == 2 else reply
    total = summing.total(plan_for(them, 1), last=True)
    assert total.sites == ("east", "south", "west") and total.dropped == {"north": Lost("join", OTHER_RELEASE)}
