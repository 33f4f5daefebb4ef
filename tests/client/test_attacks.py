"""What a hostile coordinator, a connector that was taken over, or another user of the machine could do to a site."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from client.consent.approvals import approved_study
from client.membership.enrolment import SitePlace, enrol, rotate
from client.membership.joining import join
from client.network.fleet import Fleet
from common.errors import IdentityError, NotApprovedError
from common.identity.node_key import generate
from server.consortium.certificates import make_authority, make_server
from server.consortium.consortium import Consortium
from tests.support.enrolment import enrolled, request


@contextmanager
def answering(
    status: int, headers: dict[str, str], asked: list[str], tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    """A server on the loopback that answers every request so; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def coordinator(folder: Path, status: int, **headers: str) -> Iterator[tuple[Fleet, list[str]]]:
    """A connection to a coordinator, with its right certificate, that answers everything so; and what it was asked."""
    authority, asked = make_authority("lab"), list[str]()
    server, tls = make_server(authority, ["127.0.0.1"]), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "server.pem").write_bytes(server.certificate + server.key)
    tls.load_cert_chain(folder / "server.pem")
    with answering(status, headers, asked, tls) as port:
        yield Fleet(f"127.0.0.1:{port}", authority.certificate, generate(), stopped=threading.Event(), seconds=0), asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_coordinator_sends_no_connector_elsewhere(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower's client follows: a coordinator could reach whatever the connector reaches inside of the hospital."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    inside: list[str] = []
    with (
        answering(200, {}, inside) as port,
        coordinator(tmp_path, status, Location=f"http://127.0.0.1:{port}/reboot") as (fleet, asked),
        pytest.raises(httpx.HTTPStatusError),
    ):
        fleet.activate()
    assert asked == ["POST /v1/fleet/activate-node"] and not inside


@pytest.mark.parametrize("date", ["Sat, 21 Nov 2026 11:08:35 -0000", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", ""])
def test_no_date_of_the_coordinators_ends_the_connector(tmp_path: Path, date: str) -> None:
    with coordinator(tmp_path, 401, Date=date) as (fleet, _), pytest.raises(httpx.HTTPStatusError):
        fleet.beat()


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    "digest", ["../../site", "", "a" * 63, "A" * 64, "a" * 64 + "\n", "\x1b[2J\n2026 refused", "/etc/x"]
)
def test_what_is_no_digest_names_no_file_and_reaches_no_log(tmp_path: Path, digest: str, asked: bool) -> None:
    """With `approval: not_asked` the coordinator could learn which YAML files a site has, by the code it got."""
    (tmp_path / "site.yaml").write_text("no study: of course")
    (tmp_path / "state" / "studies").mkdir(parents=True)
    with pytest.raises(NotApprovedError) as said:
        approved_study(tmp_path / "state", digest, asked=asked)
    assert str(said.value) == "What was asked for is not the digest of a study."


@pytest.fixture
def north(tmp_path: Path) -> tuple[SitePlace, Consortium]:
    """A site that has joined, and its consortium."""
    consortium = Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org")
    place, asked = enrolled(tmp_path, "north")
    then = consortium.admit(asked)
    join(place, then.kit("north"))
    return place, then


def test_a_connector_that_was_taken_over_cannot_change_whose_kits_are_believed(
    north: tuple[SitePlace, Consortium], tmp_path: Path
) -> None:
    """With its own authority for the site's, a kit of its own would have come without a word of warning."""
    place, then = north
    theirs = Consortium.new(tmp_path / "theirs", "Baltic", "evil.example.org")
    theirs = theirs.admit(enrol(place)).admit(request("spy"))
    (place.connector / "ca.crt").write_bytes(theirs.ca_certificate)
    with pytest.raises(IdentityError, match="somebody who pretends to be the coordinator"):
        join(place, theirs.kit("north"))
    join(place, then.kit("north"))
    assert (place.connector / "ca.crt").read_bytes() == then.ca_certificate


def test_a_link_that_the_connector_left_leads_root_nowhere(north: tuple[SitePlace, Consortium], tmp_path: Path) -> None:
    """Root makes new keys in a folder that is the connector's, and would have closed any folder of the machine."""
    place, _ = north
    (tmp_path / "etc").mkdir(mode=0o755)
    (place.connector / "next").symlink_to(tmp_path / "etc")
    with pytest.raises(IdentityError, match="is a link"):
        rotate(place)
    assert not list((tmp_path / "etc").iterdir()) and (tmp_path / "etc").stat().st_mode & 0o777 == 0o755
