"""Sums of two cuts, added and subtracted over parts: whom they count apart are nobody, or as many as the site asks for.

Without privacy, through the real handlers of four sites that wait for lost ones and show no fewer than ten.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from client.data.cohort import Cohort
from client.data.recipe import Rules
from client.data.split import part_by_hash
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import allow, asked_about, opening, require_alike, told_of
from common.errors import AnsweredError
from common.models.batch import Batch
from common.study import Split, Study
from tests.client.test_shown_by_differences import OTHER_RUN, SCORES, STATISTICS, hospitals, in_study, sided
from tests.client.test_shown_by_few import without_charts
from tests.support.cuts import everyone
from tests.support.scripted import ME, NAMES, PLAIN, Hospitals, cohort_of, plain_study, refused
from tests.support.tiny import cases_of, study_of

CHART, PANEL = frozenset({"chart"}), frozenset({"panel"})


def together(*batches: Batch) -> Batch:
    inputs = {name: torch.cat([one.inputs[name] for one in batches]) for name in batches[0].inputs}
    present, target = (torch.cat([getattr(one, name) for one in batches]) for name in ("present", "target"))
    return Batch(inputs, present, target)


def by(study: Study, column: str, test: list[str]) -> Study:
    split = replace(study.split, column=column, validation_values=["held out"], test_values=test)
    return replace(study, split=split)


def allowed_everywhere(them: Hospitals, study: Study, cohorts: dict[str, Cohort]) -> list[int]:
    """What each person is told, who says yes."""
    told = []
    for name, cohort in cohorts.items():
        cut = cut_of(cohort, study.names)
        told.append(asked_about(them.folder / name, study.digest, cut, 10))
        allow(them.folder / name, study.digest, cut)
    return told


@pytest.mark.parametrize("comes", [0, 1, 10])
@pytest.mark.parametrize("sums", [STATISTICS, SCORES], ids=["statistics", "scores"])
def test_who_comes_from_no_part_is_not_hidden_by_those_who_change_parts(tmp_path: Path, sums, comes: int) -> None:
    """Ten went from validation to test, and one with a gap in the first study's split column came into test: each part
    differed by ten or eleven, and both together by that patient.
    """
    base = study_of("chart", "panel", **PLAIN)
    one, two = by(base, "year", ["b"]), by(base, "ward", ["b"])
    cohorts = {name: sided(cohort_of(base, name, seed=10 * i, patients=20)) for i, name in enumerate(NAMES)}
    first = {name: replace(cohort, rules=Rules(split="year")) for name, cohort in cohorts.items()}
    gap, me = {f"x{i}": "test" for i in range(comes)}, cohorts[ME]
    second = {name: replace(cohort, rules=Rules(split="ward")) for name, cohort in cohorts.items()}
    moved = {f"validation {i}": "test" for i in range(10)}
    test = (me.test, me.validation.rows(range(10)), cases_of(base, comes, seed=777, missing=0.0))
    sides = {patient: part for patient, part in me.sides.items() if patient not in moved} | moved | gap
    second[ME] = replace(
        second[ME],
        validation=me.validation.rows(range(10, 20)),
        test=together(*test[: 2 + bool(comes)]),
        sides=dict(sorted((sides | moved).items(), key=lambda one: ("train", "validation", "test").index(one[1])))
        | gap,
        version="b" * 64,
    )
    second[ME] = replace(second[ME], sides=in_order(second[ME].sides, me.sides))
    them = hospitals(tmp_path, one, first | {ME: replace(first[ME], out=frozenset(gap))})
    them.summed(1, run="a" * 16, study=one.digest, **sums)
    them = in_study(them, two, second)
    told = allowed_everywhere(them, two, second)
    assert max(told) == (comes or 10)
    sum = them.offered(2, run="b" * 16, study=two.digest, **sums)
    if comes == 1:
        assert refused(them, ME, them.round_request(sum)) == "answered"
    else:
        them.opened(sum)


def in_order(sides: dict[str, str], before: dict[str, str]) -> dict[str, str]:
    """As the rows stand: who was in the part before, then who moved into it, then who is new."""
    kept = [one for one in sides if before.get(one) == sides[one]]
    moved = [one for one in sides if one in before and before[one] != sides[one]]
    return {one: sides[one] for one in (*kept, *moved, *(one for one in sides if one not in before))}


def test_who_stays_is_not_shown_by_a_part_that_all_others_left(tmp_path: Path) -> None:
    """Of eleven validation patients ten are the next study's test patients: the difference was the one who stays."""
    rest = {f"train {i}": "train" for i in range(40)}
    first = everyone(rest | {f"v{i}": "validation" for i in range(11)})
    opening(tmp_path, "a", first, 10)
    now = rest | {f"v{i}": "test" for i in range(10)} | {"v10": "validation"}
    now |= {f"train {i}": "validation" for i in range(10)}
    assert asked_about(tmp_path, "b", everyone(now), 10) == 1
    allow(tmp_path, "b", everyone(now))
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", everyone(now), 10)
    opening(tmp_path, "a", first, 10)


