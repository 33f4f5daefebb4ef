"""Parts of the cohort that few sites can fill: whose sum would be one site's patients, or one patient."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from client.data.cohort import Cohort
from client.data.split import part_by_hash
from common.errors import ProtocolOrderError
from common.messages import ConfirmRequest
from common.study import Study
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals, cohort_of, refused
from tests.support.tiny import study_of

TEST = {"round": 5, "asks": ("test",)}
STATISTICS = {"round": 0, "asks": ("statistics",)}


def with_part(study: Study, part: str, sizes: dict[str, int]) -> dict[str, Cohort]:
    """Twelve patients in each part, but of this one as many as is said."""
    made = {}
    for place, name in enumerate(NAMES):
        cohort = cohort_of(study, name, seed=10 * place)
        kept: Any = getattr(cohort, part).rows(range(sizes.get(name, 12)))
        made[name] = replace(cohort, **{part: kept})
    return made


def test_a_key_that_makes_one_patient_the_only_test_patient_opens_nothing_of_that_patient(tmp_path) -> None:
    """The "sum over sites" of the test score was this patient's label and score. The key is ground as one would."""
    here, of = "patient 17", [f"patient {number}" for number in range(40)]
    plain = study_of("chart", "panel", **PLAIN, split={"validation": 0.0, "test": 0.02})
    keys = (replace(plain.split, key=f"key {number}") for number in range(200_000))
    ground = next(one for one in keys if [who for who in of if part_by_hash(who, one) == "test"] == [here])
    study = replace(plain, split=ground)
    tested = [[part_by_hash(who, ground) for who in of[start : start + 10]].count("test") for start in range(0, 40, 10)]
    sizes = dict(zip(NAMES, tested, strict=True))
    assert sorted(sizes.values()) == [0, 0, 0, 1]
    for smallest in (None, 10):
        them = Hospitals(
            tmp_path / str(smallest), study, cohorts=with_part(study, "test", sizes), smallest_part=smallest
        )
        sum = them.offered(1, **TEST)
        for name in NAMES:
            assert refused(them, name, them.round_request(sum)) == "too_few_sites"
        them.played(2, round=1)  # what enough sites have is answered


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("few", [0, 9], ids=["nobody", "nine"])
def test_a_part_of_two_sites_is_neither_scored_nor_counted(tmp_path, part, few) -> None:
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_part(study, part, dict.fromkeys(NAMES[:2], few)), smallest_part=10)
    counted = them.summed(1, **STATISTICS)
    others = {"train": 48.0, "validation": 48.0, "test": 48.0} | {part: 0.0}
    assert counted["cases"].tolist() == list(others.values())
    assert counted["present"].tolist() == [96, 96]
    ask = TEST if part == "test" else {"round": 4, "asks": ("validation",)}
    sum = them.offered(2, **ask)
    for name in NAMES:
        assert refused(them, name, them.round_request(sum)) == "too_few_sites"


def test_a_site_that_did_not_sign_a_part_adds_nothing_to_it(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_part(study, "test", {ME: 9}), smallest_part=10)
    assert them.summed(1, **STATISTICS)["cases"].tolist() == [48, 48, 36]
    scored = them.summed(2, **TEST)
    assert scored["scores/cases"].tolist() == [36]


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
def test_a_site_with_few_training_patients_signs_nothing_without_privacy(tmp_path, mode) -> None:
    """No modality, and so none of its patients has one."""
    study = study_of("chart", "panel", **mode)
    them = Hospitals(tmp_path, study, cohorts=with_part(study, "train", {ME: 3}), smallest_part=10)
    members = {member.name: member for member in them.context(1).members}
    private = mode is PRIVATE
    assert members[ME].parts == (("test", "train", "validation") if private else ())
    assert members[ME].modalities == (("chart", "panel") if private else ())
    assert members["north"].parts == ("test", "train", "validation")


def test_a_modality_is_signed_with_as_many_training_cases(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    cohort = cohort_of(study, ME)
    cohort.train.present[9:, 1] = False
    them = Hospitals(tmp_path, study, cohorts={ME: cohort}, smallest_part=10)
    assert {m.name: m.modalities for m in them.context(1).members}[ME] == ("chart",)


def test_a_part_is_judged_at_u1_and_again_at_u2(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_part(study, "test", {"west": 0}))
    sum = them.offered(1, **TEST)
    fewer = replace(them.round_request(sum), offers=tuple(sum.offers[name] for name in NAMES[1:]))
    assert refused(them, "north", fewer) == "too_few_sites", "at U1"
    them.masked(sum)
    for name in ("north", "west"):
        assert refused(them, name, ConfirmRequest(1, NAMES[1:])) == "too_few_sites", "at U2"
    them.revealed(them.confirmed(sum, NAMES[:3]))


def test_a_site_whose_part_became_too_small_is_out_until_it_joins_anew(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_part(study, "test", {ME: 10}), smallest_part=10)
    sum = them.offered(1, **STATISTICS)
    them.sites[ME].site.__dict__["cohort"] = with_part(study, "test", {ME: 9})[ME]
    assert refused(them, ME, them.round_request(sum)) == ProtocolOrderError.code
    assert them.summed(2, **STATISTICS)["cases"].tolist() == [48, 48, 36]


def test_a_mask_that_makes_a_part_too_small_is_signed_for_anew(tmp_path) -> None:
    """Nine of twelve test patients have panels alone, which too few sites have."""
    study = study_of("chart", "panel", **PLAIN)
    cohorts = with_part(study, "test", {})
    for name in NAMES[1:]:
        cohorts[name] = replace(cohorts[name].seen_with(["chart"]), owned=("chart",))
    cohorts[ME].test.present[:9, 0] = False
    them = Hospitals(tmp_path, study, cohorts=cohorts, smallest_part=10)
    charts = dict.fromkeys(("shared", "chart"), NAMES)
    assert refused(them, ME, them.round_request(them.offered(1, **STATISTICS, owners=charts))) == "out_of_order"
    assert them.summed(2, **STATISTICS, owners=charts)["cases"].tolist() == [48, 48, 36]


def test_a_part_is_judged_by_what_its_sum_is_made_of(tmp_path) -> None:
    """Charts came to a site that had not signed them: twenty test patients were judged, and one was counted."""
    study = study_of("chart", "panel", **PLAIN)
    full = with_part(study, "test", {})
    panels = {part: getattr(full["west"], part) for part in ("train", "validation", "test")}
    panels = {name: replace(part, present=part.present & torch.tensor([False, True])) for name, part in panels.items()}
    signed = replace(full["west"], owned=("panel",), **panels)
    owners = {"shared": NAMES, "panel": NAMES, "chart": NAMES[:3]}
    for number, left in ((1, 12), (2, 1)):
        them = Hospitals(tmp_path / str(left), study, cohorts=full | {"west": signed}, smallest_part=10)
        sum, now = them.offered(number, **STATISTICS, owners=owners), with_part(study, "test", {})["west"]
        now.test.present[left:, 1] = False
        them.sites["west"].site.__dict__["cohort"] = replace(now, version="8" * 64)
        if left == 12:
            assert them.opened(sum)["cases"].tolist() == [48, 48, 48]
        else:
            assert refused(them, "west", them.round_request(sum)) == ProtocolOrderError.code
