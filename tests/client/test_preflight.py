"""`wardround site check` finds what is wrong before a round does; it reads all, and changes and sends nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.consent.approvals import Approvals
from client.preflight import Check, preflight
from client.site import read_site
from common.study import Privacy, Study, read_study
from deploy.cli import commands
from deploy.research.synthetic.generate import generate
from tests.support.deployment import free_port
from tests.support.enrol_all import enrol_all


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A site that has joined a consortium whose server is not up."""
    folder = tmp_path_factory.mktemp("check")
    generate(folder / "h", sites=3, seed=0, scale=0.1)
    sites = sorted(path.parent for path in (folder / "h").glob("*/site.yaml"))
    enrol_all(folder / "consortium", sites, port=free_port())
    study = read_study(folder / "h" / "study.yaml")
    return sites[0], replace(study, modalities={"record": study.modalities["record"]})


def found(folder: Path) -> dict[str, Check]:
    return {check.what: check for check in preflight(read_site(folder))}


def test_a_site_without_a_server_knows_what_is_missing(enrolled: tuple[Path, Study]) -> None:
    folder, study = enrolled
    Approvals(folder / "state").approve(study)
    before = {path: path.stat().st_mtime_ns for path in (folder / "state").glob("*.jsonl")}
    checks = found(folder)
    assert checks["identity"].well and checks["authority"].well
    assert checks["coordinator"].well is False and "nothing listens there" in checks["coordinator"].sentence
    trial = checks[f"study {study.digest[:12]}"]
    assert trial.well and "one step on 8 cases" in trial.sentence
    assert {path: path.stat().st_mtime_ns for path in (folder / "state").glob("*.jsonl")} == before, "nothing was spent"


@pytest.mark.parametrize("mode", ["none", "local"])
def test_data_that_cannot_be_read_is_said_without_a_value(enrolled: tuple[Path, Study], mode: str) -> None:
    """With privacy no row refuses; that all of them are lost is said."""
    folder, study = enrolled
    study = replace(study, privacy=Privacy()) if mode == "none" else study
    Approvals(folder / "state").approve(study)
    table = folder / "records.csv"
    kept = table.read_text(encoding="utf-8")
    try:
        lines = kept.splitlines()
        table.write_text("\n".join([lines[0], *(line.replace(",", ",Mueller Anna,", 1) for line in lines[1:])]))
        checks = list(preflight(read_site(folder)))
    finally:
        table.write_text(kept, encoding="utf-8")
    assert not any("Mueller" in check.sentence for check in checks)
    trial = next(check for check in checks if check.what == f"study {study.digest[:12]}")
    said = [check.sentence for check in checks if check.what == f"data {study.digest[:12]}"]
    assert trial.well is (mode == "local")
    assert any("rows are LOST, 100 %" in sentence for sentence in said) == (mode == "local")


def test_the_command_ends_with_an_error_while_something_is_wrong(enrolled: tuple[Path, Study]) -> None:
    folder, _ = enrolled
    result = CliRunner().invoke(commands, ["site", "check", "--at", str(folder)])
    assert result.exit_code != 0 and "NO" in result.output and "ok" in result.output


def test_a_socket_whose_path_is_too_long_is_told_before_the_agent_starts(enrolled: tuple[Path, Study]) -> None:
    """The agent, and each of its connector's, ended with it; of a site deep in a tree nobody knew before."""
    folder, _ = enrolled
    assert found(folder)["socket"].well
    file = folder / "site.yaml"
    kept = file.read_text(encoding="utf-8")
    try:
        file.write_text(f"{kept}socket: {folder / ('s' * 108)}\n", encoding="utf-8")
        said = CliRunner().invoke(commands, ["site", "check", "--at", str(folder)])
    finally:
        file.write_text(kept, encoding="utf-8")
    assert said.exit_code != 0 and "socket: its path has more than 107 bytes. Choose a shorter one" in said.output


def test_a_site_that_never_enrolled_is_told_how(tmp_path: Path) -> None:
    generate(tmp_path / "h", sites=3, seed=1, scale=0.05)
    folder = next(path.parent for path in (tmp_path / "h").glob("*/site.yaml"))
    checks = found(folder)
    assert checks["identity"].well is False
    assert checks["coordinator"].well is False and "wardround site join" in checks["coordinator"].sentence
    assert checks["studies"].well is None


def test_a_name_that_is_not_found_is_told_from_a_server_that_is_down(enrolled: tuple[Path, Study]) -> None:
    told = enrolled[0] / "connector" / "coordinator.yaml"
    before = told.read_text()
    told.write_text(before.replace("127.0.0.1", "coordinator.invalid"))
    try:
        assert "name that is not found" in found(enrolled[0])["coordinator"].sentence
    finally:
        told.write_text(before)
