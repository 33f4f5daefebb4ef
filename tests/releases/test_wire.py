"""Beside a site, or a coordinator, of 0.2: the same messages, the same enrolment, and a plain no to what is newer."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.relay import RelayClient
from common.errors import ReleaseError
from common.identity.roster import Roster
from common.messages import (
    ACTIVITIES,
    FIRST,
    PROTOCOL,
    ActivityReply,
    ActivityRequest,
    ConfirmReply,
    ConfirmRequest,
    JoinReply,
    JoinRequest,
    OfferReply,
    OfferRequest,
    Refusal,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    RoundReply,
    RoundRequest,
    from_records,
    spoken_in,
    to_records,
)
from common.plan import RoundPlan, asks_of
from common.protocols import HERE, RELEASES, needed, require_sayable, why_needed
from common.record_bytes import from_bytes, to_bytes
from common.schedule import Schedule
from common.study import read_study
from server.lost import Lost, Silence
from server.run.invitation import invite
from tests.releases.test_made_by_0_1 import OfSite
from tests.support.agent import AgentSite, agent_site
from tests.support.deployment import Process, command, environment, wait_for
from tests.support.enrolment import site_folder
from tests.support.release import FIXTURES, program
from tests.support.told import Told, content, said, told

ROOT = Path(__file__).resolve().parents[2]
SENT = sorted((FIXTURES / "release-0.2" / "messages").glob("*.bin"))
STUDIES = sorted(FIXTURES.glob("release-*/studies/*.yaml"))
Ask = Callable[[bytes], Told]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of 0.2."""
    return program("0.2", tmp_path_factory.mktemp("old"))


# ------------------------------------------------------------------------------------------------------ the messages


