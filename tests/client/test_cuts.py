"""Two studies that cut the same patients otherwise: their sums may not show the few patients by which they differ."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from client.data.cohort import Cohort
from client.data.split import PARTS, part_by_hash, rank
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import allow, asked_about, opening, require_alike
from client.exact_sums.cuts_file import Kept, lacking, read, require_whole
from client.exact_sums.moves import differing, moves
from common.disk.audit import Audit, SumsAccepted
from common.errors import AnsweredError, AuditError, RunError
from common.study import Split, Study
from tests.support.cuts import everyone
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals, refused
from tests.support.tiny import cases_of, study_of

TEST = {"round": 5, "asks": ("test",)}
PATIENTS = {name: [f"{name} {number}" for number in range(300)] for name in NAMES}


def cohorts(study: Study) -> dict[str, Cohort]:
    """The same patients of each site, cut as the study says."""
    made = {}
    for place, name in enumerate(NAMES):
        cut = {patient: part_by_hash(patient, study.split) for patient in PATIENTS[name]}
        cases = cases_of(study, len(cut), seed=place, missing=0.0)
        parts = {part: cases.rows([i for i, own in enumerate(cut.values()) if own == part]) for part in PARTS}
        made[name] = Cohort(name, study.names, **parts, version=f"{place:064x}", sides=cut)
    return made


def mine(study: Study) -> Cut:
    """Of ME, as a sum of all modalities takes it."""
    return cut_of(cohorts(study)[ME], study.names)


def going_on_with(them: Hospitals, study: Study) -> Hospitals:
    """The sites, started anew from what is on their disks, with another study."""
    them.study, them.cohorts = study, cohorts(study)
    them.sites = {name: them.start(name) for name in NAMES}
    return them


def opened_by(them: Hospitals, study: Study, number: int) -> None:
    """They open this study's test score."""
    going_on_with(them, study).played(number, run=f"{number:016x}", study=study.digest, **TEST)


def two_fractions(moved: int) -> tuple[Study, Study]:
    """Two studies whose test parts differ by this many patients of ME, and by some of the others."""
    plain = study_of("chart", "panel", **PLAIN, split={"validation": 0.0, "test": 0.15})
    places = sorted(rank(patient, plain.split) / 2**64 for patient in PATIENTS[ME])
    tests = (places[44] * (1 + 1e-12), places[44 + moved] * (1 + 1e-12))
    first, second = (replace(plain, split=replace(plain.split, test=test)) for test in tests)
    return first, second


def test_two_fractions_that_differ_by_one_patient_are_not_both_answered(tmp_path) -> None:
    """`test: .150026` and `.151695` with one key: 268 and 269 test patients, and their sums differ by one of them."""
    first, second = two_fractions(moved=1)
    them = Hospitals(tmp_path, first, cohorts=cohorts(first), smallest_part=10)
    opened_by(them, first, 1)
    opened_by(them, replace(first, rounds=3, seed=1), 2)  # the same cut again
    sum = going_on_with(them, second).offered(3, run="3" * 16, study=second.digest, **TEST)
    assert refused(them, ME, them.round_request(sum)) == "answered"
    assert (tmp_path / ME / "cuts.json").stat().st_mode & 0o777 == 0o600


def test_a_cut_that_differs_by_many_patients_is_answered_where_a_person_allowed_it(tmp_path) -> None:
    first, second = two_fractions(moved=40)  # of the others too more than ten
    them = Hospitals(tmp_path, first, cohorts=cohorts(first), smallest_part=10)
    opened_by(them, first, 1)
    sum = going_on_with(them, second).offered(2, run="2" * 16, study=second.digest, **TEST)
    for name in NAMES:
        assert refused(them, name, them.round_request(sum)) == "answered"
        allow(tmp_path / name, second.digest, cut_of(them.cohorts[name], second.names))
    them.revealed(them.confirmed(them.masked(sum)))
    opened_by(them, first, 3)  # and the first goes on


def test_a_file_of_cuts_that_was_deleted_or_put_back_is_refused_in_words(tmp_path) -> None:
    """Without it, a cut that differs by one patient would be answered."""
    first, second = two_fractions(moved=40)
    opening(tmp_path, "a" * 64, mine(first), 10)
    file = tmp_path / "cuts.json"
    older = file.read_bytes()
    allow(tmp_path, "b" * 64, mine(second))
    opening(tmp_path, "b" * 64, mine(second), 10)
    newest = file.read_bytes()
    for bad in (None, older):
        file.unlink() if bad is None else file.write_bytes(bad)
        with pytest.raises(RunError, match="accept-sums"):
            opening(tmp_path, "c" * 64, mine(two_fractions(moved=1)[1]), 10)
    file.write_bytes(newest)
    opening(tmp_path, "b" * 64, mine(second), 10)
    file.unlink()
    Audit(tmp_path / "audit.jsonl").append(SumsAccepted(lacking(tmp_path)))
    opening(tmp_path, "c" * 64, mine(second), 10)
    assert lacking(tmp_path) == 0


