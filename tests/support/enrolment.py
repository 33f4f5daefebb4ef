"""Sites' folders as they are before enrolment, requests as they are sent, and what must never stand in either."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from client.membership.enrolment import SitePlace, enrol
from common.identity.enrolment import Request
from common.identity.node_key import generate, public_of
from common.identity.roster import SigningKey
from server.consortium.consortium import Consortium
from server.flower.control import make_secret
from server.flower.supervisor import CONTROL, EXECUTOR
from tests.support.deployment import free_port


def site_folder(root: Path, name: str) -> Path:
    """A hospital's folder with a site.yaml that reads, and no more."""
    folder = root / name
    folder.mkdir(parents=True)
    content = {"site": name, "target": {"file": "target.csv", "column": "died"}}
    (folder / "site.yaml").write_text(yaml.safe_dump(content))
    return folder


def enrolled(root: Path, name: str) -> tuple[SitePlace, Request]:
    """A site that has made its keys, and its request."""
    place = SitePlace.at(site_folder(root, name))
    return place, enrol(place)


def node_public() -> str:
    return public_of(generate(), "node.key")


def request(site: str = "north", key: SigningKey | None = None, node: str | None = None) -> Request:
    return Request.make(site, key or SigningKey.generate(), node or node_public())


def away(folder: Path, *sites: str) -> Path:
    """A consortium of these sites whose server is away: its runs wait for it."""
    made = Consortium.new(folder, "lab", "127.0.0.1", port=free_port())
    for site in sites:
        made = made.admit(request(site))
    for name in (CONTROL, EXECUTOR):
        make_secret(made.state / name)
    return folder


def secrets(*folders: Path) -> set[str]:
    """All keys in these folders, in the forms in which they could be written out."""
    found: set[str] = set()
    for path in (path for folder in folders for path in folder.rglob("*.key")):
        data = path.read_bytes()
        found |= {data.hex(), base64.b64encode(data).decode()} if path.name == "signing.key" else set()
        if path.name != "signing.key":
            found |= {line for line in data.decode().splitlines() if len(line) > 40}
    assert found
    return found
