"""What a site pins when it joins: the coordinator's address and authority, and the roster.

A join that a crash cut short is completed by joining again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from client.membership.enrolment import CA_FILE, COORDINATOR_FILE, NEXT, NODE_KEY_FILE, SitePlace
from client.membership.identity import KEY_FILE, pin_roster, read_key
from common import schema as border
from common.disk.atomic_file import PUBLIC, make_private, put_in_place, write_whole
from common.errors import IdentityError
from common.identity.authority import require_in_force
from common.identity.enrolment import Coordinator, Kit
from common.identity.roster import Roster, fingerprint


@dataclass(frozen=True)
class Changes:
    """What a kit changes here. Sites with the fingerprints of their signing keys.

    replaces: the consortium that is left for this one; moved: the address before, if it was another
    reverts: the serial of the roster pinned here, if the kit's is another and not newer
    """

    kit: Kit
    first: bool
    added: dict[str, str]
    removed: dict[str, str]
    changed: dict[str, tuple[str, str]]  # before, now
    replaces: str | None
    moved: str | None
    reverts: int | None

    @property
    def none(self) -> bool:
        sites = self.added or self.removed or self.changed
        return not (self.first or sites or self.replaces or self.moved or self.reverts is not None)


def compare(place: SitePlace, kit: Kit, *, replace: bool = False) -> Changes:
    """What joining with this kit would change. IdentityError when this site must not join with it.

    `replace`: the kit may be of another consortium or authority than the one that is pinned here, or its roster older.
    """
    if kit.site != place.name:
        raise IdentityError(f"The kit is for site {kit.site!r}; this is {place.name!r}. Ask for the kit of this site.")
    require_in_force(kit.ca_certificate, datetime.now(UTC))
    leaves = _left(place, kit)
    before = place.roster() if leaves is None else None
    reverts = before.serial if before and _is_older(kit.roster, before) else None
    if leaves is not None and not replace:
        raise _another(leaves)
    if reverts is not None and not replace:
        raise _older(kit.serial, reverts)
    _require_own(place, kit)
    old, new = before.sites if before else {}, kit.roster.sites
    both = [name for name in new if name in old]
    return Changes(
        kit=kit,
        first=before is None and leaves is None,
        added={name: fingerprint(key) for name, key in new.items() if name not in old},
        removed={name: fingerprint(key) for name, key in old.items() if name not in new},
        changed={name: (fingerprint(old[name]), fingerprint(new[name])) for name in both if old[name] != new[name]},
        replaces=leaves,
        moved=_moved(place, kit),
        reverts=reverts,
    )


def join(place: SitePlace, kit: Kit, *, replace: bool = False) -> Changes:
    """Pin the kit: whom the connector calls and believes, and who the others are. IdentityError as `compare`."""
    changes = compare(place, kit, replace=replace)
    coordinator = Coordinator(consortium=kit.roster.consortium, site=kit.site, host=kit.host, port=kit.port)
    make_private(place.connector)
    write_whole(place.connector / CA_FILE, kit.ca_certificate.encode(), PUBLIC)
    write_whole(place.connector / COORDINATOR_FILE, border.dump(coordinator).encode(), PUBLIC)
    pin_roster(place.identity, kit.roster)
    write_whole(place.identity / CA_FILE, kit.ca_certificate.encode(), PUBLIC)
    _take_next(place, kit.roster.sites[kit.site])
    return changes


def _require_own(place: SitePlace, kit: Kit) -> None:
    """With this site's own key: the one in use, or the one that waits."""
    kept = [path for path in (place.identity / KEY_FILE, place.identity / NEXT / KEY_FILE) if path.exists()]
    if not kept:
        raise place.no_key
    if kit.roster.sites[place.name] not in {read_key(path).public for path in kept}:
        raise IdentityError(
            f"The kit has a key for {place.name!r} that this site does not hold. Somebody else may have enrolled "
            "under its name: telephone the coordinator, and do not join."
        )


def _left(place: SitePlace, kit: Kit) -> str | None:
    """The consortium pinned here, if it is another than the kit's; the same name with another authority is another."""
    roster, authority = place.roster(), place.authority()
    name = roster.consortium if roster else None
    if name is not None and name != kit.roster.consortium:
        return name
    if authority not in (None, kit.ca_certificate):
        return name or "of a kit before"
    return None


def _another(left: str) -> IdentityError:
    return IdentityError(
        f"This site belongs to consortium {left!r}, and the kit is not from its certificate authority. It may be "
        "somebody who pretends to be the coordinator: telephone it. If the site shall really change over, join with "
        "--replace."
    )


def _is_older(offered: Roster, pinned: Roster) -> bool:
    """Also of the same serial, but another: who of the two was first, nobody can tell."""
    return offered.serial < pinned.serial or (offered.serial == pinned.serial and offered.digest != pinned.digest)


def _older(offered: int, pinned: int) -> IdentityError:
    old = (
        f"The kit is old: its roster has serial {offered}, and this site has joined with {pinned} already. It may name "
        "sites that have left. Ask the coordinator for the newest kit."
    )
    forked = (
        f"The kit's roster has serial {offered}, as the one that this site has joined with, and is another. There are "
        "two copies of the coordinator's folder, or somebody else has its key: telephone it."
    )
    restored = (
        "If the coordinator says that it went back to a backup, compare every fingerprint by telephone and join with "
        "--replace."
    )
    return IdentityError(f"{old if offered < pinned else forked} {restored}")


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
        put_in_place(waiting, place.identity / KEY_FILE)
    node = place.connector / NEXT / NODE_KEY_FILE
    if not waiting.exists() and node.exists():
        put_in_place(node, place.connector / NODE_KEY_FILE)
    for folder in (place.identity / NEXT, place.connector / NEXT):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
