"""Sums over the very same sites, without privacy, that show few patients or one site by their difference.

The first tests are of what is refused. The others are of what is not, each named in SECURITY.md: they hold that page to
what is true, and fail when it becomes better.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.data.split import PARTS
from client.exact_sums.asked import Asked
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import allow
from client.exact_sums.sum_records import SumRecords
from common.errors import AnsweredError
from common.messages import ConfirmRequest, OfferRequest, Refusal, RoundRequest
from common.modalities.record import RecordColumns, RecordModality
from common.models.batch import Batch
from common.plan import Declaration
from common.study import Study
from deploy.research.simulation.enrol import enrol
from tests.support.scripted import ME, NAMES, PLAIN, RUN, Hospitals, Sum, allowed, cohort_of, normalised_study, refused
from tests.support.tiny import study_of

SCORES = {"round": 1, "asks": ("validation",)}
STATISTICS = {"round": 0, "asks": ("statistics",)}
ALL = dict.fromkeys(("shared", "chart", "panel"), NAMES)
CHARTS = dict.fromkeys(("shared", "chart"), NAMES)
OTHER_RUN = "f" * 16
SIX = tuple("abcdef")
Sums = Mapping[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def sided(cohort: Cohort) -> Cohort:
    """With a name for each patient, in the order of the rows."""
    return replace(cohort, sides={f"{part} {i}": part for part in PARTS for i in range(len(getattr(cohort, part)))})


def cohorts_of(study: Study) -> dict[str, Cohort]:
    return {name: sided(cohort_of(study, name, seed=10 * i, patients=20)) for i, name in enumerate(NAMES)}


def with_one_panel_alone(study: Study) -> dict[str, Cohort]:
    """Everybody has both, but for one validation patient of ME, who has no chart."""
    cohorts = cohorts_of(study)
    cohorts[ME].validation.present[0, 0] = False
    return cohorts


def six(folder: Path, study: Study) -> Hospitals:
    """Three that have nothing but panels, and three that have nothing but charts."""
    cohorts = {}
    for place, name in enumerate(SIX):
        mine = int(name in SIX[:3])
        cohort = cohort_of(study, name, seed=10 * place, patients=20)
        for part in PARTS:
            getattr(cohort, part).present[:, 1 - mine] = False
        cohorts[name] = sided(replace(cohort, owned=(study.names[mine],)))
    return Hospitals(folder, study, names=SIX, cohorts=cohorts, smallest_part=10, lost_site="wait")


def hospitals(folder: Path, study: Study, cohorts: dict[str, Cohort]) -> Hospitals:
    return Hospitals(folder, study, cohorts=cohorts, smallest_part=10, lost_site="wait")


def in_study(them: Hospitals, study: Study, cohorts: dict[str, Cohort]) -> Hospitals:
    """The sites, started anew from what is on their disks, with another study."""
    return hospitals(them.folder, study, cohorts)


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_run_that_skips_round_0_chooses_no_modalities(tmp_path, study) -> None:
    """Two scores under the same weights, one without panels: their difference was one patient's label and score."""
    them = hospitals(tmp_path, study, with_one_panel_alone(study))
    them.summed(1, **SCORES)
    sum = them.offered(1, run=OTHER_RUN, **SCORES, owners=CHARTS)
    for name in NAMES:
        assert refused(them, name, them.round_request(sum)) == "secure_sum"
    them.opened(sum, owners=ALL)  # round 0 may be skipped, as a run that is resumed does