def test_an_agent_at_work_does_not_make_the_file_look_put_back(tmp_path) -> None:
    """`wardround site status` and `check` read file and log without the agent's lock, between two of its lines."""
    growing = [everyone({str(patient): "train" for patient in range(number)}) for number in range(1, 60)]
    agent = Thread(target=lambda: [opening(tmp_path, "a" * 64, cut, 10) for cut in growing])
    agent.start()
    while agent.is_alive():
        require_whole(tmp_path)
    agent.join()
    assert lacking(tmp_path) == 0
    (tmp_path / "cuts.json").unlink()
    with pytest.raises(RunError, match="accept-sums"):
        require_whole(tmp_path)


def test_a_cut_that_the_log_did_not_take_is_counted_when_it_is_asked_for_again(tmp_path) -> None:
    """Killed, or the disk full, behind cuts.json: the vector leaves at the next attempt, for which nothing is new."""
    first, second = two_fractions(moved=1)
    log, cut = tmp_path / "audit.jsonl", mine(first)
    log.write_bytes(b"no line\n")
    with pytest.raises(AuditError):
        opening(tmp_path, "a" * 64, cut, 10)
    assert (tmp_path / "cuts.json").exists()
    log.unlink()
    require_alike(tmp_path, "a" * 64, cut, 10)
    (tmp_path / "cuts.json").unlink()
    with pytest.raises(RunError, match="accept-sums"):
        require_alike(tmp_path, "b" * 64, mine(second), 10)


def test_where_single_patients_may_be_shown_another_split_is_tried_without_a_person(tmp_path) -> None:
    """In a simulation: `smallest_part` is 1."""
    first, second = two_fractions(moved=1)
    them = Hospitals(tmp_path, first, cohorts=cohorts(first))
    opened_by(them, first, 1)
    opened_by(them, second, 2)


def test_a_person_allows_what_was_opened_by_then_and_nothing_after(tmp_path) -> None:
    one, two, three = (everyone({str(i): "test" if i < size else "train" for i in range(100)}) for size in (20, 40, 60))
    opening(tmp_path, "a", one, 10)
    assert asked_about(tmp_path, "b", two) == 20
    allow(tmp_path, "b", two)
    assert asked_about(tmp_path, "b", two) == 0
    opening(tmp_path, "b", two, 10)
    require_alike(tmp_path, "a", one, 10)
    for study, cut in (("c", three), ("d", one)):
        with pytest.raises(AnsweredError, match="by as few as"):
            require_alike(tmp_path, study, cut, 10)
    few = everyone({**two.parts, "39": "train"})
    allow(tmp_path, "e", few)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        require_alike(tmp_path, "e", few, 10)


@pytest.mark.parametrize(
    "other",
    [{"key": "another"}, {"validation": 0.01}, {"test": 0.0001}],
    ids=["key", "validation", "no test"],
)
def test_it_is_the_sides_that_count_whatever_moved_the_patients(other) -> None:
    split = Split(key="wardround", validation=0.2, test=0.2)
    one, two = (
        {patient: part_by_hash(patient, how) for patient in PATIENTS[ME]} for how in (split, replace(split, **other))
    )
    sides = [
        len({p for p, own in a.items() if own == part} - {p for p, own in b.items() if own == part})
        for part in PARTS
        for a, b in ((one, two), (two, one))
    ]
    kept = Kept(one, modalities={patient: ["chart"] for patient in one})
    assert {size for size in sides if size} <= {*differing(moves(kept, everyone(two)), (), Counter(), 1)}


def test_patients_of_one_cut_alone_are_no_difference(tmp_path) -> None:
    opening(tmp_path, "one", everyone({"a": "train", "b": "test"}), 10)
    opening(tmp_path, "two", everyone({"b": "test", "c": "train"}), 10)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        require_alike(tmp_path, "three", everyone({"c": "test"}), 10)
    require_alike(tmp_path, "three", everyone({"c": "test"}), 1)
    assert len(json.loads((tmp_path / "cuts.json").read_text())["cuts"]) == 1, "cuts that agree are one entry"


