"""Pseudonyms: keyed hashes of patients' numbers, under a secret that is made here once and stays here.

Without the key a hash of a record number is no protection: all numbers can be tried. HIPAA allows a code that is not
derived from the patient's data and whose key is not disclosed (45 CFR 164.514(c)).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from common.disk.atomic_file import write_new
from common.errors import DataError

KEY_FILE = "pseudonym.key"
_LENGTH = 32


@dataclass(frozen=True)
class SiteSecret:
    """HMAC-SHA256 under this site's key. It cannot print itself."""

    _key: bytes = field(repr=False)

    def pseudonym(self, patient: str) -> str:
        """32 hex digits that stand for the patient at this site."""
        return self.digest("patient", patient.encode())[:32]

    def digest(self, purpose: str, content: bytes) -> str:
        """64 hex digits, for fingerprints that must not be open to guessing what was hashed."""
        return hmac.new(self._key, purpose.encode() + b"\0" + content, hashlib.sha256).hexdigest()

    def __reduce__(self) -> str:
        raise TypeError("A site's secret is not copied.")


def site_secret(state: Path) -> SiteSecret:
    """The secret in the site's state folder (0700), made at the first call (0600)."""
    path = state / KEY_FILE
    try:
        private_folder(state)
        if not path.exists():
            with suppress(FileExistsError):  # two processes at once agree on one key
                write_new(path, secrets.token_bytes(_LENGTH))
        key = path.read_bytes()
    except OSError as problem:
        raise DataError(
            f"{path}: cannot be read or made ({problem.strerror}). The key `state` in site.yaml names a folder that "
            "this user must own."
        ) from None
    if len(key) != _LENGTH:
        raise DataError(
            f"{path}: is damaged. Restore it from a backup; or delete it, and all pseudonyms of this site change."
        )
    return SiteSecret(key)


def private_folder(path: Path) -> None:
    """Make a folder, or tighten the one there, so that only its owner can enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
