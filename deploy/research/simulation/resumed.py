"""Whether a simulation that goes on is of the hospitals that it began with: the same sites, and the same patients.

Each patient of a site's target file is kept in `sites/SITE/data.json` as a hash under a key that lies in `sites/`, so
that neither a copied state folder makes another hospital this one, nor a cleaned one makes this one another; and who of
them took part, so that nobody comes in whom a list of opt-outs left out when the run began.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.disk.atomic_file import write_whole
from common.errors import RunError
from common.format_number import KEY, take_format
from deploy.research.simulation.hospitals import Looked

DATA_FILE, KEY_FILE, FORMAT = "data.json", "patients.key", 1
_WAY_OUT = "Give --hospitals the folder of then, or start another run (--run NAME without --resume)."


@dataclass(frozen=True)
class _Before:
    """What is kept of a site. `hospital` is all that a file of form 0 says of whose patients they are.

    in_cohort: who took part when the run began; away: who of them did not when it went on, once or more
    """

    hospital: str = ""
    patients: frozenset[str] = field(default=frozenset(), repr=False)
    in_cohort: frozenset[str] = field(default=frozenset(), repr=False)
    away: frozenset[str] = field(default=frozenset(), repr=False)


def begin_anew(sites: Path) -> None:
    """Forget which sites a run in this folder looked at that never trained: the next one begins with its own."""
    for path in sites.glob(f"*/{DATA_FILE}"):
        path.unlink()


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
    """Return by site, in words, who opted out or left since the run began, or did and is back; RunError when a site has
    patients who were not there then, or took no part: model, test score and ledger would be of others as of the same.

    trained: it has a checkpoint. Before that its data may be mended, in the same folder
    """
    said, others, came_in = dict[str, tuple[str, ...]](), list[str](), list[str]()
    for one in seen:
        before = _before(sites / one.site)
        if not trained or not before.patients:
            if before.hospital not in ("", one.hospital):
                others.append(f"{one.site} (another folder)")
            said[one.site] = ()
            continue
        now = _hashed(one.patients, sites)
        if new := len(now - before.patients):
            others.append(f"{one.site} ({new} of {len(now)} patients)")
        elif came := len(_hashed(one.in_cohort, sites) - before.in_cohort):
            came_in.append(f"{one.site} ({came} of {len(one.in_cohort)} patients)")
        said[one.site] = tuple(_since(one, before, sites))
    if others:
        raise RunError(
            f"{', '.join(others)}: not the patients whom this run began with, but another hospital of that name, or a "
            f"newer export of it. {_WAY_OUT}"
        )
    if came_in:
        raise RunError(
            f"{', '.join(came_in)}: took no part when this run began, and would now. They had opted out then, or had "
            "no data. Put who objected on the list of opt-outs again, and the data as they were, or start another run "
            "(--run NAME without --resume)."
        )
    return said


def _since(one: Looked, before: _Before, sites: Path) -> Iterator[str]:
    here, now, listed = (_hashed(several, sites) for several in (one.patients, one.in_cohort, one.opted_out))
    if before.hospital not in ("", one.hospital):
        yield (
            "its state folder is another than when this run began, and the patients' numbers are the same. If this is "
            "another hospital with such numbers, or other data under them, model and report would be of both: start "
            "another run (--run NAME without --resume)."
        )
    if out := len(before.in_cohort & listed):
        yield f"{out} more opted out since this run began. They are in no round from here on."
    if gone := len(before.in_cohort - here):
        yield f"{gone} who were here when this run began have left the target's file."
    if bare := len((before.in_cohort & here) - now - listed):
        yield f"{bare} who took part when this run began have no data for it any more."
    if back := len(before.away & now):
        yield f"{back} opted out, or were not there, for a part of this run, and take part again from here on."


def keep(one: Looked, sites: Path, *, goes_on: bool = False) -> None:
    """Write what a site's data come to beside its part of the run.

    goes_on: the run has trained, so who was there when it began stays. Else it begins now
    """
    folder = sites / one.site
    folder.mkdir(parents=True, exist_ok=True)
    _make_key(sites)
    then, now = _before(folder) if goes_on else _Before(), _hashed(one.in_cohort, sites)
    took_part = then.in_cohort if then.patients else now
    told = {
        KEY: FORMAT,
        "lines": one.readiness.lines,
        "warnings": one.readiness.warnings,
        "counts": one.counts,
        "hospital": one.hospital,
        "patients": sorted(then.patients or _hashed(one.patients, sites)),
        "in_cohort": sorted(took_part),
        "away": sorted(then.away | (took_part - now)),
    }
    write_whole(folder / DATA_FILE, (json.dumps(told, indent=1) + "\n").encode())


def _make_key(sites: Path) -> None:
    if not (sites / KEY_FILE).exists():
        write_whole(sites / KEY_FILE, secrets.token_bytes(32))


def _hashed(patients: Iterable[str], sites: Path) -> frozenset[str]:
    """RunError where the key is gone under which those from before are kept."""
    try:
        key = (sites / KEY_FILE).read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{sites / KEY_FILE}: is not there, and without it nobody can tell whether these are the patients whom "
            "this run began with. Put it back from a copy, or start another run (--run NAME without --resume)."
        ) from None
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
    kept = (frozenset(told.get(key, ())) for key in ("patients", "in_cohort", "away"))
    return _Before(str(told.get("hospital", "")), *kept)