def test_two_rounds_0_of_one_run_over_halves_of_the_sites_choose_no_modalities(tmp_path, study) -> None:
    """Panels were at two sites of each half, so that neither decided on them: a sum of all without, beside one with,
    showed the label and the score of the one patient who had nothing else.
    """
    having, halves = ("a", "b", "d", "e"), (SIX[:3], SIX[3:])
    cohorts = {name: cohort_of(study, name, seed=10 * i, patients=20) for i, name in enumerate(SIX)}
    cohorts["a"].validation.present[0, 0] = False
    for name in {*SIX} - {*having}:
        for part in PARTS:
            getattr(cohorts[name], part).present[:, 1] = False
        cohorts[name] = replace(cohorts[name], owned=("chart",))
    cohorts = {name: sided(cohort) for name, cohort in cohorts.items()}
    # With a smallest part of 10, `a` alone would refuse for that one patient.
    them = Hospitals(tmp_path, study, names=SIX, cohorts=cohorts, smallest_part=1, lost_site="wait")
    for number, half in enumerate(halves, start=1):
        charts = dict.fromkeys(("shared", "chart"), half)
        them.opened(them.offered(number, names=half, **STATISTICS, owners=charts), half)
    again = ulp_away(them)
    them.opened(them.offered(3, names=SIX[3:], **SCORES, weights=again, owners=charts), SIX[3:])  # over who decided
    sum = them.offered(4, **SCORES, owners=dict.fromkeys(("shared", "chart"), SIX))
    for name in SIX:
        assert refused(them, name, them.round_request(sum)) == "answered"
    sum.plan = replace(sum.plan, owners={**sum.plan.owners, "panel": having})
    them.masked(sum)
    for name in SIX:
        assert refused(them, name, ConfirmRequest(4, SIX)) == "answered", "each half is a set by itself"
        allowed(tmp_path / name, {one: key.hex() for one, key in them.roster.sites.items()})
    them.opened(sum)


@pytest.mark.parametrize("asked", [STATISTICS, {"round": 1}], ids=["statistics", "update"])
def test_who_adds_nothing_of_a_modality_is_not_counted_as_its_owner(tmp_path, study, asked) -> None:
    """A plan without panels made two owners sign panels and no part: the third one's update was opened as their sum."""
    owners = {"shared": SIX, "chart": SIX[3:], "panel": SIX[:3]}
    them = six(tmp_path / "attacked", study)
    others = SIX[1:]
    sum = them.offered(1, names=others, **asked, owners={"shared": others, "chart": SIX[3:]})
    assert [refused(them, name, them.round_request(sum)) for name in ("b", "c")] == ["out_of_order"] * 2
    sum = them.offered(2, **asked, owners=owners)
    assert [member.modalities for member in sum.context.members] == [("panel",), (), (), *[("chart",)] * 3]
    for name in SIX:
        assert refused(them, name, them.round_request(sum)) == "secure_sum"
    sum = them.offered(3, **asked, owners={"shared": SIX, "chart": SIX[3:]})  # the third owner signs it anew too
    assert refused(them, "a", them.round_request(sum)) == "out_of_order"
    them.opened(them.offered(4, **asked, owners={"shared": SIX, "chart": SIX[3:]}))
    opened = six(tmp_path / "asked as it is", study).summed(1, **asked, owners=owners)
    assert opened["present"][1] == 3 * 60 if asked is STATISTICS else opened["weight/panel"] == 3 * 20


def test_a_site_that_signs_a_modality_and_no_training_part_is_no_owner(tmp_path, study) -> None:
    """Whatever release made it: the others count what it signed."""
    them = hospitals(tmp_path, study, cohorts_of(study))
    context = them.context(1)
    west = them.sites["west"].sums.consent(RUN, 1, Declaration(("chart", "panel"), ("test", "validation")))
    context = replace(context, members=(*context.members[:3], west))
    offers = {name: them.ask(name, OfferRequest(context.to_bytes())).offer for name in NAMES}
    sum = Sum(context, offers, them.plan(round=1), {})
    three = {"shared": NAMES, "chart": NAMES[:3], "panel": NAMES[:3]}
    for name in NAMES[:3]:
        assert refused(them, name, them.round_request(sum)) == "secure_sum"
        them.ask(name, them.round_request(sum, owners=three))


def test_where_lost_sites_are_shown_the_plan_is_believed_and_shows_who_has_nothing_else(tmp_path, study) -> None:
    """But for `smallest_part`, which is 1 in a simulation."""
    cohorts = with_one_panel_alone(study)
    them = Hospitals(tmp_path / "1", study, cohorts=cohorts, smallest_part=1, lost_site="show")
    none = np.zeros_like(them.weights)
    both = them.summed(1, **SCORES, weights=none)
    charts = them.opened(them.offered(1, run=OTHER_RUN, **SCORES, weights=none, owners=CHARTS))
    difference = np.round(both["scores/histogram"] - charts["scores/histogram"]).reshape(2, -1)
    assert difference.sum(axis=1).tolist() == np.eye(2)[int(cohorts[ME].validation.target[0])].tolist()
    them = Hospitals(tmp_path / "10", study, cohorts=cohorts, smallest_part=10, lost_site="show")
    them.summed(1, **SCORES)
    sum = them.offered(1, run=OTHER_RUN, **SCORES, owners=CHARTS)
    assert [refused(them, ME, them.round_request(sum))] == ["answered"]


