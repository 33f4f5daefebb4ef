"""Keys that have left the roster, because their site was removed or changed them: kept, so that none comes back.

A request from an old mail must not be admitted by a slip. Nor could its site work: Flower's server never lets a node
key in again that it has once taken off. Whoever returns makes new keys.
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Self

from common import schema as border
from common.disk.atomic_file import PUBLIC, write_whole
from common.errors import IdentityError
from common.identity.enrolment import Key, Request, SiteName
from common.schema import schema

REVOKED_FILE = "revoked.yaml"


@schema
class RevokedKeys:
    """The public keys that a site had, and the day (UTC) from which on they are not taken."""

    site: SiteName
    since: date
    signing_key: Key  # Ed25519
    node_key: str  # OpenSSH text


@schema
class Revoked:
    """revoked.yaml in the consortium's folder."""

    format: int = border.format_number(1)
    keys: list[RevokedKeys] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Nothing was revoked while there is no file. IdentityError when it is not whole."""
        path = folder / REVOKED_FILE
        return border.read(path, cls, IdentityError) if path.exists() else cls()

    def revoke(self, folder: Path, site: str, signing_key: bytes, node_key: bytes) -> None:
        """Write the file with these keys too."""
        today = datetime.now(UTC).date()
        keys = RevokedKeys(site=site, since=today, signing_key=signing_key.hex(), node_key=node_key.decode())
        text = border.dump(Revoked(keys=[*self.keys, keys]))
        write_whole(folder / REVOKED_FILE, text.encode(), PUBLIC)

    def require_none_in(self, request: Request) -> None:
        """IdentityError when one of the request's keys was revoked, under whatever name."""
        for old in self.keys:
            if request.signing_key == old.signing_key or request.node_key == old.node_key:
                raise IdentityError(
                    f"Site {request.site!r} comes with a key of site {old.site!r} that left the roster on "
                    f"{old.since}: this is an old request. Telephone the site; if it shall return, have it run "
                    "`wardround site enrol --new-keys` and send the new request."
                )