@pytest.mark.parametrize(("alone", "answered"), [(0, True), (1, False), (9, False), (10, True)])
@pytest.mark.parametrize("part", PARTS)
def test_who_is_in_the_sums_of_a_study_by_the_modalities_used_is_a_side_of_the_part(tmp_path, part, alone, answered):
    """Both ways: out of the sums, and into them. Of another study too, and there a person is asked."""
    charts = {str(number): frozenset({"chart"}) for number in range(alone)}
    both = {f"{one} {number}": frozenset({"chart", "panel"}) for one in PARTS for number in range(20)}
    sides = {one: one.split()[0] if " " in one else part for one in charts | both}
    wide, narrow = (Cut(sides, charts | both, frozenset(used)) for used in (("chart", "panel"), ("panel",)))
    for first, second, state in ((wide, narrow, tmp_path / "out"), (narrow, wide, tmp_path / "into")):
        opening(state, "a", first, 10)
        assert asked_about(state, "another", second) == alone
        allow(state, "another", second)
        with nullcontext() if answered else pytest.raises(AnsweredError, match=f"by {alone} patients of a part"):
            require_alike(state, "another", second, 10)
        require_alike(state, "a", second, 1)
        with nullcontext() if answered else pytest.raises(AnsweredError, match=f"by these {alone} patients of a part"):
            opening(state, "a", second, 10)
        opening(state, "a", first, 10)


def test_who_is_new_opted_out_or_in_a_part_that_is_not_signed_is_no_side_of_it(tmp_path) -> None:
    sides = {str(number): "train" for number in range(20)} | {"validating": "validation"}
    both = dict.fromkeys(sides, frozenset({"chart", "panel"})) | {"validating": frozenset({"chart"})}
    signed = frozenset({"train"})
    opening(tmp_path, "a", Cut(sides, both, frozenset({"chart", "panel"}), signed), 10)
    new = {**both, "new": frozenset({"chart"})}
    opening(tmp_path, "a", Cut({**sides, "new": "train"}, new, frozenset({"panel"}), signed), 10)
    with pytest.raises(AnsweredError):
        require_alike(tmp_path, "a", Cut({**sides, "new": "train"}, new, frozenset({"chart"}), signed), 10)
    opening(tmp_path, "a", Cut(sides, both, frozenset({"chart"}), signed), 10)
    opening(tmp_path, "b", Cut(sides, both, frozenset({"chart", "panel"}), signed), 10)
    opening(tmp_path, "b", Cut(sides, both, frozenset({"panel"}), signed), 10)


def with_chart(number: int, side: str, used: str = "chart panel", patients: int = 20) -> Cut:
    """Of twenty that move and twenty that do not, so many of those that move have a chart, and the others a panel."""
    having = {str(i): frozenset({"chart", "panel"} if i < number else {"panel"}) for i in range(patients)}
    having |= {f"other {i}": frozenset({"chart", "panel"}) for i in range(20)}
    return Cut({one: side if one.isdigit() else "train" for one in having}, having, frozenset(used.split()))


@pytest.mark.parametrize(("charts", "answered"), [(0, True), (1, False), (9, False), (10, True), (20, True)])
def test_each_modality_of_a_side_has_nobody_or_as_many(tmp_path, charts, answered) -> None:
    """Of twenty that moved one had a chart: the moments of charts of two studies differed by that patient's values."""
    opening(tmp_path, "a", with_chart(charts, "train"), 10)
    other = with_chart(charts, "test")
    assert asked_about(tmp_path, "b", other) == (charts or 20)
    allow(tmp_path, "b", other)
    with (
        nullcontext() if answered else pytest.raises(AnsweredError, match=f"by {charts} patients of a part, of several")
    ):
        opening(tmp_path, "b", other, 10)


@pytest.mark.parametrize(("before", "after"), [("panel", "chart panel"), ("chart panel", "panel")])
def test_a_modality_that_one_of_two_cuts_used_is_in_no_difference_of_them(tmp_path, before, after) -> None:
    opening(tmp_path, "a", with_chart(1, "train", before), 10)
    allow(tmp_path, "b", with_chart(1, "test", after))
    opening(tmp_path, "b", with_chart(1, "test", after), 10)
    allow(tmp_path, "c", with_chart(1, "validation"))
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "c", with_chart(1, "validation"), 10)


@pytest.mark.parametrize(("then", "now"), [(1, 20), (20, 1)])
def test_a_side_is_of_the_modalities_that_its_patients_had_then(tmp_path, then, now) -> None:
    opening(tmp_path, "a", with_chart(then, "train"), 10)
    allow(tmp_path, "b", with_chart(now, "test"))
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", with_chart(now, "test"), 10)


def test_of_whom_no_modalities_were_kept_nobody_moves(tmp_path) -> None:
    """As before they were kept: the same cut goes on, and a patient that is unknown stays so."""
    one, other = with_chart(20, "train"), with_chart(20, "test")
    opening(tmp_path, "a", one, 10)
    file = tmp_path / "cuts.json"
    stored = json.loads(file.read_text())
    cuts = [{key: cut[key] for key in ("sides", "studies", "allowed")} for cut in stored["cuts"]]
    file.write_text(json.dumps({"format": 1, "cuts": cuts}))
    (tmp_path / "audit.jsonl").unlink()
    for study in ("a", "of the same cut"):
        opening(tmp_path, study, one, 10)
    assert asked_about(tmp_path, "b", other) == 1
    allow(tmp_path, "b", other)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", other, 10)