def test_what_was_shown_in_the_open_counts_as_opened(tmp_path) -> None:
    """With the secure sum off no cut was kept, and the next study could differ from it by one test patient."""
    study = study_of("chart", "panel", **PLAIN, secure_sum={"enabled": False})
    cohorts = cohorts_of(study)
    them = hospitals(tmp_path, study, cohorts)
    them.context(1)
    them.ask(ME, RoundRequest(1, them.plan(**SCORES), ()))
    other = replace(study, split=replace(study.split, key="another"))
    cohorts[ME] = moved(cohorts[ME], 1)
    them = in_study(them, other, cohorts)
    them.context(2)
    assert refused(them, ME, RoundRequest(2, them.plan(**SCORES), ())) == "answered"
    them.ask("north", RoundRequest(2, them.plan(**SCORES), ()))


def test_two_cuts_that_differ_at_one_site_alone_show_nothing_without_a_person_there(tmp_path, study) -> None:
    """As by a split column with a word that only one hospital uses: ten of its patients, and no other's."""
    cohorts = cohorts_of(study)
    them = hospitals(tmp_path, study, cohorts)
    before = them.summed(1, **STATISTICS)
    of_west = np.bincount(cohorts["west"].train.target[:10], minlength=2)
    other = replace(study, split=replace(study.split, key="another"))
    cohorts["west"] = moved(cohorts["west"], 10)
    them = in_study(them, other, cohorts)
    sum = them.masked(them.offered(2, **STATISTICS, study=other.digest), NAMES[:3])
    assert refused(them, "west", them.round_request(sum)) == "answered"
    allow(tmp_path / "west", other.digest, cut_of(cohorts["west"], other.names))
    after = them.opened(them.offered(3, **STATISTICS, study=other.digest))
    assert (before["classes"] - after["classes"]).tolist() == of_west.tolist(), "which is what that person is told"


@pytest.mark.parametrize("unused", [0, 9, 10], ids=["none of them", "nine of them", "all of them"])
def test_two_cuts_are_compared_by_who_is_in_the_sums(tmp_path, study, unused) -> None:
    """A person allowed ten patients; nine had nothing but what no run uses: one patient was the difference."""
    cohorts = cohorts_of(study)
    for name in ("north", "south"):
        for part in PARTS:
            getattr(cohorts[name], part).present[:, 1] = False
        cohorts[name] = replace(cohorts[name], owned=("chart",))
    cohorts["west"].train.present[:unused, 0] = False
    them = hospitals(tmp_path, study, cohorts)
    first = them.summed(1, **STATISTICS, owners=CHARTS)
    other = replace(study, split=replace(study.split, key="another"))
    cohorts["west"] = moved(cohorts["west"], 10)
    them = in_study(them, other, cohorts)
    if unused < 10:
        allow(tmp_path / "west", other.digest, cut_of(cohorts["west"], other.names))
    sum = them.offered(2, **STATISTICS, owners=CHARTS, study=other.digest)
    if unused == 9:
        assert refused(them, "west", them.round_request(sum)) == "answered"
        return
    second = them.opened(sum)
    assert (first["cases"] - second["cases"]).tolist() == [10 - unused, 0, unused - 10]


def test_who_takes_over_a_name_is_another_site(tmp_path, study) -> None:
    """The difference was what the hospital added that left, and what the one that came did, which may collude."""
    cohorts = cohorts_of(study)
    them = hospitals(tmp_path, study, cohorts)
    them.summed(1, **STATISTICS)
    shutil.rmtree(tmp_path / "west")
    enrol("test", {name: tmp_path / name for name in NAMES})
    new = sided(cohort_of(study, "west", seed=77, patients=20))
    them = in_study(them, study, {**cohorts, "west": new})
    sum = them.masked(them.offered(2, **SCORES))
    for name in NAMES[:3]:
        assert refused(them, name, ConfirmRequest(2, NAMES)) == "answered"
        allowed(tmp_path / name, {one: key.hex() for one, key in them.roster.sites.items()})
    them.revealed(them.confirmed(sum))


