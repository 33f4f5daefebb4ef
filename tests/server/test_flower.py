"""A coordinator's server that does not answer as it should, in words: not started, of another folder, restarted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import server.flower.control
from common.errors import RunError
from server.consortium.consortium import Consortium
from server.flower.control import Nodes, make_secret
from tests.support.deployment import free_port
from tests.support.superlink import RunningSuperLink, running_superlink


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuperLink]:
    with running_superlink(tmp_path_factory.mktemp("c") / "consortium", ("north",)) as (running, _):
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.flower.control, "PATIENCE_SECONDS", 0.0)


def test_a_server_that_is_not_up(superlink: RunningSuperLink) -> None:
    place = replace(superlink.place, address=f"127.0.0.1:{free_port()}")
    told: list[float] = []
    with pytest.raises(
        RunError, match=r"does not answer at .* \(ConnectError\). Start it with `wardround coordinator up`"
    ):
        Nodes(place, told.append).listed()


def test_a_folder_whose_server_was_never_up(tmp_path: Path) -> None:
    consortium = Consortium.new(tmp_path / "new", "lab", "127.0.0.1", port=free_port())
    place = server.flower.control.Place(
        consortium.address,
        consortium.ca_file,
        consortium.state / "control.secret",
        consortium.state / "executor.secret",
    )
    with pytest.raises(RunError, match=r"control.secret: cannot be read .*`wardround coordinator up`|executor.secret"):
        Nodes(place).listed()


def test_the_server_of_another_consortium(superlink: RunningSuperLink, tmp_path: Path) -> None:
    other = Consortium.new(tmp_path / "other", "other", "127.0.0.1", port=free_port())
    with pytest.raises(RunError, match="a server of another consortium does"):
        Nodes(replace(superlink.place, ca=other.ca_file)).listed()


def test_a_secret_of_another_start(superlink: RunningSuperLink, tmp_path: Path) -> None:
    make_secret(tmp_path / "secret")
    with pytest.raises(RunError, match=r"refused a call \(status 403\). It is of another folder"):
        Nodes(replace(superlink.place, control_secret=tmp_path / "secret")).listed()


@pytest.mark.parametrize("but", ["", "example.org,localhost"])
def test_the_proxy_of_this_machine_is_not_asked_for_its_own_server(
    superlink: RunningSuperLink, monkeypatch: pytest.MonkeyPatch, but: str
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, but)
    assert len(Nodes(superlink.place).listed()) == 1
    assert set(filter(None, but.split(","))) < set(os.environ["NO_PROXY"].split(",")), "what was exempt before still is"
