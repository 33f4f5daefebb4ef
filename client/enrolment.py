"""A site's enrolment: its keys, which never leave it, its request, and what it pins when it joins.

New keys in place of others are made in folders `next` beside the old ones, which the site goes on with until a kit
names the new one: only then do they take the old ones' place. A join that a crash cut short is completed by joining
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from client.identity import KEY_FILE, ROSTER_FILE, make_key, pin_roster, read_key
from client.site import read_site
from common import schema as border
from common.authority import require_in_force
from common.enrolment import Coordinator, Kit, Request
from common.errors import IdentityError, SiteFileError
from common.identity import Roster, SigningKey, fingerprint
from common.node_key import generate, public_of
from common.whole_file import PUBLIC, make_private, write_whole

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
        """Whether a rotation waits for its kit."""
        return (self.identity / NEXT / KEY_FILE).exists()

    def signing_key(self) -> SigningKey:
        """The key in use. IdentityError before the site has enrolled."""
        if not (self.identity / KEY_FILE).exists():
            raise _no_key(self)
        return read_key(self.identity / KEY_FILE)

    def roster(self) -> Roster | None:
        """The roster pinned here, if one is."""
        path = self.identity / ROSTER_FILE
        return Roster.read(path) if path.exists() else None


@dataclass(frozen=True)
class Changes:
    """What a kit changes here. Sites with the fingerprints of their signing keys.

    replaces: the consortium that is left for this one; moved: the address before, if it was another
    back: the serial of the roster pinned here, if the kit's is not newer and yet another
    """

    kit: Kit
    first: bool
    added: dict[str, str]
    removed: dict[str, str]
    changed: dict[str, tuple[str, str]]  # before, now
    replaces: str | None
    moved: str | None
    back: int | None

    @property
    def none(self) -> bool:
        sites = self.added or self.removed or self.changed
        return not (self.first or sites or self.replaces or self.moved or self.back is not None)


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


def compare(place: SitePlace, kit: Kit, *, replace: bool = False) -> Changes:
    """What joining with this kit would change. IdentityError when this site must not join with it.

    `replace`: the kit may be of another consortium or authority than the one that is pinned here, or its roster older.
    """
    if kit.site != place.name:
        raise IdentityError(f"The kit is for site {kit.site!r}; this is {place.name!r}. Ask for the kit of this site.")
    require_in_force(kit.ca_certificate, datetime.now(UTC))
    leaves = _left(place, kit)
    if leaves is not None and not replace:
        raise IdentityError(
            f"This site belongs to consortium {leaves!r}, and the kit is not from its certificate authority. It may "
            "be somebody who pretends to be the coordinator: telephone it. If the site shall really change over, "
            "join with --replace."
        )
    before = place.roster() if leaves is None else None
    back = before.serial if before and _is_back(before, kit.roster) else None
    if back is not None and not replace:
        raise IdentityError(_why_not_back(back, kit.serial))
    _require_own(place, kit)
    old, new = before.sites if before else {}, kit.roster.sites
    return Changes(
        kit=kit,
        first=before is None and leaves is None,
        added={name: fingerprint(key) for name, key in new.items() if name not in old},
        removed={name: fingerprint(key) for name, key in old.items() if name not in new},
        changed={
            name: (fingerprint(old[name]), fingerprint(key))
            for name, key in new.items()
            if name in old and old[name] != key
        },
        replaces=leaves,
        moved=_moved(place, kit),
        back=back,
    )


def join(place: SitePlace, kit: Kit, *, replace: bool = False) -> Changes:
    """Pin the kit: whom the connector calls and believes, and who the others are. IdentityError as `compare`."""
    changes = compare(place, kit, replace=replace)
    coordinator = Coordinator(consortium=kit.roster.consortium, site=kit.site, host=kit.host, port=kit.port)
    make_private(place.connector)
    write_whole(place.connector / CA_FILE, kit.ca_certificate.encode(), PUBLIC)
    write_whole(place.connector / COORDINATOR_FILE, border.dump(coordinator).encode(), PUBLIC)
    pin_roster(place.identity, kit.roster)
    _take_next(place, kit.roster.sites[kit.site])
    return changes


def _require_own(place: SitePlace, kit: Kit) -> None:
    """With this site's own key: the one in use, or the one that waits."""
    kept = [path for path in (place.identity / KEY_FILE, place.identity / NEXT / KEY_FILE) if path.exists()]
    if not kept:
        raise _no_key(place)
    if kit.roster.sites[place.name] not in {read_key(path).public for path in kept}:
        raise IdentityError(
            f"The kit has a key for {place.name!r} that this site does not hold. Somebody else may have enrolled "
            "under its name: telephone the coordinator, and do not join."
        )


def _left(place: SitePlace, kit: Kit) -> str | None:
    """The consortium pinned here, if it is another than the kit's; the same name with another authority is another."""
    roster, authority = place.roster(), pinned_authority(place)
    name = roster.consortium if roster else None
    if name is not None and name != kit.roster.consortium:
        return name
    if authority not in (None, kit.ca_certificate):
        return name or "of a kit before"
    return None


def _no_key(place: SitePlace) -> IdentityError:
    return IdentityError(f"{place.identity}: has no key yet. Run `wardround site enrol` first.")


def _is_back(pinned: Roster, offered: Roster) -> bool:
    """Whether one authority's roster is older than another, or of the same serial and not the same."""
    return offered.serial < pinned.serial or (offered.serial == pinned.serial and offered.digest != pinned.digest)


def _why_not_back(pinned: int, offered: int) -> str:
    restored = (
        "If the coordinator says that it went back to a backup, compare every fingerprint by telephone and join with "
        "--replace."
    )
    if offered < pinned:
        return (
            f"The kit is old: its roster has serial {offered}, and this site has joined with {pinned} already. It may "
            f"name sites that have left. Ask the coordinator for the newest kit. {restored}"
        )
    return (
        f"The kit's roster has serial {offered}, as the one that this site has joined with, and is another. There are "
        f"two copies of the coordinator's folder, or somebody else has its key: telephone it. {restored}"
    )


def _moved(place: SitePlace, kit: Kit) -> str | None:
    path = place.connector / COORDINATOR_FILE
    if not path.exists():
        return None
    before = Coordinator.read(path)
    return before.address if (before.host, before.port) != (kit.host, kit.port) else None


def _take_next(place: SitePlace, own: bytes) -> None:
    """The signing key first: while it waits in `next`, a node key there is not to be taken unless the roster says."""
    waiting = place.identity / NEXT / KEY_FILE
    if waiting.exists() and read_key(waiting).public == own:
        waiting.replace(place.identity / KEY_FILE)
    node = place.connector / NEXT / NODE_KEY_FILE
    if not waiting.exists() and node.exists():
        node.replace(place.connector / NODE_KEY_FILE)
    for folder in (place.identity / NEXT, place.connector / NEXT):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


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
    make_private(folder)
    if not path.exists():
        write_whole(path, generate())
    if path.stat().st_mode & 0o077:
        raise IdentityError(f"{path}: others than its owner may read it. Run chmod 600 on it.")
    return public_of(path.read_bytes(), str(path))


def pinned_authority(place: SitePlace) -> str | None:
    """The certificate, PEM, of the authority pinned here, if one is."""
    path = place.connector / CA_FILE
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
