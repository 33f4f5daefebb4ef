"""Enrol a whole consortium on one machine, through the steps that people take at several: for tests and a first try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from client.membership.enrolment import SitePlace, enrol
from client.membership.joining import join
from common.identity.enrolment import Kit, Request
from server.consortium.consortium import Consortium
from server.consortium.folder import DEFAULT_PORT


def enrol_all(
    consortium_folder: Path,
    site_folders: Sequence[Path],
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    *,
    name: str = "consortium",
    also: Sequence[str] = (),
) -> Consortium:
    """A new consortium with these sites, each of which has joined; nobody is asked, no fingerprint is compared."""
    consortium = Consortium.new(consortium_folder, name, host, also=also, port=port)
    places = [SitePlace.at(folder) for folder in site_folders]
    for place in places:
        enrol(place)
        consortium = consortium.admit(Request.read(place.request))
    kits = consortium_folder / "kits"
    consortium.write_kits(kits)
    for place in places:
        join(place, Kit.read(kits / f"{place.name}.yaml"))
    return consortium
