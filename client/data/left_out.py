"""Left out: the patients whom the lists of opt-outs that were in order left out, kept by pseudonym.

A private study goes on when its list is not in order any more, for to stop would tell the coordinator of a patient: a
list of one finds nobody as soon as that one is here no longer. Whoever was left out before then stays left out, also
whoever was in no table for a while. A list in order takes off only a patient who is here and whom it no longer names.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from client.data.pseudonym import SiteSecret
from common.errors import DataError
from common.whole_file import make_private, write_whole

FILE = "opted_out.json"
FORMAT = 1


@dataclass(frozen=True)
class _Kept:
    """`key` names the secret of the pseudonyms; "" in a file that does not say."""

    key: str = ""
    pseudonyms: frozenset[str] = field(default=frozenset(), repr=False)


def read_left_out(state: Path, secret: SiteSecret) -> frozenset[str]:
    """Return their pseudonyms. DataError where the file cannot be read, is of a newer release, or holds pseudonyms of
    another key, which name nobody any more.
    """
    kept = _read(state / FILE)
    if kept is not None and kept.key not in {"", _key(secret)}:
        raise DataError(
            f"{state / FILE}: says under another pseudonym.key whom the list of opt-outs left out when it was in "
            "order, and the list is not in order now. Put that key back; or look at the list (wardround site "
            "exclusions), and mend or accept it: nobody else knows who is to be left out."
        )
    return frozenset() if kept is None else kept.pseudonyms


def keep_left_out(state: Path, secret: SiteSecret, listed: Collection[str], here: Collection[str]) -> None:
    """Keep the patients whom a list that is in order names, and those from before who are not `here`."""
    kept = _read(state / FILE)
    same = kept is not None and kept.key in {"", _key(secret)}
    before = kept.pseudonyms if kept is not None and same else frozenset[str]()
    now = _Kept(_key(secret), frozenset(map(secret.pseudonym, listed)) | (before - set(map(secret.pseudonym, here))))
    if now != kept:
        make_private(state)
        content = {"format": FORMAT, "key": now.key, "pseudonyms": sorted(now.pseudonyms)}
        write_whole(state / FILE, json.dumps(content).encode())


def _key(secret: SiteSecret) -> str:
    return secret.digest("opted out", b"")


def _read(path: Path) -> _Kept | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        number = int(stored["format"])
        kept = _Kept(str(stored.get("key", "")), frozenset(map(str, stored["pseudonyms"])))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        raise DataError(
            f"{path}: cannot be read. It says whom the list of opt-outs left out when it was in order. Mend its "
            "permissions; if it is damaged, look at the list (wardround site exclusions) and delete this file."
        ) from None
    if number > FORMAT:
        raise DataError(f"{path}: is of format {number}, which a newer release of wardround wrote. Install that one.")
    return kept
