"""This site's long-term signing key and the roster that it pinned, on disk: made here, and never sent."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from common.disk.atomic_file import PUBLIC, make_private, write_new, write_whole
from common.errors import IdentityError
from common.identity.roster import KEY_BYTES, Roster, SigningKey
from common.identity.secret import Secret

KEY_FILE = "signing.key"
ROSTER_FILE = "roster.yaml"


@dataclass(frozen=True)
class SiteIdentity:
    """Who this site is. IdentityError unless the roster has this name with this key."""

    name: str
    key: SigningKey
    roster: Roster

    def __post_init__(self) -> None:
        self.roster.require_member(self.name, self.key.public)

    @classmethod
    def read(cls, name: str, folder: Path) -> Self:
        """From the folder that holds the key and the pinned roster."""
        key, roster = read_key(folder / KEY_FILE), folder / ROSTER_FILE
        if not roster.exists():
            raise IdentityError(f"{roster}: is not there, so no consortium is joined. Run `wardround site join KIT`.")
        return cls(name, key, Roster.read(roster))


def make_key(folder: Path) -> SigningKey:
    """A new key, written to `folder` for its owner's eyes only. Never over another: IdentityError if one is there."""
    make_private(folder)
    path, key = folder / KEY_FILE, SigningKey.generate()
    try:
        write_new(path, key.expose())
    except FileExistsError:
        raise IdentityError(
            f"{path}: a key is here already. A site keeps its key; move it away to make a new one."
        ) from None
    return key


def read_key(path: Path) -> SigningKey:
    """IdentityError when it is not there, not a key, or open to others than its owner."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise IdentityError(f"{path}: others than its owner may read it. Run chmod 600 on it, or make a new key.")
        secret = Secret(path.read_bytes())
    except OSError as problem:
        way_out = " Run `wardround site enrol`." if isinstance(problem, FileNotFoundError) else ""
        raise IdentityError(f"{path}: cannot be read ({problem.strerror}).{way_out}") from None
    if len(secret.expose()) != KEY_BYTES:
        raise IdentityError(f"{path}: is not a signing key of {KEY_BYTES} bytes.")
    return SigningKey(secret)


def pin_roster(folder: Path, roster: Roster) -> None:
    """Keep a roster whose fingerprints the site has compared, in place of the one before."""
    make_private(folder)
    write_whole(folder / ROSTER_FILE, roster.to_text().encode(), PUBLIC)
