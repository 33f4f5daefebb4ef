"""The coordinator's server on its own machine: how its commands reach it, and that its certificate does not end."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.consortium import certificates
from server.consortium.certificates import Issued, make_server, not_after
from server.consortium.consortium import Consortium
from server.consortium.renewal import Announcer, renew_if_needed
from server.flower.control import Nodes, by_site
from server.flower.supervisor import Coordinator, near_address, node_keys, place_of
from tests.support.deployment import free_port, wait_for
from tests.support.enrolment import request

NOWHERE = "coordinator.invalid"  # RFC 6761: no name service leads anywhere


@contextmanager
def serving(folder: Path, bind: str) -> Iterator[None]:
    coordinator = Coordinator(folder, bind)
    thread = threading.Thread(target=coordinator.up, name="coordinator", daemon=True)
    thread.start()
    try:
        yield
    finally:
        coordinator.stopped.set()
        thread.join(30)
        assert not thread.is_alive()


def admitted(folder: Path) -> set[str]:
    found = Consortium.read(folder)
    return set(by_site(Nodes(place_of(found)).listed(), node_keys(found)))


def test_a_server_is_reached_whose_public_name_leads_nowhere_from_here(tmp_path, monkeypatch, caplog):
    """And with a certificate that would have ended: it is renewed before the server takes it."""
    monkeypatch.setattr(certificates, "SERVER_DAYS", 40)
    made = Consortium.new(tmp_path / "consortium", "Baltic", NOWHERE, port=free_port())
    monkeypatch.undo()
    before = made.admit(request("north")).admit(request("south")).server_certificate.read_bytes()
    caplog.set_level(logging.INFO, "wardround")
    with serving(made.folder, "0.0.0.0"):
        wait_for(lambda: "2 sites are enrolled" in caplog.text, "enrolled")
        assert place_of(made).address == f"127.0.0.1:{made.port}" and admitted(made.folder) == {"north", "south"}
        served = ssl.get_server_certificate(("127.0.0.1", made.port)).encode()
        assert not_after(served) - not_after(before) > timedelta(days=700)
        assert f"certificate new, until {not_after(served):%Y-%m-%d}" in caplog.text
        _a_roster_of_a_backup_bars_one_site_and_no_other(made.folder, caplog)


def _a_roster_of_a_backup_bars_one_site_and_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = {path: path.read_bytes() for path in (folder / "roster.yaml", folder / "nodes" / "south.pub")}
    Consortium.read(folder).remove("south")
    wait_for(lambda: "1 sites are enrolled" in caplog.text, "removed")
    for path in reversed(kept):
        path.write_bytes(kept[path])
    wait_for(lambda: "site south is not let in" in caplog.text, "barred")
    Consortium.read(folder).admit(request("west"))
    wait_for(lambda: admitted(folder) == {"north", "west"}, "the others are served")


@pytest.mark.parametrize(
    ("bind", "where"),
    [("0.0.0.0", "127.0.0.1:9443"), ("127.0.0.1", "127.0.0.1:9443"), ("::", "[::1]:9443"), ("::1", "[::1]:9443"),
     ("192.0.2.7", f"{NOWHERE}:9443"), ("localhost", f"{NOWHERE}:9443")],
)  # fmt: skip
def test_own_commands_call_where_the_server_listens(tmp_path, bind, where):
    assert near_address(Consortium.new(tmp_path / "consortium", "Baltic", NOWHERE), bind) == where


def test_a_certificate_of_before_serves_under_the_public_name(tmp_path):
    made = Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org")
    old = make_server(Issued(made.ca_certificate, (made.folder / "ca" / "ca.key").read_bytes()), ["fl.example.org"])
    made.server_certificate.write_bytes(old.certificate)
    made.server_key.write_bytes(old.key)
    assert near_address(made, "0.0.0.0") == place_of(made).address == "fl.example.org:9443"
    assert near_address(made.renew(), "0.0.0.0") == "127.0.0.1:9443"


def test_a_server_starts_with_the_certificate_it_has_when_it_cannot_be_renewed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(certificates, "SERVER_DAYS", 20)
    made = Consortium.new(tmp_path / "consortium", "Baltic", NOWHERE, port=free_port())
    monkeypatch.undo()
    (made.folder / "ca" / "ca.key").unlink()  # some keep it in a safe
    with serving(made.folder, "127.0.0.1"):
        wait_for(lambda: "in 19 days" in caplog.text, "announced")
        assert "is not renewed" in caplog.text and "ca.key" in caplog.text


def test_the_end_is_announced_once_a_day_in_the_last_30(caplog):
    ends = datetime(2028, 3, 1, tzinfo=UTC)
    announcer = Announcer(ends)
    for hours in range(0, 40 * 24, 6):
        announcer.look(ends - timedelta(days=40) + timedelta(hours=hours))
    assert len(caplog.records) == 30 and "2028-03-01, in 30 days" in caplog.text


def test_the_authoritys_last_year_is_in_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(certificates, "AUTHORITY_YEARS", 0.9)
    renew_if_needed(Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org"))
    assert "LESS THAN A YEAR" in caplog.text
