"""Everybody: patients without a target are prepared for a use that needs none, and change nothing of training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner

from client.data.cache import Cache
from client.data.everybody import Everybody, prepare_everybody
from client.data.left_out import FILE as LEFT_OUT
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.statistics import statistic_sums
from client.site import SiteFolder, read_site
from common.errors import CohortError, DataError
from common.models.network import build_network
from deploy.cli import commands
from tests.client.data.test_cache import decoded
from tests.support.hospital import hospital, person, study_of, write_csv
from tests.support.scripted import PRIVATE

WITHOUT = (3, 8)  # in the table, with no word for the outcome
ELSEWHERE = 12  # in no row of the table: has an image, a note and genes alone


def ward(root: Path, outcomes: bool = True, **more: object) -> SiteFolder:
    """Sixteen patients, of whom three have no target; with `outcomes=False` nobody has one."""
    folder = hospital(root)
    with (root / "records.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    gone = {person(number).patient for number in WITHOUT}
    for row in rows:
        row["outcome"] = "" if row["patient_id"] in gone or not outcomes else row["outcome"]
    write_csv(root / "records.csv", [row for row in rows if row["patient_id"] != person(ELSEWHERE).patient])
    content = yaml.safe_load((root / "site.yaml").read_text()) | more
    (root / "site.yaml").write_text(yaml.safe_dump(content))
    return read_site(folder.root)


def test_all_are_prepared_and_those_without_a_target_are_counted_apart(tmp_path) -> None:
    study = study_of()
    found = prepare_everybody(ward(tmp_path), study)
    assert set(found.patients) == {person(number).patient for number in range(16)} and len(found) == 16
    assert found.without_target == len(WITHOUT) + 1
    assert found.counts["patients without a target, who are in no part of the study's split"] == found.without_target
    labs = found.present[:, study.names.index("labs")]
    assert int(labs.sum()) == 15 and not labs[found.patients.index(person(ELSEWHERE).patient)]
    network = build_network(study).eval()
    assert torch.isfinite(network(dict(found.inputs), found.present)).all()
    assert not any(patient in repr(found) for patient in found.patients)


def test_nobody_without_a_target_is_in_a_part_or_in_a_sum_and_training_stays_as_it_was(tmp_path) -> None:
    study = study_of()
    before = prepare(ward(tmp_path / "one"), study)
    folder = ward(tmp_path / "other")
    everybody = prepare_everybody(folder, study)
    after = prepare(folder, study)
    for part in ("train", "validation", "test"):
        one, other = getattr(before, part), getattr(after, part)
        assert torch.equal(one.target, other.target) and torch.equal(one.present, other.present)
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in study.names)
    cases = statistic_sums(study, after)["cases"].sum()
    assert cases == statistic_sums(study, before)["cases"].sum() == 13 and len(everybody) == 16
    secret = site_secret(folder.root / "state")
    assert secret.pseudonym(person(ELSEWHERE).patient) not in {*after.sides} | after.out


def test_both_are_kept_beside_each_other_and_no_image_is_decoded_twice(tmp_path, monkeypatch) -> None:
    folder, study = ward(tmp_path), study_of()
    files = decoded(monkeypatch)
    cohort = prepare(folder, study)
    training = len(files)
    assert training == 9
    prepare_everybody(folder, study)
    assert len(files) == 11  # of those without a target alone
    assert prepare(folder, study).version == cohort.version and len(prepare_everybody(folder, study)) == 16
    assert len(files) == 11
    assert Cache(tmp_path / "state" / "cache").purge() == 2 * len(study.names)


def test_a_site_where_nobody_has_a_target_can_prepare_for_a_use_alone(tmp_path) -> None:
    folder, study = ward(tmp_path, outcomes=False), study_of()
    with pytest.raises(CohortError):
        prepare(folder, study)
    assert prepare_everybody(folder, study).without_target == 16


@pytest.mark.parametrize("private", [False, True])
def test_who_opted_out_is_not_prepared_though_in_no_targets_file(tmp_path, private) -> None:
    """Written otherwise in the list than in the table of genes; and whom an earlier list named, where it counts."""
    study = study_of(PRIVATE if private else None)
    folder = ward(tmp_path, exclusions="list.csv")
    gone, before = person(ELSEWHERE).patient, person(1).patient
    _listed(tmp_path, before)
    assert before not in prepare_everybody(folder, study).patients
    prepare(folder, study)
    kept = (tmp_path / "state" / LEFT_OUT).read_bytes()
    _listed(tmp_path, f"MRN: {gone.removeprefix('MRN-')}")
    found = prepare_everybody(folder, study)
    assert gone not in found.patients and (before in found.patients) == (not private)
    assert found.opt_outs.startswith("1 listed, 1 found here")
    assert (tmp_path / "state" / LEFT_OUT).read_bytes() == kept
    assert site_secret(tmp_path / "state").pseudonym(gone) not in _held(tmp_path / "state")


def test_a_table_that_cannot_be_read_is_an_error_without_a_value(tmp_path) -> None:
    folder = ward(tmp_path)
    with (tmp_path / "genes.csv").open("a") as file:
        file.write("Hidden Name,1\n")
    with pytest.raises(DataError, match="more or fewer cells") as told:
        prepare_everybody(folder, study_of())
    assert "Hidden" not in str(told.value)


@pytest.mark.parametrize(("options", "said"), [
    (["--everybody"], "16 patients are prepared: 13 with a target, 3 without"),
    ([], "Prepared. Cases: "),
])  # fmt: skip
def test_the_command_says_how_many_there_are_and_names_nobody(tmp_path, options, said) -> None:
    ward(tmp_path)
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump(json.loads(json.dumps(_content()))))
    done = CliRunner().invoke(commands, ["site", "prepare", str(study), "--at", str(tmp_path), *options])
    assert done.exit_code == 0, done.output
    assert said in done.output and "MRN" not in done.output
    assert len(_held(tmp_path / "state")) == (16 if options else 13)


def _content() -> dict[str, object]:
    from tests.support.hospital import STUDY

    return STUDY


def _listed(root: Path, word: str) -> None:
    write_csv(root / "list.csv", [{"patient_id": word}])


def _held(state: Path) -> set[str]:
    """Whose rows are in the cache, as pseudonyms."""
    indices = (json.loads(path.read_text()) for path in (state / "cache").glob("*/*/index.json"))
    return {pseudonym for index in indices for pseudonym in index["pseudonyms"]}


def test_everybody_is_no_cohort() -> None:
    """What a round takes has parts; this has none."""
    assert not {"train", "validation", "test", "sides"} & {*Everybody.__dataclass_fields__}
