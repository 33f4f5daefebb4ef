"""Left out: the patients whom any list of opt-outs ever left out here, kept by pseudonym, for studies with privacy.

Whether a list is in order may hang on one patient: a list of one finds nobody as soon as that one is here no longer. So
in a private study it takes nobody off and decides nothing: whom any list found stays out, also whoever was in no table
for a while, until a person takes off those whom the list does not name now (`wardround site exclusions --accept`). The
audit log beside it says how many were kept last, so that a file that was deleted or put back is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from client.data.exclusions import Found
from client.data.pseudonym import SiteSecret, site_secret
from common.disk.atomic_file import make_private, write_whole
from common.disk.audit import AUDIT_FILE, Audit, LeftOut, OptOutsAccepted
from common.disk.lock import locked
from common.errors import DataError

FILE, LOCK = "opted_out.json", "opted_out.lock"
FORMAT = 1
_WAY_OUT = (
    "If there is none, look at the list of opt-outs, and let it alone say from now on who is left out: wardround site "
    "exclusions --accept"
)


@dataclass(frozen=True)
class _Kept:
    """What the file holds. key: names the secret of the pseudonyms, "" in a file that does not say; accepted: how often
    a person decided that the list is to be the only word.
    """

    key: str = ""
    pseudonyms: frozenset[str] = field(default=frozenset(), repr=False)
    accepted: int = 0


def keep_left_out(state: Path, secret: SiteSecret, listed: Collection[str]) -> frozenset[str]:
    """Keep the patients `listed` beside those from before, and return the pseudonyms of all.

    DataError where the file cannot be read, is of a newer release, lacks patients of whom the audit log has the number,
    knows of more or fewer decisions of a person than the log, or holds pseudonyms of another key, which name nobody any
    more. None of it hangs on who is listed or here.
    """
    with _locked(state):
        kept = _known(state, secret) or _Kept(_key(secret))
        now = _Kept(_key(secret), kept.pseudonyms | set(map(secret.pseudonym, listed)), kept.accepted)
        _write(state, now)
        if (last := _logged(state)[0]) is None or (last.number, last.digest) != _named(secret, now):
            Audit(state / AUDIT_FILE).append(LeftOut(*_named(secret, now)))
        return now.pseudonyms


def left_out(state: Path, secret: SiteSecret) -> frozenset[str]:
    """Return the pseudonyms of all who are kept; nothing is written. DataError as `keep_left_out`."""
    return (_known(state, secret) or _Kept()).pseudonyms


def staying_out(state: Path, found: Found) -> int:
    """Return how many are left out whom this list does not name any more. DataError as `keep_left_out`."""
    if not (state / FILE).exists() and _logged(state)[0] is None:
        return 0  # and no secret is made, by a user who may not be the agent's
    secret = site_secret(state)
    kept = _known(state, secret) or _Kept()
    return len(kept.pseudonyms - set(map(secret.pseudonym, found.passed_over | found.parts)))


def said_of(number: int) -> str:
    """Return the sentence about so many of them."""
    return (
        f"Earlier lists left out {number:,} more whom this one does not name: studies with differential privacy go on "
        "without them until a person takes them off: wardround site exclusions --accept"
    )


def take_off(state: Path, secret: SiteSecret, found: Found) -> None:
    """Keep those alone whom this list names, as a person decided, on record. Whatever was kept before is gone.

    DataError, and nothing is changed, where a newer release kept it.
    """
    with _locked(state):
        _refuse_newer(state / FILE)
        try:
            before = _read(state / FILE) or _Kept()
        except DataError:
            before = _Kept()
        named = before.pseudonyms & set(map(secret.pseudonym, found.lines | found.parts))
        now = _Kept(_key(secret), named | set(map(secret.pseudonym, found.patients)), _logged(state)[1] + 1)
        Audit(state / AUDIT_FILE).append(OptOutsAccepted(*_named(secret, now)))
        _write(state, now)


def decided(state: Path) -> int:
    """Return how often a person decided so; 0 where it cannot be told."""
    try:
        return (_read(state / FILE) or _Kept()).accepted
    except DataError:
        return 0


def _known(state: Path, secret: SiteSecret) -> _Kept | None:
    last, accepted = _logged(state)  # before the file: whom an agent keeps meanwhile, without our lock, is there first
    kept = _read(state / FILE)
    if kept is None and last is None:
        return None
    if kept is not None and kept.key not in {"", _key(secret)}:
        raise DataError(
            f"{state / FILE}: says under another pseudonym.key whom the lists of opt-outs left out. Put that key back. "
            + _WAY_OUT
        )
    if kept is None or kept.accepted != accepted or (last is not None and _lacks(last, *_named(secret, kept))):
        raise DataError(
            f"{state / FILE}: is not as the audit log beside it says. It was put back from a copy, or deleted, and "
            "patients whom a list of opt-outs left out would be back. Put the newest copy back. " + _WAY_OUT
        )
    return kept


def _lacks(last: LeftOut | OptOutsAccepted, number: int, digest: str) -> bool:
    """Whether the file, of so many and this digest, lacks patients whom the log counts. More than the log knows, after
    as many decisions of a person, were kept before a crash: that loses nobody.
    """
    return number < last.number or (number == last.number and digest != last.digest)


def _logged(state: Path) -> tuple[LeftOut | OptOutsAccepted | None, int]:
    """What the audit log says last, and how often it says that a person took patients off."""
    found: LeftOut | OptOutsAccepted | None = None
    accepted = 0
    for event in Audit(state / AUDIT_FILE).readable(LeftOut, OptOutsAccepted):
        if isinstance(event, LeftOut | OptOutsAccepted):
            found, accepted = event, accepted + isinstance(event, OptOutsAccepted)
    return found, accepted


def _named(secret: SiteSecret, kept: _Kept) -> tuple[int, str]:
    return len(kept.pseudonyms), secret.digest("left out", ".".join(sorted(kept.pseudonyms)).encode())


def _key(secret: SiteSecret) -> str:
    return secret.digest("opted out", b"")


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    make_private(state)
    with locked(state / LOCK):
        yield


def _write(state: Path, now: _Kept) -> None:
    content = {"format": FORMAT, "key": now.key, "pseudonyms": sorted(now.pseudonyms), "accepted": now.accepted}
    text = json.dumps(content).encode()
    if not (state / FILE).is_file() or (state / FILE).read_bytes() != text:
        write_whole(state / FILE, text)


def _refuse_newer(path: Path) -> None:
    """DataError where a newer release wrote the file, whatever else is in it; what cannot be read is for `_read`."""
    try:
        number = json.loads(path.read_text(encoding="utf-8"))["format"]
    except (ValueError, TypeError, KeyError, OSError):
        return
    if type(number) is int and number > FORMAT:
        raise DataError(f"{path}: is of format {number}, which a newer release of wardround wrote. Install that one.")


def _read(path: Path) -> _Kept | None:
    _refuse_newer(path)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        int(stored["format"])  # every file of ours has one
        pseudonyms = frozenset(map(str, stored["pseudonyms"]))
        return _Kept(str(stored.get("key", "")), pseudonyms, int(stored.get("accepted", 0)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError, OSError):
        raise DataError(
            f"{path}: cannot be read. It says whom the lists of opt-outs left out. Mend its permissions; if it is "
            f"damaged, put the newest copy back. {_WAY_OUT}"
        ) from None
