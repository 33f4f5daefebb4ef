"""All that tests add to a copy of the product at once, deployed: real sites and a coordinator of that copy, by its own
commands, with privacy and the secure sum; each run is killed and resumed.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.test_new_inquiry import with_median
from tests.architecture.test_new_map import hospitals as maps  # noqa: F401 (a fixture)
from tests.architecture.test_new_modality import POINTS, with_curves
from tests.architecture.test_new_targets import SITES
from tests.architecture.test_new_targets import hospitals as columns  # noqa: F401 (a fixture)
from tests.support.deployment import ROOT, environment
from tests.support.hospital import write_csv
from tests.support.product import copy_with
from tests.support.reading import read_page

pytestmark = pytest.mark.soak
HERE = Path(__file__).parent
HALVINGS = 3
# Study -> a measure that its report has, and words of its page.
STUDIES = {
    "pair_asking": ("mean_error", "What else was asked"),
    "twofold_private": ("", ""),
    "outline_private": ("dice", "Dice"),
}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tasks = ((HERE / f"{name}_task.py", name.capitalize()) for name in ("pair", "twofold", "outline"))
    return with_median(with_curves(copy_with(tmp_path_factory.mktemp("product"), *tasks)))


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory, columns: Path, maps: Path) -> Path:  # noqa: F811
    """Those of both tests in one, with curves beside their records; each with a target of columns and of masks."""
    folder, draws = tmp_path_factory.mktemp("all") / "h", random.Random(0)
    shutil.copytree(columns, folder, ignore=shutil.ignore_patterns("state"))
    for site in SITES:
        for images in ("scans", "masks"):
            shutil.copytree(maps / site / images, folder / site / images)
        words, others = (yaml.safe_load((where / site / "site.yaml").read_text()) for where in (folder, maps))
        rows = (folder / site / "table.csv").read_text().splitlines()[1:]
        curves = [
            {"nr": row.split(",")[0], **{f"p{place}": f"{draws.gauss(0, 1):.3f}" for place in range(POINTS)}}
            for row in rows
        ]
        write_csv(folder / site / "curves.csv", curves)
        words["target"] |= others["target"]
        words |= {"images": others["images"], "curves": {"curve": {"file": "curves.csv"}}}
        (folder / site / "site.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(words))))
    for name, source, epsilon in (("twofold_private", folder, 20.0), ("outline_private", maps, 40.0)):
        later: dict[str, Any] = yaml.safe_load((source / f"{name}.yaml").read_text())
        # Over all studies: patients have spent on the ones before, for which the spare rounds of this one leave room.
        later["privacy"] |= {"epsilon": epsilon, "spare_rounds": 40}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(later))
    study: dict[str, Any] = yaml.safe_load((folder / "pair_private.yaml").read_text())
    curve = {"kind": "curve", "points": POINTS, "low": -3.0, "high": 3.0}
    median = {"kind": "median", "modality": "signs", "column": "x0", "low": -4.0, "high": 4.0, "sums": HALVINGS}
    study |= {"schema": 2, "study": "pair_asking", "modalities": study["modalities"] | {"curve": curve}}
    study["inquiries"] = {"x0_median": median}
    (folder / "pair_asking.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, product: Path, hospitals: Path) -> tuple[Path, Any]:
    """The coordinator's folder, and what was said of each study."""
    folder = tmp_path_factory.mktemp("deployed")
    done = subprocess.run(
        [sys.executable, "-P", HERE / "deployed_growth.py", product, folder, hospitals, *STUDIES],
        cwd=product, env=environment(PYTHONPATH=f"{product}:{ROOT}"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return folder / "consortium", json.loads((folder / "played.json").read_text())


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_what_was_added_is_played_deployed_killed_resumed_and_reported(played: Any, name: str) -> None:
    at, said = played
    assert said[name]["code"] == 0, said[name]["said"]
    assert "in order" in said[name]["check"]
    report = json.loads((at / "runs" / name / "report.json").read_text())
    assert not report["simulated"] and report["sites"] == len(SITES) and report["threshold"] == 3
    spent = [entry["epsilon"] for entry in report["rounds"]]
    assert 0 < spent[0] < spent[-1] <= report["study"]["privacy"]["epsilon"]
    measure, words = STUDIES[name]
    assert any(measure in key for entry in report["rounds"] for key in entry["metrics"] or {})
    assert words in read_page((at / "runs" / name / "report.html").read_text()).text


def test_the_inquirys_sums_are_opened_charged_and_reported(played: Any, hospitals: Path) -> None:
    at, said = played
    (found,) = json.loads((at / "runs" / "pair_asking" / "report.json").read_text())["inquiries"]
    assert found["name"] == "x0_median" and -4 < found["found"]["median"] < 4
    assert found["noise"] > 0 and f"sum {HALVINGS} after the test" in said["pair_asking"]["said"]
    for site in SITES:
        ledger = (hospitals / site / "state" / "ledger.jsonl").read_text().splitlines()
        own = [line for line in map(json.loads, ledger) if line["cohort"] == "training+test"]
        assert len(own) >= HALVINGS