@pytest.mark.parametrize("rare", [1, 10])
def test_a_part_that_is_signed_by_another_split_brings_no_few_into_the_sums(tmp_path: Path, rare: int) -> None:
    """The first study's test patients were too few for their part to be in a sum; the second one filled it with others:
    of the modalities in both sums one more was the few's.
    """
    base = study_of("chart", "panel", **PLAIN)
    one, two = by(base, "year", ["rare"]), by(base, "year", ["rare", "common"])
    few = cases_of(base, rare, seed=777, missing=0.0)
    first, second = {}, {}
    for i, name in enumerate(NAMES):
        cohort = replace(cohort_of(base, name, seed=10 * i, patients=40), rules=Rules(split="year"))
        none, mine = cohort.test.rows([]), few if name == ME else cohort.test.rows(range(rare - 1))
        more = {f"x{k}": "test" for k in range(len(mine.target))}
        train = {f"p{k:02}": "train" for k in range(40)}
        test = together(none, mine)
        first[name] = replace(cohort, validation=none, test=test, sides=train | more, version=f"a{i:063x}")
        some, others = cohort.train.rows(range(10, 40)), cohort.train.rows(range(10))
        sides = {k: part for k, part in train.items() if k >= "p10"} | {f"p{k:02}": "test" for k in range(10)} | more
        test = together(others, mine)
        second[name] = replace(cohort, train=some, validation=none, test=test, sides=sides, version=f"b{i:063x}")
    them = hospitals(tmp_path, one, first)
    them.summed(1, run="a" * 16, study=one.digest, **STATISTICS)
    them = in_study(them, two, second)
    assert allowed_everywhere(them, two, second)[NAMES.index(ME)] == min(rare, 10)
    sum = them.offered(2, run="b" * 16, study=two.digest, **STATISTICS)
    if rare == 1:
        assert refused(them, ME, them.round_request(sum)) == "answered"
    else:
        them.masked(sum, [ME])


@pytest.mark.parametrize("alone", [True, False])
def test_a_run_of_more_modalities_signs_for_no_part_that_shows_a_few(tmp_path: Path, alone: bool) -> None:
    """One test patient had a panel, ten had charts alone: with charts, which a colluding site let a run have, the part
    was summed, and of the panels that two runs of one study counted one more was that patient's. Nobody was asked.
    """
    study = plain_study()
    panel, chart = study.names.index("panel"), study.names.index("chart")
    cohorts = {}
    for i, name in enumerate(NAMES):
        cohort = cohort_of(study, name, seed=10 * i, patients=20)
        test = cohort.test.rows(range(11 if name == ME else 12))
        test.present[:, panel] = False
        if name == ME and alone:
            test.present[10, panel], test.present[10, chart] = True, False
        cohorts[name] = sided(replace(cohort, validation=cohort.test.rows([]), test=test))
    west, south = cohorts["west"], cohorts["south"]
    cohorts["west"] = sided(without_charts(replace(west, test=west.test.rows([]))))
    colluding = sided(without_charts(replace(south, test=south.test.rows([]))))
    them = hospitals(tmp_path, study, cohorts | {"south": colluding})
    panels = {"shared": NAMES, "panel": NAMES}
    sum = them.offered(1, run="a" * 16, **STATISTICS, owners=panels)
    for name in NAMES:
        them.answer(name, them.round_request(sum))  # refused: it is signed anew for this plan
    narrow = them.opened(them.offered(2, run="a" * 16, **STATISTICS, owners=panels))
    assert narrow["cases"][2] == 0
    them.cohorts["south"] = south
    for file in ("secure_sum.db", "audit.jsonl", "cuts.json"):
        (tmp_path / "south" / file).unlink(missing_ok=True)
    them.sites["south"] = them.start("south")
    wide = {"shared": NAMES, "panel": NAMES, "chart": NAMES[:3]}
    sum = them.offered(3, run=OTHER_RUN, **STATISTICS, owners=wide)
    if alone:
        assert refused(them, ME, them.round_request(sum)) == "answered"
    else:
        them.opened(sum)