@pytest.mark.parametrize("before", [NAMES, NAMES[:3]], ids=["nobody is told of", "west is told of"])
@pytest.mark.parametrize("who", ["west", "north"])
def test_an_allowed_set_shows_in_no_modality_whom_the_person_was_not_told_of(tmp_path, before, who) -> None:
    """From then on no segment was judged: a site that signed one modality less was shown in that modality's sums."""
    study = normalised_study()
    cohorts = cohorts_of(study)
    them = hospitals(tmp_path, study, cohorts)
    keys = {one: key.hex() for one, key in them.roster.sites.items()}
    three = dict.fromkeys(ALL, before)
    them.opened(them.offered(1, names=before, **STATISTICS, owners=three), before)
    them.opened(them.offered(2, names=before, **SCORES, owners=three), before)
    for name in NAMES:
        allowed(tmp_path / name, keys)
    them.summed(3, round=1)
    of_who = them.sites[who].site.cohort
    for part in PARTS:
        getattr(of_who, part).present[:, 0] = False
    them.cohorts = cohorts | {who: replace(of_who, owned=("panel",), version="9" * 64)}
    them.sites[who] = them.start(who)
    others = tuple(name for name in NAMES if name != who)
    them.masked(them.offered(4, run=OTHER_RUN, round=1, owners={**ALL, "chart": others}))
    told = NAMES[:3] if before != NAMES and who == "west" else ()  # west itself was in no sum before: it shows nobody
    for name in NAMES:
        if name in told:
            them.ask(name, ConfirmRequest(4, NAMES))
        else:
            assert refused(them, name, ConfirmRequest(4, NAMES)) == "answered"


def moved(cohort: Cohort, number: int) -> Cohort:
    """The first of the training patients are test patients."""
    size, gone = len(cohort.train), [f"train {i}" for i in range(number)]
    return replace(
        cohort,
        train=cohort.train.rows(range(number, size)),
        test=Batch.join([cohort.test, cohort.train.rows(range(number))]),
        sides={one: side for one, side in cohort.sides.items() if one not in gone} | dict.fromkeys(gone, "test"),
        version="9" * 64,
    )


def test_where_a_site_waits_no_plan_stops_training_by_a_clock(tmp_path, study) -> None:
    """Two sums of one round, in which one site alone did a step more, differed by that step."""
    cohorts = cohorts_of(study)
    one = cohorts["south"]
    left = {patient: part for patient, part in one.sides.items() if part != "train"}
    cohorts["south"] = replace(one, train=one.train.rows([]), sides=left)
    them = Hospitals(tmp_path, study, cohorts=cohorts)
    waits(them, "west")
    three = dict.fromkeys(ALL, ("east", "north", "west")) | {"shared": NAMES}
    sum = them.offered(1, round=1, owners=three)
    for name in NAMES:
        assert refused(them, name, them.round_request(sum, seconds=30.0)) == "run"
    steps = {them.ask(name, them.round_request(sum)).steps for name in NAMES}
    assert steps == {study.training.local_steps}, "also of who trains nobody"


def test_where_a_site_waits_none_hands_over_what_its_own_clock_cut_off(tmp_path, study) -> None:
    them = hospitals(tmp_path, study, cohorts_of(study))
    site = them.sites[ME].site
    whole = site.folder
    site.folder = replace(whole, file=replace(whole.file, policy=replace(whole.file.policy, round_seconds=1e-9)))
    assert them.answer(ME, them.round_request(them.offered(1, round=1))) == Refusal("policy")
    site.folder = whole
    them.summed(2, round=1)


