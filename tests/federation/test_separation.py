"""A site's connector under another user, and one behind a hospital's proxy: what each reaches, sees and remembers.

One deployment of three sites, all of which a round needs: `apart`, whose connector is uid 65534, with the folders as
the systemd units have them; `behind`, whose connector knows the coordinator by a name that only the proxy can resolve;
and one that is as usual.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from client.network.fleet import Fleet
from common.disk.atomic_file import PUBLIC, write_whole
from common.errors import IdentityError
from common.identity.authority import authority_fingerprint
from server.consortium.consortium import Consortium
from tests.support.deployment import Deployment, Process, SiteUp, environment, in_own_network, wait_for
from tests.support.other_user import NOBODY, dropping, needs_root, open_folder, readable_by_nobody
from tests.support.proc import in_memory, inet_sockets, opened, proc, status
from tests.support.proxy import ConnectProxy
from tests.support.records import record_hospitals

pytestmark = needs_root
HOST = "coordinator.invalid"  # no resolver knows it (RFC 6761)


@dataclass
class Separated:
    deployment: Deployment
    apart: SiteUp
    behind: SiteUp
    usual: SiteUp
    proxy: ConnectProxy
    identifiers: list[bytes]  # some of the patients of `apart`: numbers, addresses; no name that a library has too


@pytest.fixture(scope="module")
def separated() -> Iterator[Separated]:
    """All three connected, and a round behind them."""
    with open_folder() as folder:
        study = record_hospitals(folder / "hospitals")
        planted = json.loads((folder / "hospitals" / "identifiers.json").read_text())
        _lay_out_as_the_units_do(sorted((folder / "hospitals").glob("*/site.yaml"))[0].parent, folder)
        deployment = Deployment(folder / "d", folder / "hospitals", agents=in_own_network, also=(HOST,), warm=True)
        with deployment, ConnectProxy(deployment.port) as proxy:
            apart, behind, usual = deployment.sites.values()
            _start_as_nobody(apart)
            _start_behind_proxy(behind, proxy)
            _wait_until_connected(deployment)
            deployment.approve(study)
            run = deployment.run(study, "separated")
            assert run.wait(120) == 0, run.text + apart.connector.text + behind.connector.text
            marks = [text.encode() for text in planted[apart.name] if len(text) >= 8 and re.search(r"\d", text)]
            yield Separated(deployment, apart, behind, usual, proxy, marks[:: len(marks) // 50])


def _wait_until_connected(deployment: Deployment) -> None:
    connectors = [site.connector for site in deployment.sites.values()]

    def ended() -> bool:
        return not all(process.runs for process in connectors)

    wait_for(lambda: ended() or deployment.online() == set(deployment.sites), "sites connected again", 30)
    assert not ended(), "\n".join(process.text for process in connectors)


def _lay_out_as_the_units_do(site: Path, folder: Path) -> None:
    """Three folders of their own (see tmpfiles.d): the site's, the socket's, and the connector's."""
    file = yaml.safe_load((site / "site.yaml").read_text(encoding="utf-8"))
    file |= {"socket": str(folder / "run" / "agent.sock"), "connector": str(folder / "connector")}
    (site / "site.yaml").write_text(yaml.safe_dump(file, allow_unicode=True), encoding="utf-8")
    site.chmod(0o750)
    (folder / "run").mkdir()
    os.chown(folder / "run", 0, NOBODY)
    (folder / "run").chmod(0o2750)


def _start_as_nobody(site: SiteUp) -> None:
    site.connector.stop()
    folder = site.connector_folder
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    words = ("site", "connector", "--folder", str(folder), "--socket", str(site.socket))
    site.connector = Process(site.connector.log, *words, wrap=dropping)


