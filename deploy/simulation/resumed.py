"""Whether a simulation that goes on is of the hospitals that it began with: the same sites, and the same patients.

Each patient of a site's target file is kept in `sites/SITE/data.json` as a hash under a key that lies in `sites/`, so
that neither a copied state folder makes another hospital this one, nor a cleaned one makes this one another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.data.cohort import OPTED_OUT
from common.errors import RunError
from common.format_number import KEY, take_format
from common.whole_file import write_whole
from deploy.simulation.hospitals import Looked

DATA_FILE, KEY_FILE, FORMAT = "data.json", "patients.key", 1
_WAY_OUT = "Give --hospitals the folder of then, or start another run (--run NAME without --resume)."


@dataclass(frozen=True)
class _Before:
    """What is kept of a site. `hospital` is all that a file of form 0 says of whose patients they are."""

    hospital: str = ""
    patients: frozenset[str] = field(default=frozenset(), repr=False)
    opted_out: int = 0
    since: tuple[str, ...] = ()


def require_same_sites(names: Collection[str], sites: Path, *, trained: bool) -> None:
    """RunError when a run that goes on lacks a site that it began with, or has another one in addition.

    trained: it has a checkpoint, so every site was kept. Before that a kill may have left some out
    """
    before = {path.parent.name for path in sites.glob(f"*/{DATA_FILE}")}
    gone, new = sorted(before - {*names}), sorted({*names} - before) if before and trained else []
    if gone or new:
        said = [f"{', '.join(gone)} not there any more"] * bool(gone) + [f"{', '.join(new)} not there then"] * bool(new)
        raise RunError(f"This run began with other hospitals: {'; '.join(said)}. {_WAY_OUT}")


def require_same(seen: Iterable[Looked], sites: Path, *, trained: bool) -> dict[str, tuple[str, ...]]:
    """Return by site, in words, who opted out or left since the run began; RunError when a site has patients who were
    not there then: model, test score and ledger would be of two hospitals' patients as one.

    trained: it has a checkpoint. Before that its data may be mended, in the same folder
    """
    said, others = dict[str, tuple[str, ...]](), list[str]()
    for one in seen:
        before = _before(sites / one.site)
        now = _hashed(one.patients, sites)
        if not trained or not before.patients or now is None:
            if before.hospital not in ("", one.hospital):
                others.append(f"{one.site} (another folder)")
        elif new := len(now - before.patients):
            others.append(f"{one.site} ({new} of {len(now)} patients)")
        said[one.site] = (*before.since, *_since(one, before, now)) if trained else ()
    if others:
        raise RunError(
            f"{', '.join(others)}: not the patients whom this run began with, but another hospital of that name, or a "
            f"newer export of it. {_WAY_OUT}"
        )
    return said


def _since(one: Looked, before: _Before, now: frozenset[str] | None) -> list[str]:
    out = one.counts.get(OPTED_OUT, 0) - before.opted_out
    gone = len(before.patients - now) if now else 0
    found = [f"{out} more opted out since this run began. They are in no round from here on."] if out > 0 else []
    return found + ([f"{gone} who were here when this run began have left the target's file."] if gone else [])


def keep(one: Looked, sites: Path, since: Collection[str] | None = None) -> None:
    """Write what a site's data come to beside its part of the run.

    since: what was said of who opted out or left, in a run that goes on; who was there when it began stays. None: it
        begins now
    """
    folder = sites / one.site
    folder.mkdir(parents=True, exist_ok=True)
    _make_key(sites)
    then = _Before() if since is None else _before(folder)
    told = {
        KEY: FORMAT,
        "lines": one.readiness.lines,
        "warnings": one.readiness.warnings,
        "counts": one.counts,
        "hospital": one.hospital,
        "patients": sorted(then.patients or _hashed(one.patients, sites) or ()),
        "since": list(since or ()),
    }
    write_whole(folder / DATA_FILE, (json.dumps(told, indent=1) + "\n").encode())


def _make_key(sites: Path) -> None:
    if not (sites / KEY_FILE).exists():
        write_whole(sites / KEY_FILE, secrets.token_bytes(32))


def _hashed(patients: Iterable[str], sites: Path) -> frozenset[str] | None:
    """None where the key is not there, so that nobody can be compared."""
    try:
        key = (sites / KEY_FILE).read_bytes()
    except FileNotFoundError:
        return None
    return frozenset(hmac.new(key, one.encode(), hashlib.sha256).hexdigest()[:32] for one in patients)


def _before(folder: Path) -> _Before:
    """Nothing where nothing says so, as in a file that a kill of an earlier release cut off."""
    try:
        told: Any = json.loads((folder / DATA_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return _Before()
    if not isinstance(told, dict):
        return _Before()
    take_format(told, FORMAT, f"{folder / DATA_FILE}", RunError)
    counts = told.get("counts", {})
    return _Before(
        str(told.get("hospital", "")),
        frozenset(told.get("patients", ())),
        int(counts.get(OPTED_OUT, 0)),
        tuple(told.get("since", ())),
    )