@pytest.fixture(scope="module")
def told_by_old(old: Path) -> Iterator[Ask]:
    """What 0.2 reads in a message, and writes for it."""
    words = [sys.executable, "-P", str(ROOT / "tests" / "support" / "told.py")]
    with subprocess.Popen(
        words, cwd=old, env=environment(PYTHONPATH=str(old)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout

        def ask(data: bytes) -> Told:
            assert process.stdin and process.stdout
            pickle.dump(data, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)  # type: ignore[no-any-return]

        yield ask
        process.stdin.close()


NAMES = st.text("abcdefghij_é", min_size=1, max_size=6)
NUMBERS, COUNTS = st.integers(0, 2**62), st.integers(-(2**40), 2**40)
WORDS, BYTES = st.text(max_size=20), st.binary(max_size=40)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
EPSILONS = st.floats(-1, 1e6)
VECTORS = st.lists(FLOATS, max_size=4).map(np.array)
SITES = st.lists(NAMES, max_size=4).map(tuple)
PLANS = st.builds(
    RoundPlan,
    WORDS,
    WORDS,
    NUMBERS,
    NUMBERS,
    st.builds(asks_of, st.booleans(), st.booleans(), st.sampled_from(["", "validation", "test"])),
    SITES,
    st.dictionaries(NAMES, SITES, max_size=3),
    st.lists(st.floats(width=32, allow_nan=False), max_size=6).map(lambda those: np.array(those, dtype=np.float32)),
    st.dictionaries(NAMES, st.tuples(VECTORS, VECTORS), max_size=2),
    st.floats(0, 1e9),
)
CODES = st.sampled_from(["error", "budget", "other_release", "not_approved"])
MESSAGES: dict[type[Request | Reply], st.SearchStrategy[Request | Reply]] = {
    JoinRequest: st.builds(JoinRequest, WORDS, WORDS, WORDS, NUMBERS, COUNTS, SITES),
    JoinReply: st.builds(JoinReply, BYTES),
    OfferRequest: st.builds(OfferRequest, BYTES),
    OfferReply: st.builds(OfferReply, BYTES),
    RoundRequest: st.builds(RoundRequest, NUMBERS, PLANS, st.lists(BYTES, max_size=3).map(tuple), BYTES),
    RoundReply: st.builds(
        RoundReply, BYTES, BYTES.map(lambda data: np.frombuffer(data, dtype=np.uint8)), NUMBERS, EPSILONS, EPSILONS
    ),
    ConfirmRequest: st.builds(ConfirmRequest, NUMBERS, SITES),
    ConfirmReply: st.builds(ConfirmReply, BYTES),
    RevealRequest: st.builds(RevealRequest, NUMBERS, st.lists(BYTES, max_size=3).map(tuple), BYTES),
    RevealReply: st.builds(RevealReply, BYTES, BYTES, CODES | st.just("")),
    ActivityRequest: st.builds(ActivityRequest, WORDS),
    ActivityReply: st.builds(ActivityReply, st.sampled_from(sorted(ACTIVITIES)), COUNTS, COUNTS, COUNTS),
    Refusal: st.builds(Refusal, CODES),
}


def test_every_kind_of_message_is_drawn() -> None:
    assert set(MESSAGES) == set(Request.__args__) | set(Reply.__args__)  # type: ignore[attr-defined]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_in_protocol_4_each_message_is_what_0_2_makes_of_it(
    told_by_old: Ask, kind: type[Request | Reply], data: st.DataObject
) -> None:
    """0.2 reads the same in it, field by field, and its own records of that are these, value by value."""
    message = data.draw(MESSAGES[kind])
    sent = to_bytes(to_records(message, 4))
    assert told_by_old(sent) == said(message) == told(sent)


def test_in_protocol_5_each_message_is_another_number_and_nothing_else() -> None:
    """Of all but plans, which say what they ask in other words."""
    for message in (JoinRequest("r", "s", "t", 1), Refusal("budget"), ActivityReply("idle", 0, 0, 0)):
        four, five = to_records(message, 4), to_records(message, 5)
        assert (spoken_in(four), spoken_in(five)) == (4, 5)
        assert from_records(five) == from_records(four) == message
        five["config"]["protocol"] = 4
        assert content(five) == content(four)


@pytest.mark.parametrize("path", SENT, ids=lambda path: path.stem)
def test_what_0_2_sent_is_read_and_would_be_sent_the_same(path: Path) -> None:
    records = from_bytes(path.read_bytes())
    assert spoken_in(records) == FIRST == 4
    assert told(path.read_bytes())[2] == content(records)


# ------------------------------------------------------------------------------------------------------ what is newer


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parents[1].name} {path.stem}")
def test_a_study_of_today_needs_no_newer_protocol_and_one_that_asks_for_more_does(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(path)
    assert needed(study) == 4 and not why_needed(study)
    require_sayable(4, study)
    stage = Schedule.stage
    monkeypatch.setattr(Schedule, "stage", lambda self, number: replace(stage(self, number), asks=("a new question",)))
    assert needed(study) == 5 and "more than protocol 4 has words for" in why_needed(study)
    with pytest.raises(ReleaseError, match="asks in protocol 4, and this study needs 5"):
        require_sayable(4, study)
    require_sayable(5, study)


@pytest.fixture(scope="module")
def site() -> Iterator[AgentSite]:
    with agent_site() as joined:
        yield joined


@pytest.mark.soak
def test_a_site_of_0_2_refuses_a_newer_protocol_and_the_coordinator_reads_what_it_speaks(
    old: Path, site: AgentSite, tmp_path: Path
) -> None:
    """Its real agent: asked in 5 it says no in 4, and asked the same in 4 it consents."""
    words = ("site", "agent", "--at", str(site.folder))
    process = Process(tmp_path / "agent.log", *words, env=environment(PYTHONPATH=str(old)))
    try:
        with closing(RelayClient(site.socket)) as client:
            wait_for(lambda: client.is_serving() or not process.runs, "agent of 0.2")
            five = bytes(client.answer(to_bytes(to_records(site.join(), 5))))
            four = bytes(client.answer(to_bytes(to_records(site.join(), 4))))
            told_of = client.activity()
    finally:
        process.stop()
    assert dict(from_bytes(five)["config"]) == {"kind": "Refusal", "protocol": 4, "code": "other_release"}
    assert isinstance(from_records(from_bytes(four)), JoinReply)
    assert told_of.state == "idle"
    assert "newer release of wardround" in process.text and "damaged" not in process.text
    roster = Roster.read(site.state / "identity" / "roster.yaml")
    asked = {"roster": roster, "seconds": 5.0}
    joined, missing = invite(OfSite(five), [7], site.join(), protocol=5, **asked)  # type: ignore[arg-type]
    assert not joined
    why = Lost("join", missing[7]).words
    assert "speaks protocol 4 at most, of release 0.2" in why and "install release 0.3" in why
    joined, missing = invite(OfSite(four), [7], site.join(), protocol=4, **asked)  # type: ignore[arg-type]
    assert joined[7].site and not missing


def test_a_coordinator_of_a_newer_release_is_refused_as_newer_in_the_newest_number_here(
    site: AgentSite, caplog: pytest.LogCaptureFixture
) -> None:
    """So that it reads what this site speaks. The same in a number that is spoken is answered in that."""
    agent = site.agent()
    newer = to_records(site.join(), PROTOCOL + 1)
    reply = from_bytes(agent.answer(to_bytes(newer)))
    assert dict(reply["config"]) == {"kind": "Refusal", "protocol": PROTOCOL, "code": "other_release"}
    assert f"speaks protocol {PROTOCOL + 1}" in caplog.text and "newer release of wardround" in caplog.text
    assert "damaged" not in caplog.text
    for number in HERE.wire:
        reply = from_bytes(agent.answer(to_bytes(to_records(site.join(), number))))
        assert spoken_in(reply) == number and isinstance(from_records(reply), JoinReply)


def test_a_site_of_a_newer_release_is_named_as_newer(site: AgentSite) -> None:
    roster = Roster.read(site.state / "identity" / "roster.yaml")
    for message in (Refusal("other_release"), JoinReply(b"a member in a form of later")):
        answer = to_bytes(to_records(message, PROTOCOL + 1))
        joined, missing = invite(OfSite(answer), [7], site.join(), roster, seconds=5)  # type: ignore[arg-type]
        assert not joined and missing == {7: Silence.NEWER}
        assert "newer protocol: install the newer release of wardround here" in Lost("join", missing[7]).words


# -------------------------------------------------------------------------------------------------------- enrolment


@pytest.mark.parametrize("which", ["the coordinator", "the site"])
def test_requests_and_kits_go_from_one_release_to_the_other(old: Path, tmp_path: Path, which: str) -> None:
    """By the commands of each, in both directions."""
    there, here = (old, ROOT) if which == "the coordinator" else (ROOT, old)
    at, folder = tmp_path / "consortium", site_folder(tmp_path, "north")
    request, kit = tmp_path / "request.yaml", tmp_path / "kit.yaml"
    command(there, "consortium", "new", "lab", "--host", "127.0.0.1", "--at", at)
    command(here, "site", "enrol", "--at", folder, "--out", request)
    command(there, "consortium", "admit", request, "--at", at, "--yes", "--out", kit)
    command(here, "site", "join", kit, "--at", folder, "--yes")
    pinned, roster = (Roster.read(path) for path in (folder / "state/identity/roster.yaml", at / "roster.yaml"))
    assert pinned.digest == roster.digest and list(pinned.sites) == ["north"]


# -------------------------------------------------------------------------------------------------------- the table

NUMBERS = {
    "enrolment": ("common/document.py", "PROTOCOL"),
    "relay": ("client/relay.py", "PROTOCOL"),
    "secure_sum": ("common/identity/encoding.py", "PROTOCOL"),
    "study": ("common/schema.py", "SCHEMA"),
    "ledger": ("client/ledger/ledger.py", "FORMAT"),
    "audit": ("common/disk/audit_events.py", "LINE_FORMAT"),
    "checkpoint": ("server/run/checkpoint.py", "FORMAT"),
    "status": ("server/run/watch.py", "STATUS_FORMAT"),
    "report": ("server/report/evidence.py", "REPORT_FORMAT"),
}


def written(path: Path, name: str) -> Any:
    """The plain value that a module's text gives to a name."""
    for line in ast.parse(path.read_text()).body:
        if isinstance(line, ast.Assign):
            (target,) = line.targets
            names = [one.id for one in getattr(target, "elts", [target]) if isinstance(one, ast.Name)]
            if name in names:
                values = line.value.elts if isinstance(line.value, ast.Tuple) else [line.value]
                return ast.literal_eval(values[names.index(name)])
    raise AssertionError(f"{path}: no {name}")


@pytest.mark.parametrize("name", ["0.2", HERE.name])
def test_the_table_is_what_the_code_of_a_release_says(old: Path, name: str) -> None:
    source = old if name == "0.2" else ROOT
    (row,) = [release for release in RELEASES if release.name == name]
    found = {key: written(source / path, constant) for key, (path, constant) in NUMBERS.items()}
    found["secure_sum"] = int(found["secure_sum"].split()[-1])
    wire = (written(source / "common/messages.py", "PROTOCOL"),) if name == "0.2" else (FIRST, PROTOCOL)
    assert found | {"name": name, "wire": wire} == asdict(row)
