"""What a site's policy refuses: before any data is touched, with a closed code outside and a sentence inside."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from client.agent.handlers import SiteHandler
from client.consent.approvals import Approvals, keep_study
from client.hours import Hours
from client.round.gate import Gate, bytes_of
from client.round.session import Site
from client.site import Policy, SiteFile, SiteFolder, TargetSource, WithoutPrivacy
from client.terms import objections
from common import errors
from common import schema as border
from common.disk.audit import Refused, Sent
from common.errors import CohortError, OutsideHoursError, SiteFileError
from common.messages import ConfirmRequest, RoundReply
from common.study import Study
from tests.support.hospital import hospital, write_site
from tests.support.hospital import study_of as hospital_study
from tests.support.scripted import NAMES, Hospitals
from tests.support.tiny import study_of

ME = "east"
NOON = datetime(2026, 3, 4, 12, 0)
PRIVATE = {"privacy": {"mode": "local", "epsilon": 4.0, "sample_rate": 0.25, "expected_batch_size": 4.0}}


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel")


class Guarded(Site):
    """A deployed site whose data raises when it is so much as looked at."""

    @property
    def cohort(self) -> Any:  # type: ignore[override]
        raise AssertionError("data was touched")

    def refresh(self) -> None:
        raise AssertionError("data was touched")


def deployed(them: Hospitals, *, site: type[Site] = Site, **policy: Any) -> SiteHandler:
    """The site ME behind the agent's gate."""
    present = them.sites[ME].site
    made = site(under(present.folder, **policy), present.study, present.state)
    if site is Site:
        made.__dict__["cohort"] = them.cohorts[ME]
    them.sites[ME] = SiteHandler(made, gate=Gate(made))
    return them.sites[ME]


def under(folder: SiteFolder, **policy: Any) -> SiteFolder:
    """Most of the studies here have no privacy."""
    return replace(folder, file=replace(folder.file, policy=Policy(**({"require_privacy": False} | policy))))


def last_event(them: Hospitals) -> object:
    *_, last = them.sites[ME].audit.events()
    return last.event


# ----------------------------------------------------------------------------------------------- before data is touched


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"require_privacy": True}, "policy"),
        ({"largest_epsilon": 1.0}, "policy"),
        ({"without_privacy": WithoutPrivacy(smallest_part=17)}, "policy"),
        ({"hours": "XX"}, "outside_hours"),
        ({}, "policy"),
    ],
    ids=["private", "epsilon", "few patients", "hours", "secure sum"],
)
def test_a_refusal_touches_no_data_and_says_a_code_only(tmp_path, caplog, policy, code) -> None:
    study = study_of("chart", "panel", **({} if policy else {"secure_sum": {"enabled": False}}))
    them = Hospitals(tmp_path, study)
    if "hours" in policy:  # a window that ended an hour ago
        now = datetime.now()
        policy = {"hours": f"{now - timedelta(hours=2):%H:%M}-{now - timedelta(hours=1):%H:%M}"}
    handler = deployed(them, site=Guarded, **policy)
    Approvals(handler.site.state).approve(study)
    with caplog.at_level(logging.WARNING, "wardround.site"):
        reply = them.answer(ME, them.invitation(1))
    assert reply.code == code
    assert last_event(them) == Refused("JoinRequest", code)
    assert "policy" in caplog.text and not (handler.site.state / "ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("steps", "batch", "objected"), [(1, 1, True), (1, 9, True), (3, 3, True), (1, 10, False), (10, 1, False)]
)
def test_a_round_of_few_patients_is_objected_to_without_privacy(steps, batch, objected) -> None:
    """An update is of the patients of its steps, and shows them. In a simulation nobody is to be hidden."""
    file = under(SiteFolder(SiteFile(site="north", target=TargetSource(file=Path("t.csv"), column="t")), Path())).file
    training = {"local_steps": steps, "batch_size": batch}
    plain, private = (study_of("chart", training=training, **mode) for mode in ({}, PRIVATE))
    assert any("is of" in words for words in objections(file, plain)) == objected
    assert objections(file, plain, simulated=True) == objections(file, private) == []


