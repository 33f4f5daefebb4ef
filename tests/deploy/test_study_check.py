"""`wardround study check` names all that is wrong with a study in one run, and no hospital approves what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from common.errors import PrivacyError, StudyError
from common.study import parse_study, study_text
from deploy.cli import commands
from tests.support.hospital import hospital, study_of

WHOLE = """\
schema: 1
study: six
task: {kind: binary, classes: [alive, dead]}
modalities:
  scan:
    kind: image
    size: 32
    intensity: window
    window: [40, 400]
    encoder: {backbone: resnet18}
  labs:
    kind: record
    numeric:
      crp: {low: 0, high: 300}
rounds: 2
server: {strategy: FedAdam}
privacy: {mode: none}
secure_sum: {colluding: 1, threshold: 3}
"""
# What is written wrong -> how, and what names it.
MISTAKES = {
    "strategy: FedAdam": ("strategy: FedMagic", "server.strategy: FedMagic is none that there is"),
    "backbone: resnet18": ("backbone: resnett18", "modalities.scan: backbone: torchvision has no classification"),
    "threshold: 3": ("threshold: 2", "secure_sum.threshold: 2 is unsafe"),
    "colluding: 1": ("colluding: 2", "secure_sum: 3 sites, but a sum needs 4 (with 2 that may collude)"),
    "low: 0": ("low: .nan", "modalities.labs.numeric.crp.low"),
    "[40, 400]": ("[.inf, 1]", "modalities.scan.window.0"),
}


def check(path: Path, text: str, *options: str) -> tuple[str, BaseException | None]:
    path.write_text(text)
    done = CliRunner().invoke(commands, ["study", "check", str(path), *options])
    assert not isinstance(done.exception, SystemExit) or done.exit_code == 0, done.output
    return done.output + str(done.exception or ""), done.exception


def test_six_mistakes_are_named_in_one_run(tmp_path: Path) -> None:
    text = WHOLE
    for right, (wrong, _) in MISTAKES.items():
        text = text.replace(right, wrong)
    said, refused = check(tmp_path / "study.yaml", text, "--sites", "3")
    assert isinstance(refused, StudyError) and all(words in said for _, words in MISTAKES.values()), said
    assert "in order" not in said


@pytest.mark.parametrize("right", MISTAKES)
def test_each_of_them_by_itself_is_named_and_nothing_else(tmp_path: Path, right: str) -> None:
    wrong, words = MISTAKES[right]
    text = WHOLE.replace(right, wrong)
    if right == "colluding: 1":
        text = text.replace(", threshold: 3", "")
    said, refused = check(tmp_path / "study.yaml", text, "--sites", "3")
    assert isinstance(refused, StudyError) and words in said
    assert not any(other in said for _, other in MISTAKES.values() if other != words)


def test_a_right_study_is_in_order_and_its_size_is_told(tmp_path: Path) -> None:
    said, refused = check(tmp_path / "study.yaml", WHOLE, "--sites", "4")
    assert refused is None and "in order" in said
    assert "secure sum: over 3 to 4 sites" in said and "a site sends at least" in said and "parameters" in said
    said, refused = check(tmp_path / "study.yaml", WHOLE, "--sites", "5")
    assert isinstance(refused, StudyError) and "secure_sum.threshold: 3 is unsafe with 5 sites; use 4 or more" in said
    said, refused = check(tmp_path / "study.yaml", WHOLE.replace(", threshold: 3", ""), "--sites", "5")
    assert refused is None and "secure sum: over 3 or more sites" in said


@pytest.mark.parametrize("window", ["[40, 0]", "[40, -400]"])
def test_a_window_that_shows_nothing_is_refused_with_its_line_and_the_way_out(tmp_path: Path, window: str) -> None:
    """It was in order, and every image came out black or white. A study that was approved with it stays readable."""
    text = WHOLE.replace("[40, 400]", window)
    said, refused = check(tmp_path / "study.yaml", text)
    assert isinstance(refused, StudyError) and "in order" not in said
    assert "modalities.scan.window: the width is " in said and "above 0" in said and "(line 9)" in said
    said, _ = check(tmp_path / "study.yaml", text.replace("rounds: 2", "rounds: 0"))
    assert "(line 9)" in said and "rounds: write a number of at least 1 (line 15)" in said
    north = hospital(tmp_path / "north")
    (tmp_path / "study.yaml").write_text(text)
    words = ["site", "approve", str(tmp_path / "study.yaml"), "--yes", "--at", str(north.root)]
    refused = CliRunner().invoke(commands, words).exception
    assert isinstance(refused, StudyError) and "the width is" in str(refused) and "(line 9)" in str(refused)
    stored = parse_study(text)
    assert parse_study(study_text(stored)).digest == stored.digest and stored.modalities["scan"].window  # type: ignore[union-attr]


def test_what_is_wrong_beyond_the_file_has_its_line_too(tmp_path: Path) -> None:
    said, _ = check(tmp_path / "study.yaml", WHOLE.replace("resnet18", "resnett18").replace("FedAdam", "FedAdamm"))
    assert "Or take small_cnn. (line 5)" in said and "Did you mean FedAdam?" in said and "(line 16)" in said


@pytest.mark.parametrize("sites", ["1", "2"])
def test_one_or_two_sites_are_too_few_for_a_secure_sum(tmp_path: Path, sites: str) -> None:
    said, refused = check(tmp_path / "study.yaml", WHOLE, "--sites", sites)
    assert isinstance(refused, StudyError) and f"{sites} sites, but a sum needs 3" in said
    open_ = WHOLE.replace("{colluding: 1, threshold: 3}", "{enabled: false}")
    said, refused = check(tmp_path / "study.yaml", open_, "--sites", sites)
    assert refused is None and "secure sum: OFF" in said


def test_a_problem_of_privacy_keeps_its_exit_code(tmp_path: Path) -> None:
    private = WHOLE.replace("{mode: none}", "{mode: local, epsilon: 1.0e-9, sample_rate: 1.0}")
    _, refused = check(tmp_path / "study.yaml", private)
    assert isinstance(refused, PrivacyError)


@pytest.mark.parametrize("wrong", ["server", "secure_sum", "both"])
def test_no_hospital_approves_what_study_check_refuses(tmp_path: Path, wrong: str) -> None:
    """It did: each hospital had approved a digest that mending changed, when the run was refused."""
    north = hospital(tmp_path / "north")
    content = yaml.safe_load(study_text(study_of(modalities=["labs", "genes"])))
    (north.root / "study.yaml").write_text(yaml.safe_dump(content))
    words = ["site", "approve", str(north.root / "study.yaml"), "--yes", "--at", str(north.root)]
    if wrong != "secure_sum":
        content["server"]["strategy"] = "FedMagic"
    if wrong != "server":
        content["secure_sum"] |= {"threshold": 2}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(content))
    refused = CliRunner().invoke(commands, [*words[:2], str(tmp_path / "wrong.yaml"), *words[3:]])
    assert isinstance(refused.exception, StudyError)
    assert ("FedMagic" in str(refused.exception)) == (wrong != "secure_sum")
    assert ("threshold: 2 is unsafe" in str(refused.exception)) == (wrong != "server")
    assert not (north.root / "state" / "audit.jsonl").exists()
    done = CliRunner().invoke(commands, words)
    assert done.exception is None, done.output
