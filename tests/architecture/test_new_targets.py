"""A task whose target has several parts is one file and three lines of its table too: a copy has some."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.site import read_site
from tests.support.deployment import environment
from tests.support.hospital import write_csv
from tests.support.product import TASKS, WITHOUT_KEYS, copy_with, differences, played
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy

HERE = Path(__file__).parent
SITES = ("east", "north", "west")
PATIENTS = 60
PAIR = {"kind": "pair", "high": 10.0}
TWO = ("dead", "back")
TWOFOLD = {"kind": "twofold", "tasks": {name: {"kind": "binary", "classes": ["no", "yes"]} for name in TWO}}
PLAIN, PRIVATE = {"mode": "none"}, {"mode": "local", "sample_rate": 0.4, "expected_batch_size": 12.0}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("product")
    return copy_with(root, (HERE / "pair_task.py", "Pair"), (HERE / "twofold_task.py", "Twofold"))


def study(task: dict[str, Any], privacy: dict[str, Any], **more: Any) -> dict[str, Any]:
    signs = {f"x{place}": {"low": -4.0, "high": 4.0, "mean": 0.0, "sd": 1.0} for place in range(3)}
    return {
        "schema": 1,
        "study": task["kind"] + ("" if privacy["mode"] == "none" else "_private"),
        "task": task,
        "modalities": {"signs": {"kind": "record", "numeric": signs, "encoder": {"hidden": []}}},
        "rounds": 4,
        "fusion": {"kind": "mean", "width": 8, "modality_dropout": 0.0},
        "training": {"local_steps": 6, "batch_size": 16, "learning_rate": 0.1},
        "privacy": privacy,
        "evaluation": {"every": 2, "bins": 10},
    } | more


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals. Of some patients the first number is not known, of others the second, of some neither; `west`
    has no column that says who came back.
    """
    folder, draws = tmp_path_factory.mktemp("hospitals"), random.Random(0)
    for site in SITES:
        rows = []
        for number in range(PATIENTS):
            x = [draws.gauss(0, 1) for _ in range(3)]
            level = [5 + 2 * x[place] + draws.gauss(0, 0.3) for place in range(2)]
            gap = draws.choice(["", "", "first", "second", "both"])
            pair = [
                "?" if gap in (name, "both") else f"{one:.2f}"
                for name, one in zip(("first", "second"), level, strict=True)
            ]
            told = {"death": "yn"[level[0] > 5], "returned": "yn"[level[1] > 5]}
            signs = {f"x{place}": f"{one:.3f}" for place, one in enumerate(x)}
            rows.append({"nr": f"{site[0].upper()}-{number:04}"} | signs | {"one": pair[0], "other": pair[1]} | told)
        write_csv(folder / site / "table.csv", rows)
        source = {"file": "table.csv", "values": {"y": "yes", "n": "no"}}
        columns = {"first": {"file": "table.csv", "column": "one"}, "second": {"file": "table.csv", "column": "other"}}
        columns |= {"dead": source | {"column": "death"}} | (
            {} if site == "west" else {"back": source | {"column": "returned"}}
        )
        words = {
            "site": site,
            "patient": "nr",
            "target": {"columns": columns},
            "records": {"signs": {"file": "table.csv"}},
        }
        (folder / site / "site.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(words))))  # without aliases
    without_privacy(folder)
    for task in (PAIR, TWOFOLD):
        for privacy in (PLAIN, PRIVATE):
            content = study(task, privacy)
            (folder / f"{content['study']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    off = {"enabled": False}
    long = study(PAIR, PLAIN, study="long", rounds=60, evaluation={"every": 60}, secure_sum=off)
    (folder / "long.yaml").write_text(yaml.safe_dump(long))
    return folder


def report_of(product: Path, run: str) -> Any:
    return json.loads((product / "runs" / run / "report.json").read_text())


def test_the_copy_differs_by_the_tasks_files_and_three_lines_for_each(product: Path) -> None:
    assert differences(product) == {str(TASKS): (["pair.py", "twofold.py"], 6)}


@pytest.mark.soak  # four commands and two runs
def test_a_target_of_two_columns_with_gaps_is_checked_approved_played_and_reported(product, hospitals) -> None:
    plain, private, site = hospitals / "pair.yaml", hospitals / "pair_private.yaml", hospitals / "east"
    checked, prepared, everybody, approved, seen, _, _, _, _, made = played(
        product,
        ["study", "check", plain, "--hospitals", hospitals],
        ["site", "prepare", plain, "--at", site],
        ["site", "prepare", plain, "--everybody", "--at", site],
        ["site", "approve", plain, "--yes", "--at", site],
        [WITHOUT_KEYS, "site", "check", "--at", site],
        ["simulate", plain, "--hospitals", hospitals, "--run", "pair"],
        ["simulate", private, "--hospitals", hospitals, "--run", "pair_private", "--no-compare"],
        ["report", "runs/pair"],
        ["hospitals", "new", "made", "--sites", "3", "--scale", "0.1", "--task-of", plain],
        ["study", "check", "made/study.yaml", "--hospitals", "made"],
    )
    assert all("in order" in said and "with a first" in said for said in (checked, made))
    without = int(everybody.split(" with a target, ")[1].split()[0])
    assert "Prepared. Cases: " in prepared and everybody.startswith(f"{PATIENTS} patients are prepared") and without > 0
    assert "    first: column 'one' of table.csv\n    second: column 'other' of table.csv\n" in approved
    assert "one step on 8 cases" in seen
    report = report_of(product, "pair")
    assert {entry["kind"] for entry in report["comparisons"]} >= {"federated", "pooled", "alone"}
    scored = [entry["metrics"]["mean_error"] for entry in report["rounds"] if entry["metrics"]]
    assert scored[-1] < 0.8 * scored[0]
    (all_sites,) = (entry for entry in report["coverage"] if entry["site"] is None)
    first, second = all_sites["classes"].values()
    assert 0 < first < all_sites["cases"]["train"] and 0 < second < all_sites["cases"]["train"] < first + second
    assert "Error of the second" in read_page((product / "runs" / "pair" / "report.html").read_text()).text
    spent = [entry["epsilon"] for entry in report_of(product, "pair_private")["rounds"]]
    assert 0 < spent[0] < spent[-1] <= 8.0


@pytest.mark.soak
def test_a_run_with_a_target_of_two_columns_goes_on_where_it_was_stopped(product: Path, hospitals: Path) -> None:
    """Without a secure sum, too."""
    words = ["simulate", str(hospitals / "long.yaml"), "--hospitals", str(hospitals), "--run", "long", "--no-compare"]
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "deploy.cli", *words],
        cwd=product, env=environment(PYTHONPATH=str(product)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    saved, ends = product / "runs" / "long" / "checkpoint.npz", time.monotonic() + 60
    while not saved.exists() and time.monotonic() < ends:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert "--resume" in said
    played(product, [*words, "--resume"])
    assert len(report_of(product, "long")["rounds"]) >= 60


@pytest.mark.soak
def test_a_site_without_one_of_two_targets_takes_part_with_the_other(product: Path, hospitals: Path) -> None:
    plain, private, site = hospitals / "twofold.yaml", hospitals / "twofold_private.yaml", hospitals / "west"
    checked, approved, seen, _, _, _ = played(
        product,
        ["study", "check", plain, "--hospitals", hospitals],
        ["site", "approve", plain, "--yes", "--at", site],
        [WITHOUT_KEYS, "site", "check", "--at", site],
        ["simulate", plain, "--hospitals", hospitals, "--run", "two"],
        ["simulate", private, "--hospitals", hospitals, "--run", "two_private", "--no-compare"],
        ["report", "runs/two"],
    )
    assert "in order" in checked and read_site(site).file.site == "west"
    assert "    dead: column 'death' of table.csv\n    back: NOT AT THIS SITE" in approved
    assert "one step on 8 cases" in seen and "back: no 0, back: yes 0" in approved
    report = report_of(product, "two")
    coverage = {entry["site"]: entry for entry in report["coverage"]}
    for site_name, back in (("west", False), (None, True)):
        entry = coverage[site_name]
        assert entry["cases"]["train"] > 0 and bool(entry["classes"]["back: yes"]) == back
    (federated,) = (entry["metrics"] for entry in report["comparisons"] if entry["kind"] == "federated")
    assert federated["mean_auc"] > 0.8 and min(federated[f"auc_{name}"] for name in TWO) > 0.8
    assert "Mean AUC" in read_page((product / "runs" / "two" / "report.html").read_text()).text
    assert report_of(product, "two_private")["rounds"][-1]["epsilon"] <= 8.0
