"""Sums over the very same sites, without privacy, that show a few patients by a modality or a column that few have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from client.data.cohort import Cohort
from client.data.split import PARTS
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import allow
from client.round.round import work
from common.derived import derive
from common.messages import ConfirmRequest, RoundRequest
from common.modalities.record import RecordColumns, RecordModality
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.masking import add_packed, cut
from common.study import Study
from tests.client.test_shown_by_differences import (
    ALL,
    OTHER_RUN,
    SCORES,
    STATISTICS,
    Sums,
    cohorts_of,
    hospitals,
    in_study,
    moved,
)
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals, cohort_of, normalised_study, refused
from tests.support.tiny import MODALITIES, study_of


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


@pytest.mark.parametrize(("alone", "part"), [(0, "validation"), (1, "validation"), (9, "train"), (10, "validation")])
def test_a_colluding_site_does_not_choose_by_what_it_signs_who_is_in_the_sums(tmp_path, study, alone, part) -> None:
    """It has charts in one run and none in the next: so the runs differed by who has nothing but a chart."""
    cohorts = cohorts_of(study)
    getattr(cohorts[ME], part).present[:alone, 1] = False
    cohorts["west"] = without_charts(cohorts["west"])
    them = hospitals(tmp_path, study, cohorts)
    first = them.summed(1, **SCORES, owners={**ALL, "chart": NAMES[:3]})
    them.cohorts = cohorts | {"south": without_charts(cohorts["south"])}
    for name in ("secure_sum.db", "audit.jsonl", "cuts.json"):
        (tmp_path / "south" / name).unlink()
    them.sites["south"] = them.start("south")
    sum = them.offered(2, run=OTHER_RUN, **SCORES, owners={"shared": NAMES, "panel": NAMES})
    if alone in (0, 10):
        second = them.opened(sum)
        assert first["scores/cases"] - second["scores/cases"] == alone
        return
    assert refused(them, ME, them.round_request(sum)) == "answered"
    for name in NAMES:
        if name != ME:
            them.ask(name, them.round_request(sum))


@pytest.mark.parametrize("kind", ["last score", "test"])
def test_scores_alone_are_held_against_the_owners_of_a_modality(tmp_path, study, kind) -> None:
    """A site's charts are gone after a run: the next run's score differed by what this one site's charts gave."""
    part, number = ("test", study.rounds + 2) if kind == "test" else ("validation", study.rounds + 1)
    asked = {"round": number, "asks": (part,)}
    cohorts = cohorts_of(study)
    getattr(cohorts["west"], part).present[:10, 1] = False
    them = hospitals(tmp_path, study, cohorts)
    them.summed(1, **asked, owners=ALL)
    them.opened(them.offered(2, run=OTHER_RUN, **asked, owners=ALL))  # the same owners again
    west = without_charts(cohorts["west"])
    parts = {name: getattr(west, name).with_any() for name in PARTS}
    sides = {one: side for one, side in west.sides.items() if side != part or int(one.split()[1]) >= 10}
    them = in_study(them, study, cohorts | {"west": replace(west, version="9" * 64, sides=sides, **parts)})
    them.masked(them.offered(3, run="d" * 16, **asked, owners={**ALL, "chart": NAMES[:3]}))
    assert {refused(them, name, ConfirmRequest(3, NAMES)) for name in NAMES} == {"answered"}


def without_charts(cohort: Cohort) -> Cohort:
    """As a site has it, or says so, that has panels alone."""
    parts = {part: getattr(cohort, part) for part in PARTS}
    parts = {part: replace(one, present=one.present & torch.tensor([False, True])) for part, one in parts.items()}
    return replace(cohort, owned=("panel",), **parts)


def test_two_cuts_that_differ_by_ten_do_not_differ_by_one_in_a_modality(tmp_path) -> None:
    """A person allowed ten; one of them had a chart, and the moments of charts differed by that patient's values."""
    study = normalised_study()
    cohorts = cohorts_of(study)
    cohorts["west"].train.present[1:10, 0] = False
    them = hospitals(tmp_path, study, cohorts)
    them.summed(1, **STATISTICS)
    other = replace(study, split=replace(study.split, key="another"))
    cohorts["west"] = moved(cohorts["west"], 10)
    them = in_study(them, other, cohorts)
    allow(tmp_path / "west", other.digest, cut_of(cohorts["west"], other.names))
    sum = them.masked(them.offered(2, run="2" * 16, **STATISTICS, study=other.digest), NAMES[:3])
    assert refused(them, "west", them.round_request(sum)) == "answered"


@pytest.mark.parametrize(("known", "smallest", "shown"), [(1, 10, 0), (9, 10, 0), (10, 10, 10), (1, None, 1)])
@pytest.mark.parametrize("secure", [True, False], ids=["secure sum", "in the open"])
def test_a_column_that_few_patients_have_is_in_no_sum(tmp_path, secure, known, smallest, shown) -> None:
    """One patient of all sites had a value: the moments were that patient's. In a simulation they are (None: 1)."""
    study = normalised_study()
    study = replace(study, secure_sum=replace(study.secure_sum, enabled=secure))
    chart = study.modalities["chart"]
    assert isinstance(chart, RecordModality)
    columns, first = RecordColumns.of(chart), next(iter(chart.numeric.values()))
    cohorts = cohorts_of(study)
    for name, cohort in cohorts.items():
        having = known if name == ME else 0
        cohort.train.inputs["chart"][:, columns.missing.start] = 1.0
        cohort.train.inputs["chart"][:having, columns.missing.start] = 0.0
        cohort.train.inputs["chart"][:, 0] = first.low + (first.high - first.low) / 4
    them = Hospitals(tmp_path, study, cohorts=cohorts, smallest_part=smallest)
    if secure:
        opened = them.summed(1, **STATISTICS)["moments/chart"]
    else:
        them.context(1)
        opened = in_the_open(them, RoundRequest(1, them.plan(**STATISTICS), ()))["moments/chart"]
    assert opened[:3] == pytest.approx([shown, shown / 4, shown / 16], abs=1e-3)
    assert opened[3] >= 10, "the other column is as it was"


def in_the_open(them: Hospitals, request: RoundRequest) -> Sums:
    """What a coordinator adds up of a study whose secure sum is off."""
    bits = word_bits(them.study.secure_sum.bits, len(NAMES))
    layout = derive(request.plan, them.study, them.parameters, None).layout
    total = np.zeros(layout.length, dtype=np.uint32)
    for name in NAMES:
        add_packed(total, them.ask(name, request).masked, bits)
    cut(total, bits)
    return layout.part(FixedPoint(layout, bits=bits, sites=len(NAMES)).decode(total))


def test_with_privacy_no_column_is_left_out_for_how_few_have_it(tmp_path) -> None:
    """That it is out would tell, exactly and unpaid, that few have it: what is there is added, and noise."""
    modalities = {"chart": MODALITIES["chart"] | {"normalise": "secure_sum"}, "panel": MODALITIES["panel"]}
    study = study_of("chart", "panel", **PRIVATE, modalities=modalities)
    them = Hospitals(tmp_path, study, cohorts={ME: cohort_of(study, ME, patients=400)})
    done = work(them.plan(**STATISTICS), them.sites[ME].site, None, 1000)
    (moments,) = (part.values * part.factor for part in done.summand.parts if part.segment.name == "moments/chart")
    assert moments[0] > 100, "400 of them, and noise of 25"
