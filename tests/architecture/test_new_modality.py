"""A new kind of modality is a file for each side, a line in each table and a key of site.yaml: a copy has one more."""

from __future__ import annotations

import csv
import json
import random
import shutil
from filecmp import dircmp
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import yaml

from client.data.kinds import KINDS
from client.site import SiteFile
from common.errors import StudyError
from common.modalities import Modality
from common.study import read_study
from deploy.research.synthetic.generate import generate
from tests.architecture.test_new_task import ROOT, wardround
from tests.support.product import copy_with
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy

HERE = Path(__file__).parent
POINTS = 6


def added(path: Path, *lines: tuple[str, str]) -> None:
    """Put each of these lines behind the one that it names."""
    text = path.read_text()
    for before, line in lines:
        assert text.count(before) == 1, before
        text = text.replace(before, before + line)
    path.write_text(text)


def with_curves(root: Path) -> Path:
    """A copy of the product that knows of curves."""
    common, kinds = root / "common" / "modalities", root / "client" / "data" / "kinds"
    shutil.copyfile(HERE / "curve_modality.py", common / "curve.py")
    shutil.copyfile(HERE / "curve_encoder.py", common / "curve_encoder.py")
    shutil.copyfile(HERE / "curve_kind.py", kinds / "curve.py")
    added(
        common / "__init__.py",
        ("from typing import Annotated\n", "from common.modalities.curve import CurveModality\n"),
        ("    | SequenceModality", "\n    | CurveModality"),
    )
    added(
        kinds / "__init__.py",
        ("from typing import Any\n", "from client.data.kinds.curve import CurveKind\n"),
        ('    "record": RecordKind,\n', '    "curve": CurveKind,\n'),
    )
    sequences = "    sequences: dict[str, TableSource] = field(default_factory=dict)\n"
    added(root / "client" / "site.py", (sequences, sequences.replace("sequences", "curves")))
    return root


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_curves(copy_with(tmp_path_factory.mktemp("product")))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals with curves, which tell the outcome, of most of their patients."""
    folder = tmp_path_factory.mktemp("curves") / "h"
    generate(folder, sites=3, seed=0, scale=0.2)
    without_privacy(folder)
    content = yaml.safe_load((folder / "study.yaml").read_text())
    records = next(name for name, one in content["modalities"].items() if one["kind"] == "record")
    curve = {"kind": "curve", "points": POINTS, "low": -3.0, "high": 3.0}
    study = content | {"study": "curves", "rounds": 2, "privacy": {"mode": "none"}}
    study["modalities"] = {records: content["modalities"][records], "curve": curve}
    study["training"] = content["training"] | {"local_steps": 5, "batch_size": 12}
    (folder / "curves.yaml").write_text(yaml.safe_dump(study))
    private = study | {"study": "private", "privacy": content["privacy"]}
    (folder / "private.yaml").write_text(yaml.safe_dump(private))
    draws = random.Random(0)
    for site in sorted(folder.glob("*/site.yaml")):
        words = yaml.safe_load(site.read_text())
        target = words["target"]
        patient = target.get("patient") or words["patient"]
        with (site.parent / target["file"]).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        first = rows[0][target["column"]]
        with (site.parent / "curves.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["patient", *(f"p{place}" for place in range(POINTS))])
            for row in rows[: len(rows) * 9 // 10]:
                middle = 1.0 if row[target["column"]] == first else -1.0
                writer.writerow([row[patient], *(f"{draws.gauss(middle, 1):.3f}" for _ in range(POINTS))])
        words["curves"] = {"curve": {"file": "curves.csv", "patient": "patient"}}
        site.write_text(yaml.safe_dump(words))
    return folder


def test_the_copy_differs_by_a_file_for_each_side_and_a_line_in_each_table(product: Path) -> None:
    for place, more in (("common/modalities", ["curve.py", "curve_encoder.py"]), ("client/data/kinds", ["curve.py"])):
        found = dircmp(ROOT / place, product / place, ignore=["__pycache__"])
        assert (found.right_only, found.diff_files, found.left_only) == (more, ["__init__.py"], [])
    for place in ("common/modalities/__init__.py", "client/data/kinds/__init__.py"):
        here, there = ((root / place).read_text().splitlines() for root in (ROOT, product))
        assert len(there) == len(here) + 2 and not {*here} - {*there} - {"    | SequenceModality,"}


def test_a_study_of_the_new_kind_is_checked_played_and_reported(product: Path, hospitals: Path) -> None:
    study = hospitals / "curves.yaml"
    with pytest.raises(StudyError, match="modalities"):
        read_study(study)  # here it is no kind
    assert "in order" in wardround(product, "study", "check", study, "--hospitals", hospitals)
    wardround(product, "simulate", study, "--hospitals", hospitals, "--run", "curves")
    run = product / "runs" / "curves"
    report = json.loads((run / "report.json").read_text())
    (federated,) = (entry["metrics"] for entry in report["comparisons"] if entry["kind"] == "federated")
    assert federated["auc"] > 0.7  # of curves that tell the outcome
    (of_all,) = (entry for entry in report["coverage"] if entry["site"] is None)
    assert 0 < of_all["present"]["curve"] < sum(of_all["cases"].values())
    assert "curve" in read_page((run / "report.html").read_text()).text
    assert str(run / "report.html") in wardround(product, "report", run)


def test_a_private_study_of_the_new_kind_is_charged(product: Path, hospitals: Path) -> None:
    """Its encoder is none of which tests show that rows stay apart: it is looped over."""
    wardround(product, "simulate", hospitals / "private.yaml", "--hospitals", hospitals, "--run", "p", "--no-compare")
    report = json.loads((product / "runs" / "p" / "report.json").read_text())
    epsilon = [entry["epsilon"] for entry in report["rounds"]]
    assert 0 < epsilon[0] < epsilon[-1] <= report["study"]["privacy"]["epsilon"]


def test_a_hospital_reads_in_words_what_the_new_kind_takes(product: Path, hospitals: Path) -> None:
    site = min(hospitals.glob("*/site.yaml")).parent
    said = wardround(product, "site", "approve", hospitals / "curves.yaml", "--yes", "--at", site)
    assert f"curve: a curve of {POINTS} points, from curves.csv" in said


def test_each_file_of_a_kind_stands_in_the_tables() -> None:
    """On both sides, with a key of site.yaml."""
    union, _ = get_args(Modality)
    modules = {get_args(get_type_hints(one)["kind"])[0]: one.__module__ for one in get_args(union)}
    assert KINDS.keys() == modules.keys()
    names = {module.rpartition(".")[2] for module in modules.values()}
    files = {path.stem for path in (ROOT / "common" / "modalities").glob("*.py")}
    assert files - {"__init__", "modality", "backbone", "tokenizers"} == names | {f"{name}_encoder" for name in names}
    kinds = {path.stem for path in (ROOT / "client" / "data" / "kinds").glob("*.py")} - {"__init__", "kind", "table"}
    assert kinds == {kind.__module__.rpartition(".")[2] for kind in KINDS.values()}
    assert {kind.section for kind in KINDS.values()} <= get_type_hints(SiteFile).keys()