def test_a_persons_word_is_not_for_patients_who_came_later(tmp_path) -> None:
    """Another study's were kept in the entry that a person had allowed; and the word served the first study too."""
    first = {f"p{number}": "train" for number in range(20)}
    second = first | {f"p{number}": "test" for number in range(10)}
    more, otherwise = ({f"x{number}": side for number in range(20)} for side in ("train", "test"))
    opening(tmp_path, "a", everyone(first), 10)
    allow(tmp_path, "b", everyone(second))
    opening(tmp_path, "b", everyone(second), 10)
    opening(tmp_path, "c", everyone(more), 10)
    with pytest.raises(AnsweredError, match=r"as few as [12]0"):
        opening(tmp_path, "b", everyone(second | otherwise), 10)
    opening(tmp_path, "a", everyone(first | more), 10)
    with pytest.raises(AnsweredError, match=r"as few as [12]0"):
        opening(tmp_path, "b", everyone(second | otherwise), 10)
    allow(tmp_path, "b", everyone(second | otherwise))
    opening(tmp_path, "b", everyone(second | otherwise), 10)
    opening(tmp_path, "a", everyone(first | more), 10)
    kept = replace(read(tmp_path), uses=[])
    size = read(tmp_path).size
    for study, cut in (("a", first | more), ("b", second | otherwise), ("a", first), ("c", more)):
        opening(tmp_path, study, everyone(cut), 10)
    assert replace(read(tmp_path), uses=[]) == kept and read(tmp_path).size == size, "what is kept is not kept again"


def test_the_first_study_too_needs_a_word_for_whom_the_second_one_had_in_addition(tmp_path) -> None:
    first = {f"p{number}": "train" for number in range(20)}
    second = first | {f"p{number}": "test" for number in range(10)} | {f"x{number}": "test" for number in range(20)}
    opening(tmp_path, "a", everyone(first), 10)
    allow(tmp_path, "b", everyone(second))
    opening(tmp_path, "b", everyone(second), 10)
    opening(tmp_path, "a", everyone(first), 10)
    joined = everyone(first | {f"x{number}": "train" for number in range(20)})
    with pytest.raises(AnsweredError, match="as few as"):
        opening(tmp_path, "a", joined, 10)
    allow(tmp_path, "a", joined)
    opening(tmp_path, "a", joined, 10)


def test_a_newer_or_a_damaged_file_of_cuts_is_named_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "cuts.json").write_text('{"format": 2, "cuts": []}')
    with pytest.raises(RunError, match="newer release"):
        require_alike(tmp_path, "one", everyone({}), 10)
    (tmp_path / "cuts.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        require_alike(tmp_path, "one", everyone({}), 10)


@pytest.mark.parametrize("name", ["cuts.json", "cuts.lock"])
def test_a_file_of_cuts_that_cannot_be_used_is_said_in_words(tmp_path: Path, name: str) -> None:
    """As one of another user's; a folder in its place stands in the way of root too."""
    (tmp_path / name).mkdir()
    with pytest.raises(RunError, match=f"{name}: cannot be read .*permissions"):
        opening(tmp_path, "one", everyone({"a": "train"}), 10)
    (tmp_path / name).rmdir()
    opening(tmp_path, "one", everyone({"a": "train"}), 10)


def test_a_private_study_keeps_no_cut_and_asks_none(tmp_path) -> None:
    """What is answered there hangs on no exact number of patients."""
    study = study_of("chart", "panel", **PRIVATE, split={"validation": 0.0, "test": 0.15})
    them = Hospitals(tmp_path, study, cohorts=cohorts(study), smallest_part=10)
    opening(tmp_path / ME, "another", everyone(dict.fromkeys(PATIENTS[ME], "train")), 10)
    them.played(1, **TEST)


@pytest.mark.parametrize("wrong", [None, 5, [], {"k": 1}])
@pytest.mark.parametrize("key", ["sides", "studies", "allowed", "changes", "words", "last"])
def test_wrong_values_in_the_file_are_damage(tmp_path, key, wrong) -> None:
    """A member of a list that is none ended the round as a fault of the program, which names no way out."""
    opening(tmp_path, "a", everyone({str(number): "train" for number in range(20)}), 10)
    file = tmp_path / "cuts.json"
    content = json.loads(file.read_text())
    (place,) = (one for name in ("cuts", "uses") for one in content[name] if key in one)
    place[key] = {"0": [[wrong]]} if isinstance(place[key], dict) else [[wrong]]
    file.write_text(json.dumps(content))
    with pytest.raises(RunError, match="is damaged"):
        opening(tmp_path, "b", everyone({str(number): "train" for number in range(20)}), 10)