def with_panel(names: frozenset[str], used: frozenset[str]) -> Cut:
    """Forty with both, and one with these."""
    having = {
        patient: names & used for patient, names in ({str(i): CHART | PANEL for i in range(40)} | {"x": names}).items()
    }
    parts = {patient: "train" for patient, has in having.items() if has}
    rules = Rules("t", "", {name: name for name in used})
    return Cut(parts, having, used, out=frozenset(having.keys() - parts.keys()), rules=rules)


@pytest.mark.parametrize("before", [False, True], ids=["never", "once"])
def test_who_was_in_the_sums_once_is_shown_by_no_study_that_still_takes_this_patient(tmp_path: Path, before) -> None:
    """A chart was lost, and the first study's next sum was without: the second study, of panels too, showed x alone."""
    for names in (CHART | PANEL, PANEL) if before else (PANEL,):
        opening(tmp_path, "a", with_panel(names, CHART), 10)
    now = with_panel(PANEL, CHART | PANEL)
    assert asked_about(tmp_path, "b", now, 10) == 1
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", now, 10)
    opening(tmp_path, "b", with_panel(CHART | PANEL, CHART | PANEL), 10)


def columns(number: int, *, x: bool, target: str) -> Cut:
    there = [*map(str, range(number)), *["x"] * x]
    rules = Rules(target, "", {"chart": "c"})
    return Cut(
        dict.fromkeys(there, "train"), dict.fromkeys(there, CHART), CHART, out=frozenset({"x"} - {*there}), rules=rules
    )


@pytest.mark.parametrize(
    "sums",
    [
        [(49, True, "one"), (40, True, "other"), (40, False, "one")],
        [(49, False, "other"), (40, False, "one"), (40, True, "other")],
    ],
    ids=["leaves", "comes"],
)
def test_a_column_that_was_named_for_a_while_shows_nobody(tmp_path: Path, sums) -> None:
    """Site.yaml named another column for one sum and then the first again: who had been in the sums by the first one
    before, or in none, was taken for somebody who left or came with the data since.
    """
    for number, x, target in sums[:-1]:
        opening(tmp_path, "a", columns(number, x=x, target=target), 10)
    number, x, target = sums[-1]
    with pytest.raises(AnsweredError, match="another column"):
        opening(tmp_path, "a", columns(number, x=x, target=target), 10)
    number, x, target = sums[-2]
    opening(tmp_path, "a", columns(number, x=not x, target=target), 10)  # by the same column: with the data


@pytest.mark.parametrize("filled", [True, False])
def test_a_column_may_be_renamed_after_a_gap_was_filled_or_came(tmp_path: Path, filled: bool) -> None:
    """The study was refused for ever, and each later one that read the column by its new name."""
    for x in (not filled, filled):
        opening(tmp_path, "a", columns(40, x=x, target="one"), 10)
    for study in ("a", "b"):
        opening(tmp_path, study, columns(40, x=filled, target="renamed"), 10)


