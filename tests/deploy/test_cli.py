"""The command line as a user meets it: what works, and what each mistake says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from common.study import Study, read_study
from deploy.research.simulation.over import is_over
from tests.support.federation import small_hospitals
from tests.support.warm import ran

ROOT = Path(__file__).resolve().parents[2]


def wardround(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return ran(*map(str, arguments), cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small hospitals with a short study, as `study.yaml` in it."""
    from common.study import study_text

    folder = tmp_path_factory.mktemp("cli") / "hospitals"
    study, _ = small_hospitals(folder)
    (folder / "study.yaml").write_text(study_text(study))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may break; caches and keys come along."""
    return Path(shutil.copytree(made, tmp_path / "hospitals"))


def edit(path: Path, change) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_study_runs_from_the_command_line_and_tells_each_round(made, tmp_path):
    done = wardround("simulate", made / "study.yaml", "--hospitals", made, "--run", "first", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"round\s+3/3\s+4 sites", done.stdout)
    page = tmp_path / "runs" / "first" / "report.html"
    assert "report.html" in done.stdout and page.exists()
    assert "WITHOUT differential privacy" in page.read_text()
    assert (tmp_path / "runs" / "first" / "model.safetensors").exists()
    again = wardround("report", tmp_path / "runs" / "first", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    over = wardround("simulate", made / "study.yaml", "--hospitals", made, "--run", "first", "--resume", cwd=tmp_path)
    assert over.returncode == 0, over.stderr
    assert "runs/first: this run is over, and nothing is asked of any site" in over.stdout
    assert "starting the sites" not in over.stdout + over.stderr
    assert_over_only_as_a_whole(page.parent, read_study(made / "study.yaml"))


def assert_over_only_as_a_whole(run: Path, study: Study) -> None:
    """What is missing of an ended run is made by a resume, and one in doubt is told of there."""
    assert is_over(run, study, compare=True) and is_over(run, study, compare=False)
    assert not is_over(run, replace(study, rounds=study.rounds + 1), compare=False)
    for name in ("model.safetensors", "report.html", "report.json", "checkpoint.npz", "study.yaml"):
        (run / name).rename(run / "away")
        assert not is_over(run, study, compare=False), name
        (run / "away").rename(run / name)
    report = run / "report.json"
    whole = json.loads(report.read_text())
    changes = ({"warnings": ["This run ended after round 2 of 3"]}, {"run": "0" * 16}, {"comparisons": []})
    for change in changes:
        report.write_text(json.dumps(whole | change))
        assert not is_over(run, study, compare=True), change
    assert is_over(run, study, compare=False)  # without models to compare with, where none are wanted
    report.write_text(json.dumps(whole))
    with playing_elsewhere(run):
        assert not is_over(run, study, compare=False)


@contextmanager
def playing_elsewhere(run: Path) -> Iterator[None]:
    """Another process plays the run meanwhile."""
    words = "from pathlib import Path; from server.run.run_folder import playing\n"
    words += "with playing(Path(sys.argv[1])): print('plays', flush=True); sys.stdin.read()"
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {words}", str(run)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, cwd=ROOT) as process:
        assert process.stdout is not None and process.stdout.readline() == b"plays\n"
        yield
        process.communicate()


@pytest.mark.soak
def test_what_was_compared_stays_when_an_ended_run_is_resumed_without_comparing(copy, tmp_path):
    names = sorted(path.parent.name for path in copy.glob("*/site.yaml"))[:3]
    for path in set(copy.glob("*/site.yaml")) - {copy / name / "site.yaml" for name in names}:
        shutil.rmtree(path.parent)
    edit(copy / "study.yaml", lambda study: study.update(rounds=1))
    words = ("simulate", copy / "study.yaml", "--hospitals", copy, "--run", "x")
    assert wardround(*words, cwd=tmp_path).returncode == 0
    path = tmp_path / "runs" / "x" / "report.json"
    before = json.loads(path.read_text())
    assert {item["kind"] for item in before["comparisons"]} == {"federated", "pooled", "alone"}
    again = wardround(*words, "--resume", "--no-compare", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = json.loads(path.read_text())
    assert after["comparisons"] == before["comparisons"] and after["started"] == before["started"]


def test_a_wrong_key_is_named_with_every_other_mistake(copy, tmp_path):
    edit(copy / "study.yaml", lambda study: study.update(round=3, rounds=0))
    done = wardround("study", "check", copy / "study.yaml", cwd=tmp_path)
    assert done.returncode == 10
    assert "round: unknown key" in done.stderr and "rounds:" in done.stderr and "2 mistakes" in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("server", {"strategy": "FedAvgg"}, 10, "FedAvgg"),
        ("secure_sum", {"enabled": True, "threshold": 9}, 0, "a sum needs 9"),
        ("privacy", {"mode": "local", "epsilon": 0.001, "delta": 1e-5, "sample_rate": 0.1}, 30, "epsilon"),
    ],
)
def test_what_no_run_could_begin_with_is_not_in_order(copy, tmp_path, key, value, code, words):
    """It was said to be in order, and refused when every site had read its data, or by no word of its own."""
    edit(copy / "study.yaml", lambda study: study.update({key: value}))
    done = wardround("study", "check", copy / "study.yaml", "--hospitals", copy, cwd=tmp_path)
    assert done.returncode == code and words in done.stdout + done.stderr
    assert ("in order" in done.stdout) == (code == 0)
    begun = wardround("simulate", copy / "study.yaml", "--hospitals", copy, "--run", "x", cwd=tmp_path)
    assert begun.returncode and words in begun.stderr
    assert key != "secure_sum" or "starting the sites" not in begun.stdout + begun.stderr


def test_what_a_deployed_hospital_refuses_by_default_is_told_before_the_study_is_sent(copy, tmp_path):
    """The coordinator heard it from the first hospital that would approve, and then changed the digest for all."""
    path = copy / "study.yaml"
    edit(path, lambda study: study.update(privacy={"mode": "none"}))
    edit(path, lambda study: study.setdefault("training", {}).update(local_steps=1, batch_size=9))
    said = wardround("study", "check", path, cwd=tmp_path)
    assert said.returncode == 0 and "A deployed hospital refuses it, unless `policy`" in said.stdout
    assert "policy.require_privacy asks for it" in said.stdout and "An update of this study is of 9" in said.stdout
    edit(path, lambda study: study["training"].update(batch_size=10))
    said = wardround("study", "check", path, cwd=tmp_path)
    assert "policy.require_privacy" in said.stdout and "An update of this study" not in said.stdout
    private = {"mode": "local", "epsilon": 8, "delta": 1e-5, "sample_rate": 0.1, "expected_batch_size": 16}
    edit(path, lambda study: study.update(privacy=private))
    said = wardround("study", "check", path, cwd=tmp_path)
    assert said.returncode == 0 and "refuses" not in said.stdout, said.stderr


def test_a_missing_column_is_named_with_its_file(copy, tmp_path):
    site = next(path for path in sorted(copy.glob("*/site.yaml")))
    name = next(iter(yaml.safe_load(site.read_text())["records"]))

    def rename(content):
        columns = content["records"][name].setdefault("columns", {})
        columns[next(iter(columns))] = "no_such_column"

    edit(site, rename)
    done = wardround("study", "check", copy / "study.yaml", "--hospitals", copy, cwd=tmp_path)
    assert done.returncode in (20, 21)
    assert "no_such_column" in done.stderr and "records.csv" in done.stderr


def test_a_folder_that_is_not_dicom(copy, tmp_path):
    site = sorted(copy.glob("*/site.yaml"))[0].parent
    for path in site.rglob("*.dcm"):
        path.write_text("this is not an image")
    done = wardround("study", "check", copy / "study.yaml", "--hospitals", copy, cwd=tmp_path)
    assert done.returncode in (20, 21)
    assert "images" in done.stderr


def test_a_simulation_names_the_site_that_cannot_be_read_before_it_trains(copy, tmp_path):
    site = sorted(copy.glob("*/site.yaml"))[0].parent
    for path in site.rglob("*.dcm"):
        path.write_text("this is not an image")
    done = wardround("simulate", copy / "study.yaml", "--hospitals", copy, "--run", "x", "--no-compare", cwd=tmp_path)
    assert done.returncode == 20
    assert site.name in done.stderr and "images.image" in done.stderr and "site.yaml" in done.stderr
    assert not (tmp_path / "runs" / "x" / "checkpoint.npz").exists()


def test_an_empty_folder_of_hospitals(made, tmp_path):
    (tmp_path / "empty").mkdir()
    done = wardround("simulate", made / "study.yaml", "--hospitals", tmp_path / "empty", cwd=tmp_path)
    assert done.returncode == 50
    assert "site.yaml" in done.stderr
    assert not (tmp_path / "runs").exists(), "nothing half-written"


def test_resume_without_a_run(made, tmp_path):
    done = wardround("simulate", made / "study.yaml", "--hospitals", made, "--run", "none", "--resume", cwd=tmp_path)
    assert done.returncode == 51
    assert "without --resume" in done.stderr


def test_a_strategy_that_needs_single_updates_is_refused_with_the_reason(copy, tmp_path):
    edit(copy / "study.yaml", lambda study: study.update(server={"strategy": "Krum"}))
    done = wardround("simulate", copy / "study.yaml", "--hospitals", copy, cwd=tmp_path)
    assert done.returncode == 10
    assert "FedAdam" in done.stderr and "secure sum" in done.stderr


def test_help_starts_without_loading_torch(tmp_path):
    probe = "import sys, deploy.cli; print('torch' in sys.modules, 'flwr' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", probe]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"