@pytest.mark.parametrize("asked", [NAMES, NAMES[:3]], ids=["asked and lost", "not asked"])
@pytest.mark.parametrize("who", ["west", "north"])
def test_one_site_that_waits_protects_all_and_itself(tmp_path, study, who, asked) -> None:
    """Also where it is not asked about the sum that leaves it out, and the three others show lost sites."""
    them = Hospitals(tmp_path, study)
    waits(them, who)
    them.summed(1, **SCORES)
    again = ulp_away(them)
    without_west(them, 2, asked, again)
    for name in NAMES[:3]:
        assert refused(them, name, ConfirmRequest(2, NAMES[:3])) == "answered"
    sum = them.masked(them.offered(3, **SCORES, weights=again))
    them.revealed(them.confirmed(sum))  # over the same sites


def test_a_site_that_says_show_from_now_on_is_waited_for_no_longer(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    waits(them, "west")
    all_four = them.summed(1, **SCORES)
    them.sites["west"] = them.start("west")
    without_west(them, 2, NAMES[:3], ulp_away(them))
    for name in NAMES[:3]:
        assert refused(them, name, ConfirmRequest(2, NAMES[:3])) == "answered", "it has told nobody yet"
    three = them.opened(them.offered(3, **SCORES, weights=ulp_away(them)), NAMES[:3])
    assert all_four["scores/cases"] - three["scores/cases"] == len(them.cohorts["west"].validation)


def waits(them: Hospitals, name: str) -> None:
    """This site alone has `lost_site: wait`."""
    them.lost_site = "wait"
    them.sites[name] = them.start(name)
    them.lost_site = "show"


def ulp_away(them: Hospitals) -> NDArray[np.float32]:
    """Weights with which the same question is another one."""
    return np.nextafter(them.weights, np.float32(9))


def without_west(them: Hospitals, number: int, asked: tuple[str, ...], weights: NDArray[np.float32]) -> Sum:
    """A sum up to its masked vectors, to which the three others add."""
    owners = dict.fromkeys(ALL, asked)
    return them.masked(them.offered(number, names=asked, **SCORES, weights=weights, owners=owners), NAMES[:3])


# ---------------------------------------------------------------------------------------------- what is not refused


def test_the_counts_of_two_modalities_show_how_many_patients_the_one_site_has_that_lacks_one(tmp_path, study) -> None:
    cohorts = cohorts_of(study)
    for part in PARTS:
        getattr(cohorts["west"], part).present[:, 0] = False
    cohorts["west"] = replace(cohorts["west"], owned=("panel",))
    them = hospitals(tmp_path, study, cohorts)
    sums = them.summed(1, **STATISTICS, owners={**ALL, "chart": NAMES[:3]})
    assert sums["present"].tolist() == [3 * 60, 3 * 60 + 60]


def test_statistics_with_another_range_count_who_is_above_any_value(tmp_path) -> None:
    """`low` and `high` of a study's column are what it likes: here the oldest of all patients is found."""
    plain = study_of("chart", "panel", **PLAIN)
    cohorts = cohorts_of(plain)
    chart = plain.modalities["chart"]
    assert isinstance(chart, RecordModality)
    columns = RecordColumns.of(chart)
    rows = np.concatenate([np.asarray(cohort.train.inputs["chart"], dtype=np.float64) for cohort in cohorts.values()])
    second, first = np.sort(rows[rows[:, columns.missing][:, 0] == 0, 0])[-2:]
    age = replace(chart.numeric["age"], low=float(second), high=float(first))
    narrow = replace(chart, numeric={**chart.numeric, "age": age}, normalise="secure_sum")
    study = replace(plain, modalities={**plain.modalities, "chart": narrow})
    sums = hospitals(tmp_path, study, cohorts).summed(1, **STATISTICS)
    number, above, _ = sums["moments/chart"][:3]
    assert number > 20
    assert above == pytest.approx(1.0, abs=1e-3)


def test_sets_of_release_0_1_are_not_known(tmp_path) -> None:
    """It kept of each answer a digest of the sites: the very same question is refused, almost the same is not."""
    same = {"answered": {"asked": hashlib.sha256(json.dumps(sorted(NAMES)).encode()).hexdigest()}}
    (tmp_path / "secure_sum.json").write_text(json.dumps(same))
    records, signers = SumRecords(tmp_path), {"shared": {name: name for name in NAMES}}
    with pytest.raises(AnsweredError):
        records.require_allowed(Asked(("asked",), signers), NAMES[:3])
    records.require_allowed(Asked(("almost",), signers), NAMES[:3])
