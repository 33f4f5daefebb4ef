"""A new inquiry is one file on each side and a line of each table: a copy of the product has one more, and plays it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from filecmp import dircmp
from pathlib import Path

import numpy as np
import pytest
import yaml

from client.round.answers import ANSWERS
from common.errors import StudyError
from common.inquiries import KINDS
from common.questions import QUESTIONS
from common.study import read_study
from deploy.research.synthetic.generate import generate
from tests.architecture.test_new_task import ROOT, wardround
from tests.support.deployment import environment
from tests.support.product import copy_with
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy

HALVINGS, LOW, HIGH = 6, 0.0, 120.0


def with_median(root: Path) -> Path:
    """A copy of the product with an inquiry for the median of a column."""
    here = Path(__file__)
    shutil.copyfile(here.with_name("median_inquiry.py"), root / "common" / "inquiries" / "median.py")
    shutil.copyfile(here.with_name("median_answer.py"), root / "client" / "round" / "answers" / "median.py")
    table = root / "common" / "inquiries" / "__init__.py"
    text = table.read_text().replace("KINDS: tuple[type[Any], ...] = ()", "KINDS: tuple[type[Any], ...] = (Median,)")
    line = "from common.inquiries.inquiry import Finding, Inquiry\n"
    table.write_text(text.replace(line, f"{line}from common.inquiries.median import Median\n"))
    table = root / "client" / "round" / "answers" / "__init__.py"
    line = "from client.round.answers.scores import ScoresAnswer\n"
    text = table.read_text().replace(line, f"from client.round.answers.median import MedianAnswer\n{line}")
    table.write_text(text.replace('    "training"', '    "median": MedianAnswer(),\n    "training"'))
    return root


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_median(copy_with(tmp_path_factory.mktemp("product")))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals, and a study of their records that asks for the median age, with privacy and without."""
    folder = tmp_path_factory.mktemp("median") / "h"
    generate(folder, sites=3, seed=0, scale=0.2)
    without_privacy(folder)
    content = yaml.safe_load((folder / "study.yaml").read_text())
    records = next(name for name, one in content["modalities"].items() if one["kind"] == "record")
    median = {"kind": "median", "modality": records, "column": "age", "low": LOW, "high": HIGH, "sums": HALVINGS}
    kept = {"modalities": {records: content["modalities"][records]}, "rounds": 1, "schema": 2}
    asked = content | kept | {"inquiries": {"age_median": median}}
    for name, privacy in (("plain", {"mode": "none"}), ("private", content["privacy"])):
        study = asked | {"study": name, "privacy": privacy, "training": content["training"] | {"local_steps": 2}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(study))
    return folder


def ages(folder: Path) -> list[float]:
    """Of all patients of all sites who have one, whichever part of the cohort they are in."""
    found = []
    for site in sorted(folder.glob("*/site.yaml")):
        source = next(iter(yaml.safe_load(site.read_text())["records"].values()))
        with (site.parent / source["file"]).open(encoding="utf-8") as file:
            words = [row[source.get("columns", {}).get("age", "age")] for row in csv.DictReader(file)]
        found += [float(word) for word in words if word.replace(".", "", 1).isdigit()]
    return found


def test_the_copy_differs_by_a_file_and_two_lines_on_each_side(product: Path) -> None:
    for place, lines in (("common/inquiries", 1), ("client/round/answers", 2)):
        found = dircmp(ROOT / place, product / place, ignore=["__pycache__"])
        assert (found.right_only, found.diff_files, found.left_only) == (["median.py"], ["__init__.py"], [])
        here, there = ((root / place / "__init__.py").read_text().splitlines() for root in (ROOT, product))
        assert len(there) - len(here) == lines


def test_here_no_study_may_ask_it(hospitals: Path) -> None:
    with pytest.raises(StudyError, match="inquiries"):
        read_study(hospitals / "plain.yaml")


def test_each_kind_of_question_and_inquiry_stands_in_the_tables() -> None:
    answers = {path.stem for path in (ROOT / "client" / "round" / "answers").glob("*.py")} - {"__init__", "answer"}
    assert answers == {type(one).__module__.rpartition(".")[2] for one in ANSWERS.values()}
    questions = {path.stem for path in (ROOT / "common" / "questions").glob("*.py")}
    stand = {type(one).__module__.rpartition(".")[2] for one in QUESTIONS.values()}
    assert questions - {"__init__", "question", "inquired"} == stand
    inquiries = {path.stem for path in (ROOT / "common" / "inquiries").glob("*.py")} - {"__init__", "inquiry"}
    assert inquiries == {kind.__module__.rpartition(".")[2] for kind in KINDS}
    assert {one.kind for one in QUESTIONS.values()} == {*ANSWERS} - {"median"}


def test_a_study_with_the_new_inquiry_is_checked_played_and_reported(product: Path, hospitals: Path) -> None:
    study = hospitals / "plain.yaml"
    assert "in order" in wardround(product, "study", "check", study, "--hospitals", hospitals)
    wardround(product, "simulate", study, "--hospitals", hospitals, "--run", "plain", "--no-compare")
    report = json.loads((product / "runs" / "plain" / "report.json").read_text())
    ((name, found),) = [(one["name"], one["found"]) for one in report["inquiries"]]
    assert name == "age_median" and report["format"] == 2
    median, width = found["median"], (HIGH - LOW) / 2**HALVINGS
    known = ages(hospitals)
    assert abs(median - np.median(known)) <= width + 2, (median, np.median(known))
    assert 0.5 * len(known) < found["patients with a value"] <= len(known)
    page = read_page((product / "runs" / "plain" / "report.html").read_text()).text
    assert "age_median: it finds the median of 'age'" in page and f"{median:.3f}"[:4] in page


@pytest.mark.soak
def test_with_privacy_its_sums_have_integer_noise_and_an_account_of_their_own(product: Path, hospitals: Path) -> None:
    wardround(product, "simulate", hospitals / "private.yaml", "--hospitals", hospitals, "--run", "p", "--no-compare")
    run = product / "runs" / "p"
    report = json.loads((run / "report.json").read_text())
    (found,) = report["inquiries"]
    assert found["noise"] > 0
    epsilon = max(entry["epsilon"] for entry in report["rounds"])
    assert 0 < epsilon <= report["study"]["privacy"]["epsilon"]
    ledgers = sorted((run / "sites").rglob("ledger.jsonl"))
    assert len(ledgers) == 3
    for ledger in ledgers:
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        own = [line for line in lines if line["cohort"] == "training+test"]
        assert [line["format"] for line in own] == [2] * HALVINGS
        assert {line["releases"][0]["noise_multiplier"] for line in own} == {4.0}
        assert {line["format"] for line in lines if line not in own} == {1}


def test_a_hostile_coordinator_gets_no_more_than_the_sums_that_are_due(product: Path) -> None:
    """Through the handlers of the copy: the attacks stand in `inquiry_attacks.py`."""
    attacks = product / "attacks" / "test_attacks.py"
    attacks.parent.mkdir()
    shutil.copyfile(Path(__file__).with_name("inquiry_attacks.py"), attacks)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", product, attacks],
        cwd=product, env=environment(PYTHONPATH=f"{product}:{ROOT}"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