def of_parts(side: str | None) -> Cut:
    there = {str(i): "train" for i in range(40)} | ({f"g{i}": side for i in range(30)} if side else {})
    out = frozenset() if side else frozenset(f"g{i}" for i in range(30))
    rules = Rules("t", "ward" if side else "year", {"chart": "c"})
    return Cut(there, dict.fromkeys(there, CHART), CHART, out=out, rules=rules)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_word_for_those_who_come_is_for_the_part_that_was_told(tmp_path: Path, part: str) -> None:
    opening(tmp_path, "a", of_parts(None), 10)
    assert asked_about(tmp_path, "b", of_parts("train"), 10) == 30
    allow(tmp_path, "b", of_parts("train"))
    with nullcontext() if part == "train" else pytest.raises(AnsweredError, match="as few as 30"):
        opening(tmp_path, "b", of_parts(part), 10)


def test_a_yes_is_for_what_was_told_and_not_for_what_came_while_the_question_stood(tmp_path: Path) -> None:
    def of(first: int) -> Cut:
        return everyone({str(i): "test" if first <= i < first + 20 else "train" for i in range(100)})

    opening(tmp_path, "a", of(60), 10)
    told = told_of(tmp_path, "b", of(0))
    assert asked_about(tmp_path, "b", of(0), 10) == 20
    allow(tmp_path, "c", of(20))
    opening(tmp_path, "c", of(20), 10)  # the agent, meanwhile
    with pytest.raises(AnsweredError, match="ask again"):
        allow(tmp_path, "b", of(0), told)
    with pytest.raises(AnsweredError):
        require_alike(tmp_path, "b", of(0), 10)
    allow(tmp_path, "b", of(0), told_of(tmp_path, "b", of(0)))
    require_alike(tmp_path, "b", of(0), 10)


# -------------------------------------------------- a part that the site signs for at one time, and not at another one

BOTH = CHART | PANEL
TRAIN = {f"t{i}": ("train", BOTH) for i in range(40)}
TEN = {f"n{i}": ("test", CHART) for i in range(10)}
X = {"x": ("test", PANEL)}
YEAR, WARD = Rules("t", "year", {"chart": "c", "panel": "p"}), Rules("t", "ward", {"chart": "c", "panel": "p"})
Who = dict[str, tuple[str, frozenset[str]]]


def signing(who: Who, used: frozenset[str], rules: Rules, out: Who | None = None, smallest: int = 10) -> Cut:
    """As a site takes and signs them. out: who has a gap in the split column"""
    having = {patient: names for patient, (_, names) in who.items()}
    cut = Cut(
        {patient: part for patient, (part, _) in who.items()}, having, used, out=frozenset(out or ()), rules=rules
    )
    return replace(cut, signed=cut.filled(smallest))


def asked_and_opened(state: Path, study: str, cut: Cut) -> int:
    """What a person is told, who says yes, so that a sum of it may be opened."""
    told = asked_about(state, study, cut, 10)
    allow(state, study, cut, told_of(state, study, cut))
    opening(state, study, cut, 10)
    return told


