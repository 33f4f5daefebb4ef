"""What `site approve` says of a site.yaml and of data that do not quite fit the study: where, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import SiteFileError
from common.study import Study, study_text
from deploy.cli import commands
from tests.support.hospital import hospital, study_of, write_site


def approve(root: Path, study: Study) -> tuple[str, BaseException | None]:
    """What the command said, on the terminal and as its error."""
    (root / "study.yaml").write_text(study_text(study), encoding="utf-8")
    done = CliRunner().invoke(commands, ["site", "approve", str(root / "study.yaml"), "--yes", "--at", str(root)])
    return done.output + str(done.exception or ""), done.exception


def test_a_modality_that_site_yaml_misspells_is_named_with_its_place(tmp_path: Path) -> None:
    north = hospital(tmp_path / "north", patients=40)
    write_site(north.root, {"sequences": {"genez": {"file": "genes.csv"}}})
    said, refused = approve(north.root, study_of(modalities=["labs", "genes"]))
    assert refused is None
    assert "genes: not at this site. site.yaml has sequences.genez: is that it? Then write genes there" in said
    write_site(north.root, {"sequences": {"proteome": {"file": "genes.csv"}}})
    said, _ = approve(north.root, study_of(modalities=["labs", "genes"]))
    assert "genes: not at this site\n" in said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"notes": {"xray": {"folder": "images"}}}, "notes.xray: is in the wrong section: what it says fits images."),
        (
            {"images": {"labs": {"file": "records.csv", "columns": {"a": "b"}}}},
            "images.labs: is in the wrong section: what it says fits records or sequences.",
        ),
        (
            {"records": {"report": {"file": "notes.csv", "text": "text"}}},
            "records.report: is in the wrong section: what it says fits notes.",
        ),
    ],
)
def test_what_stands_in_the_wrong_section_is_told_once_and_where_it_belongs(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    """It was told key by key: unknown here, missing there."""
    north = hospital(tmp_path / "north")
    with pytest.raises(SiteFileError):
        write_site(north.root, changes | {"device": "gpu"})
    said, refused = approve(north.root, study_of(modalities=["labs"]))
    assert isinstance(refused, SiteFileError) and "2 mistakes" in said, said
    assert re.search(re.escape(sentence) + r" Move it there \(line \d+\)", said), said
    assert "device: write one of auto, cpu, cuda" in said and "unknown key" not in said and "missing" not in said


def test_a_mistake_in_the_right_section_is_not_called_the_wrong_one(tmp_path: Path) -> None:
    north = hospital(tmp_path / "north")
    with pytest.raises(SiteFileError, match=r"records\.labs\.columnz: unknown key; did you mean columns\?"):
        write_site(north.root, {"records": {"labs": {"file": "records.csv", "columnz": {}}}})
    with pytest.raises(SiteFileError, match=r"records\.labs\.file: write the path of a file or folder"):
        write_site(north.root, {"records": {"labs": {"file": 3}}})


@pytest.mark.parametrize("key", ["notes.report.file", "identity.0.file", "records.labs.file", "sequences.genes.file"])
def test_a_file_that_is_not_there_is_named_by_its_key_and_path(tmp_path: Path, key: str) -> None:
    north = hospital(tmp_path / "north")
    gone = {"notes": "notes.csv", "identity": "patients.csv", "records": "labs.csv", "sequences": "genes.csv"}
    name = gone[key.partition(".")[0]]
    if key == "records.labs.file":  # the target's file is another
        write_site(north.root, {"records": {"labs": {"file": name}}})
    else:
        (north.root / name).unlink()
    said, refused = approve(north.root, study_of())
    assert isinstance(refused, SiteFileError)
    assert f"{north.root / name}: cannot be read (No such file or directory). Check site.yaml, key {key}," in said


def test_nobody_is_said_to_be_left_out_where_somebody_is(tmp_path: Path) -> None:
    """It said that nobody is left out, and below that two were, who have no value."""
    north = hospital(tmp_path / "north", patients=40)
    table = north.root / "records.csv"
    table.write_text(re.sub(r",(alive|dead),", ",,", table.read_text(), count=2))
    said, refused = approve(north.root, study_of(modalities=["labs"]))
    assert refused is None and "left out: target: 2 patients without a value" in said
    assert "obody is left out" not in said and "Nobody opted out: site.yaml names no list of exclusions." in said
    listed = CliRunner().invoke(commands, ["site", "exclusions", "--at", str(north.root)]).output
    assert "names no list of exclusions" in listed and "left out" not in listed


def test_cases_that_are_too_few_to_be_counted_are_told(tmp_path: Path) -> None:
    north = hospital(tmp_path / "north", patients=60)
    study = study_of(modalities=["labs", "genes"])
    said, refused = approve(north.root, study)
    found = re.search(r"Cases: (\d+) training, (\d+) validation, (\d+) test", said)
    assert refused is None and found is not None and int(found[2]) < 10 <= int(found[3])
    few = "Not counted, for it is of fewer than 10 patients (policy.without_privacy.smallest_part in site.yaml)"
    assert f"{few}: {found[2]} validation cases." in said and "test cases." not in said
    rows = (north.root / "genes.csv").read_text().splitlines()
    (north.root / "genes.csv").write_text("\n".join(rows[:9]) + "\n")
    said, _ = approve(north.root, study)
    assert re.search(rf"{re.escape(few)}: genes of \d training cases, {found[2]} validation cases\.", said), said
    write_site(north.root, {"policy": {"without_privacy": {"smallest_part": 1}}})
    said, _ = approve(north.root, study)
    assert "Not counted" not in said
    small = hospital(tmp_path / "small", patients=8)
    said, _ = approve(small.root, study)
    assert "Without training cases this site adds nothing to the study." in said
    private = {"privacy": {"mode": "local", "sample_rate": 0.25, "expected_batch_size": 4}}
    said, _ = approve(small.root, study_of(private, modalities=["labs"]))
    assert "Not counted" not in said  # with privacy every part is signed for, and has noise
