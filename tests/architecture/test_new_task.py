"""A new task is one file and the lines of one table: a copy of the product has one more, and plays a study of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from filecmp import dircmp
from pathlib import Path

import pytest
import yaml

from client.site import read_site
from common.errors import StudyError
from common.study import read_study
from common.tasks import TASKS
from deploy.research.synthetic.generate import generate
from tests.support.deployment import environment
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "client", "server", "deploy")


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the product with a task of one number."""
    root = tmp_path_factory.mktemp("product")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(Path(__file__).with_name("number_task.py"), root / "common" / "tasks" / "number.py")
    table = root / "common" / "tasks" / "__init__.py"
    text = table.read_text()
    line = "from common.tasks.multiclass import Multiclass\n"
    text = text.replace(line, f"{line}from common.tasks.number import Number\n")
    text = text.replace("    Multiclass,\n)", "    Multiclass,\n    Number,\n)")
    text = text.replace("    | Multiclass,\n", "    | Multiclass\n    | Number,\n")
    table.write_text(text)
    return root


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals that predict the age from two other columns of their records, and from genes."""
    folder = tmp_path_factory.mktemp("age") / "h"
    generate(folder, sites=3, seed=0, scale=0.2)
    without_privacy(folder)
    content = yaml.safe_load((folder / "study.yaml").read_text())
    records = next(name for name, one in content["modalities"].items() if one["kind"] == "record")
    genes = next(name for name, one in content["modalities"].items() if one["kind"] == "sequence")
    age = content["modalities"][records]["numeric"].pop("age")
    kept = {name: content["modalities"][name] for name in (records, genes)}
    plain = {"privacy": {"mode": "none"}, "rounds": 4, "study": "age", "modalities": kept, "evaluation": {"every": 1}}
    task = {"kind": "number", "low": age["low"], "high": age["high"]}
    training = content["training"] | {"local_steps": 5, "batch_size": 12, "learning_rate": 0.2}
    (folder / "age.yaml").write_text(yaml.safe_dump(content | plain | {"task": task, "training": training}))
    private = {"privacy": content["privacy"], "rounds": 2, "study": "age_private"}
    (folder / "private.yaml").write_text(yaml.safe_dump(content | plain | {"task": task} | private))
    for site in folder.glob("*/site.yaml"):
        words = yaml.safe_load(site.read_text())
        source = words["records"][records]
        words["target"] = {
            "file": source["file"],
            "column": source.get("columns", {}).get("age", "age"),
            "missing": [*source.get("missing", [])],
        }
        site.write_text(yaml.safe_dump(words))
    return folder


def wardround(product: Path, *words: str | Path) -> str:
    """What a command of the copy says; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", *map(str, words)],
        cwd=product, env=environment(PYTHONPATH=str(product)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1500:]
    return done.stdout


def test_the_copy_differs_by_one_file_and_three_lines(product: Path) -> None:
    found = dircmp(ROOT / "common" / "tasks", product / "common" / "tasks", ignore=["__pycache__"])
    assert (found.right_only, found.diff_files, found.left_only) == (["number.py"], ["__init__.py"], [])
    here, there = ((root / "common" / "tasks" / "__init__.py").read_text().splitlines() for root in (ROOT, product))
    assert len({*there} - {*here}) == 3 + 1 and len(there) == len(here) + 3  # and a comma that moves


def test_a_study_of_the_new_task_is_checked_played_and_reported(product: Path, hospitals: Path) -> None:
    study = hospitals / "age.yaml"
    with pytest.raises(StudyError, match="task"):
        read_study(study)  # here it is no task
    said = wardround(product, "study", "check", study, "--hospitals", hospitals)
    assert "in order" in said and "with a number" in said
    wardround(product, "simulate", study, "--hospitals", hospitals, "--run", "age")
    run = product / "runs" / "age"
    report = json.loads((run / "report.json").read_text())
    assert {entry["kind"] for entry in report["comparisons"]} >= {"federated", "pooled", "alone"}
    scored = [entry["metrics"]["explained"] for entry in report["rounds"] if entry["metrics"]]
    assert len(scored) >= 4 and all(value <= 1 for value in scored) and scored[-1] > scored[0]
    page = read_page((run / "report.html").read_text()).text
    assert "Explained variance" in page and "AUC" not in page and "with a number" in page
    assert (run / "model.safetensors").exists()
    assert str(run / "report.html") in wardround(product, "report", run)


def test_a_private_study_of_the_new_task_is_charged_and_its_scores_are_as_noisy_as_they_say(product, hospitals) -> None:
    wardround(product, "simulate", hospitals / "private.yaml", "--hospitals", hospitals, "--run", "p", "--no-compare")
    report = json.loads((product / "runs" / "p" / "report.json").read_text())
    epsilon = [entry["epsilon"] for entry in report["rounds"]]
    assert 0 < epsilon[0] < epsilon[-1] <= report["study"]["privacy"]["epsilon"]
    assert all(entry["metrics"]["share_noise"] != 0 for entry in report["rounds"] if entry["metrics"])


def test_a_hospital_reads_in_words_what_the_new_task_predicts(product: Path, hospitals: Path) -> None:
    site = next(iter(sorted(hospitals.glob("*/site.yaml")))).parent
    said = wardround(product, "site", "approve", hospitals / "age.yaml", "--yes", "--at", site)
    assert "It learns to predict a number from" in said and read_site(site).file.site in said


def test_each_file_of_a_task_stands_in_the_table() -> None:
    shared = {"__init__", "measure", "task", "classes", "class_scores", "ranks", "part", "one_column"}
    files = {path.stem for path in (ROOT / "common" / "tasks").glob("*.py")} - shared
    assert files == {task.__module__.rpartition(".")[2] for task in TASKS}