def test_a_study_that_nobody_approved_is_refused_before_data_is_touched(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    deployed(them, site=Guarded)
    assert them.answer(ME, them.invitation(1)).code == "not_approved"
    approvals = Approvals(tmp_path / ME)
    approvals.approve(study)
    approvals.pause(study.digest)
    assert them.answer(ME, them.invitation(1)).code == "paused"
    approvals.resume(study.digest)
    approvals.withdraw(study.digest)
    assert them.answer(ME, them.invitation(1)).code == "not_approved"


def test_a_round_larger_than_the_site_lets_out_is_refused_before_its_work(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them)
    Approvals(handler.site.state).approve(study)
    sum, folder = them.offered(1), under(handler.site.folder, bytes_out_per_round=1000)
    handler.site = Guarded(folder, study, handler.site.state)
    handler.gate = Gate(handler.site)
    assert them.answer(ME, them.round_request(sum)).code == "policy"
    assert last_event(them) == Refused("RoundRequest", "policy")


def test_what_leaves_in_a_round_is_counted_over_all_its_replies(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them)
    Approvals(handler.site.state).approve(study)
    them.played(1)
    sent = [record.event.bytes for record in handler.audit.events() if isinstance(record.event, Sent)]
    total = sum(sent)
    again = Hospitals(tmp_path / "again", study)
    handler = deployed(again, bytes_out_per_round=total - 1)
    Approvals(handler.site.state).approve(study)
    going = again.confirmed(again.masked(again.offered(1)))
    assert again.answer(ME, again.reveal_request(going)).code == "policy"
    enough = Hospitals(tmp_path / "enough", study)
    handler = deployed(enough, bytes_out_per_round=total)
    Approvals(handler.site.state).approve(study)
    enough.played(1)
    enough.played(1, run="f" * 16)  # another run, whose numbers begin anew


def test_the_count_of_a_round_is_not_begun_anew_by_asking_for_another_in_between(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them)
    Approvals(handler.site.state).approve(study)
    sum = them.masked(them.offered(1))
    sent = [record.event.bytes for record in handler.audit.events() if isinstance(record.event, Sent)]
    handler.site.folder = under(handler.site.folder, bytes_out_per_round=4 * max(*sent))
    codes = []
    for number in range(2, 6):
        them.ask(ME, them.invitation(number))
        codes.append(getattr(them.answer(ME, them.round_request(sum)), "code", "sent"))
    assert codes[0] == "sent" and codes[-1] == "policy"


def test_what_was_answered_under_another_policy_is_not_sent_again(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them)
    Approvals(handler.site.state).approve(study)
    sum = them.masked(them.offered(1))
    deployed(them)  # a restart
    assert isinstance(them.answer(ME, them.round_request(sum)), RoundReply)
    deployed(them, minimum_cohort=2)
    assert them.answer(ME, them.round_request(sum)).code == "run"


def test_confirming_and_revealing_touch_no_data_whatever_came_in_between(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = them.sites[ME]
    sum = them.masked(them.offered(1))
    handler.site = Guarded(handler.site.folder, study, handler.site.state)
    going = them.confirmed(sum)
    them.ask(ME, them.reveal_request(going))


def test_bytes_of_a_reply_are_those_of_its_vector_and_head(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    reply = them.ask(ME, them.round_request(them.offered(1)))
    assert isinstance(reply, RoundReply)
    assert bytes_of(reply) == len(reply.head) + reply.masked.nbytes + 3 * 8


def test_an_approved_study_within_its_terms_runs_as_in_a_simulation(tmp_path, study) -> None:
    private = study_of("chart", "panel", **PRIVATE)
    them = Hospitals(tmp_path, private)
    handler = deployed(them, require_privacy=True, largest_epsilon=4.0, modalities=["chart", "panel"])
    Approvals(handler.site.state).approve(private)
    them.played(1)
    kinds = [type(record.event).__name__ for record in handler.audit.events()]
    assert kinds.count("Spent") == 1 and kinds.count("Sent") == 5


def test_not_asked_needs_no_approval_but_still_obeys_a_pause(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them, approval="not_asked")
    keep_study(handler.site.state, study)
    them.ask(ME, them.invitation(1))
    Approvals(handler.site.state).pause(study.digest)
    assert them.answer(ME, them.invitation(1)).code == "paused"


def test_a_pause_in_the_middle_of_a_round_holds_at_once_also_for_stored_answers(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    handler = deployed(them)
    Approvals(handler.site.state).approve(study)
    sum = them.masked(them.offered(1))
    Approvals(handler.site.state).pause(study.digest)
    assert them.answer(ME, them.round_request(sum)).code == "paused"
    assert them.answer(ME, ConfirmRequest(1, NAMES)).code == "paused"


def test_a_simulation_asks_for_no_approval_and_keeps_no_hours(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    site = them.sites[ME].site
    now = datetime.now()
    window = f"{now - timedelta(hours=2):%H:%M}-{now - timedelta(hours=1):%H:%M}"
    site.folder = under(site.folder, hours=window)
    them.ask(ME, them.invitation(1))
    site.folder = under(site.folder, require_privacy=True)
    assert them.answer(ME, them.invitation(1)).code == "policy"


# ------------------------------------------------------------------------------------------------------------ the terms


@pytest.mark.parametrize(
    ("policy", "changes", "word"),
    [
        ({"require_privacy": True}, {}, "require_privacy"),
        ({"largest_epsilon": 8}, {}, "largest_epsilon"),
        ({"largest_epsilon": 3.99}, PRIVATE, "largest_epsilon"),
        ({}, {"secure_sum": {"enabled": False}}, "require_secure_sum"),
        ({"modalities": ["letter"]}, {}, "modalities"),
        ({"modalities": []}, {}, "modalities"),
    ],
)
def test_each_term_objects_in_a_sentence_that_names_it(policy, changes, word) -> None:
    allowing = {"require_privacy": False} | policy
    (sentence,) = objections(site_file(**allowing), study_of("chart", "panel", **changes))
    assert f"policy.{word}" in sentence


def test_a_deployed_site_takes_no_study_without_privacy_unless_its_file_says_so(tmp_path, study) -> None:
    """The default, also through the agent's gate; in a simulation it is the other way round."""
    (sentence,) = objections(site_file(), study)
    assert "policy.require_privacy" in sentence and "require_privacy: false" in sentence
    assert objections(site_file(), study, simulated=True) == []
    assert objections(site_file(), study_of("chart", "panel", **PRIVATE)) == []
    them = Hospitals(tmp_path, study)
    handler = deployed(them, require_privacy=None)
    Approvals(handler.site.state).approve(study)
    assert them.answer(ME, them.invitation(1)).code == "policy"
    deployed(them, require_privacy=False)
    them.ask(ME, them.invitation(1))


@pytest.mark.parametrize(
    ("policy", "changes"),
    [
        ({}, {}),
        ({"largest_epsilon": 4.0, "require_privacy": True}, PRIVATE),
        ({"require_secure_sum": False}, {"secure_sum": {"enabled": False}}),
        ({"modalities": ["chart"]}, {}),
    ],
)
def test_what_keeps_to_the_terms_has_no_objection(policy, changes) -> None:
    assert objections(site_file(**({"require_privacy": False} | policy)), study_of("chart", "panel", **changes)) == []


def site_file(**policy: Any) -> SiteFile:
    table = {"file": "t.csv"}
    text = yaml.safe_dump(
        {"site": "north", "target": table | {"column": "y"}, "records": {"chart": table}, "policy": policy}
    )
    return border.parse(text, SiteFile, SiteFileError, "site.yaml")


@pytest.mark.parametrize(
    "policy",
    [
        {"hours": "8-18"}, {"hours": "08:00-08:00"}, {"hours": "24:00-06:00"}, {"hours": "08:60-09:00"},
        {"hours": "08:00-18:00\n"}, {"minimum_sites": 2}, {"minimum_cohort": 0}, {"largest_epsilon": 0},
        {"largest_epsilon": float("inf")}, {"approval": "later"}, {"retention_days": -1}, {"round_seconds": 0},
        {"require_privcy": True},
    ],
)  # fmt: skip
def test_a_policy_that_could_be_misread_is_refused_by_its_key(policy) -> None:
    with pytest.raises(SiteFileError, match=r"policy"):
        site_file(**policy)


def test_a_modality_that_policy_leaves_out_is_not_even_read(tmp_path) -> None:
    hospital(tmp_path)
    folder = write_site(tmp_path, {"policy": {"modalities": ["labs"]}})
    for name in ("notes.csv", "genes.csv", "patients.csv"):
        (tmp_path / name).unlink()
    site = Site(folder, hospital_study(), tmp_path / "state")
    assert site.cohort.owned == ("labs",)


def test_fewer_cases_than_the_least_take_no_part(tmp_path) -> None:
    hospital(tmp_path)
    study = hospital_study(modalities=["labs"])
    site = Site(write_site(tmp_path, {"policy": {"minimum_cohort": 16}}), study, tmp_path / "state")
    cases = sum(len(part) for part in (site.cohort.train, site.cohort.validation, site.cohort.test))
    assert cases == 16
    few = Site(write_site(tmp_path, {"policy": {"minimum_cohort": 17}}), study, tmp_path / "state")
    with pytest.raises(CohortError, match="minimum_cohort") as caught:
        _ = few.cohort
    assert caught.value.code == "data"


def test_a_round_stops_when_the_site_s_time_for_it_is_over(tmp_path) -> None:
    study = study_of("chart", "panel", training={"local_steps": 100_000, "batch_size": 4})
    them = Hospitals(tmp_path, study)
    handler = deployed(them, round_seconds=0.2, without_privacy=WithoutPrivacy(lost_site="show"))
    Approvals(handler.site.state).approve(study)
    reply = them.ask(ME, them.round_request(them.offered(1)))
    assert 0 < reply.steps < 100_000


# ------------------------------------------------------------------------------------------------------------ the hours

TIMES = st.times().map(lambda at: at.replace(second=0, microsecond=0))


@given(TIMES, TIMES, st.times())
def test_each_moment_is_in_a_window_or_in_its_complement(start: time, end: time, now: time) -> None:
    if start == end:
        with pytest.raises(ValueError, match="hours"):
            Hours.parse(f"{start:%H:%M}-{end:%H:%M}")
        return
    window, rest = Hours.parse(f"{start:%H:%M}-{end:%H:%M}"), Hours.parse(f"{end:%H:%M}-{start:%H:%M}")
    assert window.contains(now) != rest.contains(now)
    assert Hours.parse(str(window)) == window


@given(TIMES, st.integers(1, 24 * 60 - 1), st.integers(0, 24 * 60 - 1))
def test_a_window_is_as_long_as_it_says_wherever_midnight_falls(start: time, minutes: int, after: int) -> None:
    day = datetime(2026, 1, 1, start.hour, start.minute)
    window = Hours.parse(f"{day:%H:%M}-{day + timedelta(minutes=minutes):%H:%M}")
    assert window.contains((day + timedelta(minutes=after)).time()) == (after < minutes)


def test_work_begins_within_the_hours_and_may_end_after_them(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    gate = deployed(them, hours="22:00-06:00").gate
    assert gate is not None
    Approvals(tmp_path / ME).approve(study)
    late = NOON.replace(hour=23)
    gate.require(them.invitation(1), late)
    gate.require(ConfirmRequest(1, NAMES), NOON)
    with pytest.raises(OutsideHoursError, match="22:00-06:00"):
        gate.require(them.invitation(1), NOON)


def test_the_drawing_of_errors_has_each_with_its_exit_code_and_public_code() -> None:
    drawing = [line.split() for line in (errors.__doc__ or "").splitlines() if "──" in line]
    drawn = {line[line.index("├──" if "├──" in line else "└──") + 1 :][0]: line for line in drawing}
    for kind in errors.tree()[1:]:
        if kind.__module__ == errors.__name__:
            assert str(kind.exit_code) in drawn[kind.__name__] and kind.code in drawn[kind.__name__]
        else:  # one that a side tells apart for itself says nothing new outside of it
            assert not {"code", "exit_code"} & vars(kind).keys()