OTHER_COLUMNS = replace(YEAR, recipes={"chart": "of two columns", "panel": "p"})
PAIRS = {
    "ten with a gap before": (signing(TRAIN | X, BOTH, YEAR, TEN), signing(TRAIN | X | TEN, BOTH, WARD)),
    "ten with a gap now": (signing(TRAIN | X | TEN, BOTH, YEAR), signing(TRAIN | X, BOTH, WARD, TEN)),
    "ten by other columns": (signing(TRAIN | X, BOTH, YEAR, TEN), signing(TRAIN | X | TEN, BOTH, OTHER_COLUMNS)),
    "no modality used before": (
        signing(TRAIN | X | {f"n{i}": ("train", BOTH) for i in range(10)}, CHART, YEAR),
        signing(TRAIN | X | {f"n{i}": ("test", BOTH) for i in range(10)}, PANEL, WARD),
    ),
    "no modality used now": (
        signing(TRAIN | X | {f"n{i}": ("test", BOTH) for i in range(10)}, PANEL, YEAR),
        signing(TRAIN | X | {f"n{i}": ("train", BOTH) for i in range(10)}, CHART, WARD),
    ),
    "a modality by other columns": (
        signing(TRAIN | {"x": ("train", BOTH)}, BOTH, YEAR),
        signing(TRAIN | {"x": ("train", PANEL)}, BOTH, OTHER_COLUMNS),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_whoever_comes_into_a_part_or_leaves_it_takes_no_few_along(tmp_path: Path, pair: str) -> None:
    """By the studies the part of one patient was signed for at one time alone, or the patient had a modality in one."""
    first, second = PAIRS[pair]
    opening(tmp_path, "a", first, 10)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        asked_and_opened(tmp_path, "b", second)
    opening(tmp_path, "a", first, 10)


def test_the_smallest_part_may_not_be_changed_between_two_sums_that_show_a_few_by_it(tmp_path: Path) -> None:
    fourteen = {f"n{i}": ("test", CHART) for i in range(14)}
    for before, now in ((20, 10), (10, 20)):
        state = tmp_path / str(before)
        opening(state, "a", signing(TRAIN | X | fourteen, BOTH, YEAR, smallest=before), before)
        with pytest.raises(AnsweredError, match="the smallest part is what it was"):
            opening(state, "a", signing(TRAIN | X | fourteen, BOTH, YEAR, smallest=now), now)
        opening(state, "a", signing(TRAIN | X | fourteen, BOTH, YEAR, smallest=before), before)


def test_a_modality_that_a_site_reads_no_more_takes_no_few_of_a_part_along(tmp_path: Path) -> None:
    opening(tmp_path, "a", signing(TRAIN | X | TEN, BOTH, YEAR), 10)
    less = replace(YEAR, recipes={"panel": "p"})
    alone = {patient: (part, names & PANEL) for patient, (part, names) in (TRAIN | X).items()}
    with pytest.raises(AnsweredError, match="by these 1 patients"):
        opening(tmp_path, "a", signing(alone, PANEL, less, TEN), 10)


def test_a_change_that_was_undone_is_not_why_a_patient_is_left_out_now(tmp_path: Path) -> None:
    """In a sum between, x had lost the chart; in the next x was back, with nine new ones, whom the second study hid."""

    def of(number: int, out: int = 0) -> Cut:
        there = {f"x{i}": ("train", CHART) for i in range(number)}
        gone: Who = {f"x{i}": ("train", CHART) for i in range(out)}
        return signing(TRAIN | there, CHART, replace(YEAR, recipes={"chart": "c"}), gone)

    for cut in (of(1), of(0, 1), of(10)):
        opening(tmp_path, "a", cut, 10)
    left_out: Who = {f"x{i}": ("train", CHART) for i in range(10)}
    with pytest.raises(AnsweredError, match="by 1 patients"):
        asked_and_opened(tmp_path, "b", signing(TRAIN, PANEL, replace(YEAR, recipes={"panel": "p"}), left_out))


# ----------------------------------------------------------------------------------------------- a hospital that grows


def test_a_hospital_that_grows_is_refused_nothing_and_asked_nothing(tmp_path: Path) -> None:
    """From five test patients to sixty, week by week; the part is signed from ten on."""

    def with_tests(number: int, split: Rules = YEAR, moved: int = 0) -> Cut:
        who = TRAIN | {f"v{i}": ("test", BOTH) for i in range(number)} | {f"t{i}": ("test", BOTH) for i in range(moved)}
        return signing(who, BOTH, split)

    for number in range(5, 61, 5):
        assert asked_about(tmp_path, "a", with_tests(number), 10) == 0
        opening(tmp_path, "a", with_tests(number), 10)
    for study, used in (("b", BOTH), ("c", CHART)):
        cut = replace(with_tests(60), used=used)
        assert asked_about(tmp_path, study, cut, 10) == 0
        opening(tmp_path, study, cut, 10)
    # Of another split: fifteen move, and ten were in both test parts when these were signed for at first.
    assert asked_and_opened(tmp_path, "d", with_tests(60, WARD, 15)) == 10


def test_a_part_of_few_that_no_study_signs_for_is_asked_about_by_none(tmp_path: Path) -> None:
    five = TRAIN | {f"v{i}": ("test", BOTH) for i in range(5)}
    for study in "aab":
        assert asked_about(tmp_path, study, signing(five, BOTH, YEAR), 10) == 0
        opening(tmp_path, study, signing(five, BOTH, YEAR), 10)


def test_eleven_who_come_together_by_the_modalities_of_a_run_are_eleven(tmp_path: Path) -> None:
    """One of them had the other modality as well, and his part was not signed for."""
    who: Who = TRAIN | {"x": ("test", BOTH)} | {f"n{i}": ("test", PANEL) for i in range(10)}
    opening(tmp_path, "a", signing(who, CHART, YEAR), 10)
    opening(tmp_path, "a", signing(who, PANEL, YEAR), 10)


@pytest.mark.parametrize("few", [{"chart": 12, "both": 3}, {"both": 5}], ids=["of a modality", "not signed"])
def test_a_part_that_nobody_moves_into_or_out_of_refuses_no_other_split(tmp_path: Path, few: dict[str, int]) -> None:
    """Its patients are in no difference: what its own sum shows was taken for a group."""
    names = {"chart": CHART, "both": BOTH}
    part = {f"{kind} {i}": ("validation", names[kind]) for kind, number in few.items() for i in range(number)}
    old = {f"o{i}": ("test", BOTH) for i in range(20)}
    opening(tmp_path, "a", signing(TRAIN | part | old, BOTH, YEAR), 10)
    moved = {f"t{i}": ("test", BOTH) for i in range(20)}
    assert asked_and_opened(tmp_path, "b", signing(TRAIN | part | old | moved, BOTH, WARD)) == 20


def test_a_part_that_was_signed_for_a_while_is_not_signed_by_the_data_of_now(tmp_path: Path) -> None:
    """Nine came and left, and the newest sum of the study had the part; then a run of more modalities showed x."""
    x: Who = {"x": ("test", BOTH)}
    ten, nine = (
        {f"{kind}{i}": ("test", names) for i in range(n)} for kind, names, n in (("p", PANEL, 10), ("c", CHART, 9))
    )
    for who in (TRAIN | x | ten, TRAIN | x | ten | nine):
        opening(tmp_path, "a", signing(who, CHART, YEAR), 10)
    with pytest.raises(AnsweredError, match="by these 1 patients"):
        opening(tmp_path, "a", signing(TRAIN | x | ten, BOTH, YEAR), 10)
    two = tmp_path / "two"
    others: Who = {f"p{i}": ("test", BOTH) for i in range(10)}
    for who in (TRAIN | x | others, TRAIN | x, TRAIN | x | others):
        opening(two, "a", signing(who, BOTH, YEAR), 10)
    moved: Who = dict.fromkeys(others, ("train", BOTH))
    with pytest.raises(AnsweredError, match="by 1 patients"):
        asked_and_opened(two, "b", signing(TRAIN | x | moved, BOTH, WARD))


@pytest.mark.parametrize(("number", "answered"), [(60, False), (300, True)])
def test_another_key_is_given_at_a_hospital_of_some_hundreds(tmp_path: Path, number: int, answered: bool) -> None:
    """Where a person allows it. Few who stay in a part, counted beside a hundred of the other sign, refuse nothing."""
    one, two = (
        {str(i): part_by_hash(str(i), Split(key=key, validation=0.15, test=0.15)) for i in range(number)}
        for key in "ab"
    )
    opening(tmp_path, "a", everyone(one), 10)
    with nullcontext() if answered else pytest.raises(AnsweredError, match="would show these apart"):
        asked_and_opened(tmp_path, "b", everyone(two))


def test_a_modality_of_other_columns_that_nobody_has_any_more_is_no_fault(tmp_path: Path) -> None:
    """A run was refused for want of a word; then the columns were empty, and approval ended in an error each time."""
    with_panel, without = TRAIN, {patient: (part, CHART) for patient, (part, _) in TRAIN.items()}
    opening(tmp_path, "a", signing(with_panel, BOTH, YEAR), 10)
    fewer = {patient: (part, BOTH if int(patient[1:]) < 15 else CHART) for patient, (part, _) in TRAIN.items()}
    narrow = replace(YEAR, recipes={"chart": "c", "panel": "narrow"})
    with pytest.raises(AnsweredError):
        opening(tmp_path, "b", signing(fewer, BOTH, narrow), 10)
    assert asked_about(tmp_path, "b", signing(without, CHART, narrow), 10) == 0
    opening(tmp_path, "b", signing(without, CHART, narrow), 10)