def _start_behind_proxy(site: SiteUp, proxy: ConnectProxy) -> None:
    site.connector.stop()
    told = site.connector_folder / "coordinator.yaml"
    file = yaml.safe_load(told.read_text()) | {"host": HOST}
    write_whole(told, yaml.safe_dump(file).encode(), PUBLIC)
    words = ("site", "connector", "--folder", str(site.connector_folder), "--socket", str(site.socket))
    env = environment(HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
    site.connector = Process(site.connector.log, *words, env=env)


# ------------------------------------------------------------------------------------------------------- another user


def test_the_round_was_carried_by_all_three(separated: Separated) -> None:
    report = json.loads((separated.deployment.at / "runs" / "separated" / "report.json").read_text())
    assert report["sites"] == report["threshold"] == 3
    for site in separated.deployment.sites.values():
        assert site.agent.runs and site.connector.runs
        assert site.connector.log.read_text().count("connected as node") >= 1


def test_the_connector_is_nobody_and_cannot_become_root(separated: Separated) -> None:
    told = status(separated.apart.connector.pid)
    assert set(told["Uid"].split()) == set(told["Gid"].split()) == {str(NOBODY)}
    assert told["Groups"].split() in ([], [str(NOBODY)])
    assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0


def test_it_cannot_read_the_data_nor_the_agents_state(separated: Separated) -> None:
    site, folder = separated.apart, separated.apart.folder
    closed = [folder, *folder.rglob("*")]
    assert len([path for path in closed if path.suffix in (".csv", ".dcm")]) > 10
    assert {path.name for path in closed} >= {"signing.key", "approvals.yaml", "audit.jsonl", "site.yaml", "cache"}
    of_agent = proc(site.agent.pid)
    closed += [proc(site.connector.pid) / "root" / path.relative_to("/") for path in closed]
    closed += [of_agent / name for name in ("environ", "mem", "maps", "fd", "cwd", "root")]
    node_key = site.connector_folder / "node.key"
    assert readable_by_nobody([node_key, *closed]) == [node_key]


def test_its_own_modes_close_the_agents_state(separated: Separated) -> None:
    """Also where the hospital left its folder open to all, as the other two sites have it."""
    for site in (separated.behind, separated.usual):
        assert stat.S_IMODE(site.folder.stat().st_mode) & 0o005 == 0o005
        inside = [site.state, *site.state.rglob("*"), site.connector_folder, site.connector_folder / "node.key"]
        assert len(inside) > 8 and readable_by_nobody([site.folder / "site.yaml", *inside]) == [
            site.folder / "site.yaml"
        ]


def test_it_was_given_nothing_of_the_data(separated: Separated) -> None:
    """Not in its environment or arguments, nor as an open file or a mapped one."""
    site = separated.apart
    process = proc(site.connector.pid)
    told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes() + (process / "maps").read_bytes()
    assert str(site.connector_folder).encode() in told
    assert str(site.folder).encode() not in told
    files = opened(site.connector.pid)
    assert len(files) > 5 and not [path for path in files if path.startswith(str(site.folder))]
    ours = {path for path in files if path.startswith(str(site.folder.parents[1]))}
    assert all(path.startswith((str(site.connector_folder), str(site.connector.log))) for path in ours), ours


def test_no_patient_is_in_its_memory(separated: Separated) -> None:
    """After a round: of fifty numbers and addresses, not one."""
    site = separated.apart
    assert len(separated.identifiers) >= 50
    data = (site.folder / "records.csv").read_bytes()
    assert sum(mark in data for mark in separated.identifiers) > 10
    assert in_memory(site.connector.pid, [site.name.encode()]), "otherwise the search proves nothing"
    assert in_memory(site.connector.pid, separated.identifiers) == set()
    kept = b"".join(path.read_bytes() for path in site.connector_folder.rglob("*") if path.is_file())
    assert kept and not any(mark in kept for mark in separated.identifiers)


# --------------------------------------------------------------------------------------------------------- the network


def called(process: Process) -> set[int]:
    """Ports that it is connected to over TCP."""
    found = inet_sockets(process.pid)
    return {socket.remote for socket in found if socket.kind.startswith("tcp") and not socket.listens}


def test_a_connector_behind_a_proxy_goes_nowhere_else(separated: Separated) -> None:
    """The coordinator's name is one that nobody but the proxy knows: there is no way around it."""
    asked = set(separated.proxy.asked)
    assert asked == {f"{HOST}:{separated.deployment.port}"}
    assert called(separated.behind.connector) <= {separated.proxy.port}
    wait_for(lambda: called(separated.behind.connector) == {separated.proxy.port}, "a look at the server", 20)


def test_connectors_call_the_coordinator_alone_and_listen_nowhere(separated: Separated) -> None:
    for site in (separated.apart, separated.usual):
        wait_for(lambda site=site: called(site.connector) == {separated.deployment.port}, "a look", 20)
    for site in separated.deployment.sites.values():
        assert not [socket for socket in inet_sockets(site.connector.pid) if socket.listens]
        assert inet_sockets(site.agent.pid) == set()


def test_a_proxy_that_ends_tls_is_refused(separated: Separated, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connector trusts its consortium's authority, and no other: not even one that this machine trusts."""
    deployment = separated.deployment
    monkeypatch.setenv("SSL_CERT_FILE", str(deployment.consortium.ca_file))
    trusted = ssl.create_default_context(cafile=str(deployment.consortium.ca_file))
    assert httpx.get(f"https://127.0.0.1:{deployment.port}/health", verify=trusted, trust_env=False).status_code == 200
    other = Consortium.new(deployment.folder / "other", "other", "127.0.0.1")
    assert authority_fingerprint(other.ca_certificate.decode()) != deployment.consortium.fingerprint
    key = (separated.usual.connector_folder / "node.key").read_bytes()
    address, stopped = f"127.0.0.1:{deployment.port}", threading.Event()
    with pytest.raises(IdentityError, match="has no certificate of the consortium's authority"):
        Fleet(address, other.ca_certificate, key, stopped=stopped).activate()
    shutil.rmtree(other.folder)
