"""A site's enrolment: its keys, which never leave it, and its request.

New keys in place of others are made in folders `next` beside the old ones, which the site goes on with until a kit
names the new one: only then do they take the old ones' place (`client/membership/joining.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from client.membership.identity import KEY_FILE, ROSTER_FILE, make_key, read_key
from client.site import read_site
from common.disk.atomic_file import PUBLIC, make_private, write_whole
from common.errors import IdentityError, SiteFileError
from common.identity.enrolment import Request
from common.identity.node_key import generate, public_of
from common.identity.roster import Roster, SigningKey

NODE_KEY_FILE, CA_FILE, COORDINATOR_FILE, REQUEST_FILE = "node.key", "ca.crt", "coordinator.yaml", "request.yaml"
NEXT = "next"


@dataclass(frozen=True)
class SitePlace:
    """A site's name and the two folders that enrolment writes: the agent's identity, and all of the connector's."""

    name: str
    identity: Path
    connector: Path

    @classmethod
    def at(cls, folder: Path, name: str | None = None) -> Self:
        """As site.yaml says; before there is one, as `name` or the request made here says. SiteFileError without."""
        if (folder / "site.yaml").exists() or folder.is_file():
            site = read_site(folder)
            if name not in (None, site.file.site):
                raise SiteFileError(f"site.yaml names this site {site.file.site!r}, the command {name!r}. Choose one.")
            return cls(site.file.site, site.path(site.file.state) / "identity", site.path(site.file.connector))
        identity, connector = folder / "state" / "identity", folder / "connector"
        if name is None and (identity / REQUEST_FILE).exists():
            name = Request.read(identity / REQUEST_FILE).site
        if name is None:
            raise SiteFileError(
                f"{folder}: has no site.yaml. Say where one is with --at, or give the name with --name."
            )
        return cls(name, identity, connector)

    @property
    def request(self) -> Path:
        """The request that `enrol` made, kept to be sent again."""
        return self.identity / REQUEST_FILE

    @property
    def pending(self) -> bool:
        """Whether new keys wait for their kit."""
        return (self.identity / NEXT / KEY_FILE).exists()

    def signing_key(self) -> SigningKey:
        """The key in use. IdentityError before the site has enrolled."""
        if not (self.identity / KEY_FILE).exists():
            raise self.no_key
        return read_key(self.identity / KEY_FILE)

    @property
    def no_key(self) -> IdentityError:
        """What is said before the site has enrolled."""
        return IdentityError(f"{self.identity}: has no key yet. Run `wardround site enrol` first.")

    def roster(self) -> Roster | None:
        """The roster pinned here, if one is."""
        path = self.identity / ROSTER_FILE
        return Roster.read(path) if path.exists() else None

    def authority(self) -> str | None:
        """The certificate, PEM, of the authority pinned here, if one is: not the connector's, who could change it."""
        path = self.identity / CA_FILE
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise IdentityError(f"{path}: cannot be read ({problem.strerror}). Run this as root.") from None


def enrol(place: SitePlace, *, new_keys: bool = False) -> Request:
    """Make this site's keys, if they are not there, and its request. The same keys give the same request.

    `new_keys`: make others beside them, for a site whose keys the consortium does not take any more.
    """
    make_private(place.identity.parent)  # the agent's state, whoever made the folder before
    old = place.identity / KEY_FILE, place.connector / NODE_KEY_FILE
    request = _request(place, NEXT if new_keys and any(path.exists() for path in old) else "")
    write_whole(place.request, request.to_text().encode(), PUBLIC)
    return request


def rotate(place: SitePlace) -> Request:
    """New keys beside the old ones, and a request that the old signing key signs too. Again gives the same request."""
    return _request(place, NEXT, previous=place.signing_key())


def _request(place: SitePlace, inner: str, previous: SigningKey | None = None) -> Request:
    """With the keys in the folders `inner` of the two, made now if there are none."""
    key = _signing_key(place.identity / inner)
    return Request.make(place.name, key, _node_key(place.connector / inner), previous)


def _signing_key(folder: Path) -> SigningKey:
    path = folder / KEY_FILE
    return read_key(path) if path.exists() else make_key(folder)


def _node_key(folder: Path) -> str:
    """The public part of the node key in `folder`, made now if there is none."""
    path = folder / NODE_KEY_FILE
    if folder.name == NEXT and folder.is_symlink():  # root runs this, in a folder that is the connector's
        raise IdentityError(f"{folder}: is a link, as a connector that was taken over would make it. Remove it.")
    make_private(folder)
    if not path.exists():
        write_whole(path, generate())
    if path.stat().st_mode & 0o077:
        raise IdentityError(f"{path}: others than its owner may read it. Run chmod 600 on it.")
    return public_of(path.read_bytes(), str(path))
