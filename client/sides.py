"""Which split of a study its patients are in: a name that changes when any patient changed sides, and only then.

The ledger charges a patient by side. A study that splits by a keyed hash can't move anybody: its split has no name. One
that splits by a column of the hospital's file can, between two runs, though its digest stays. So the sides of its
patients are kept, by pseudonym, in state/splits/DIGEST.json (0600), and a patient who is found on another one begins a
split of another name: what was charged before then counts for patients of every side. Who is new, or left, begins none.

Where the file, or the secret of the pseudonyms, is lost, the next split has another name: more is counted, not less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import PrivacyError
from common.study import Study
from common.whole_file import make_private, write_whole

FORMAT = 1


def split_of(state: Path, study: Study, sides: Mapping[str, str]) -> str:
    """Return the name of the split that these patients (pseudonym -> part) are in, kept on disk when this returns.

    PrivacyError where what is kept cannot be read, or is of a newer release.
    """
    if study.split.column is None:
        return ""
    path = state / "splits" / f"{study.digest}.json"
    name, known = _read(path)
    moved = any(known.get(patient, part) != part for patient, part in sides.items())
    strangers = bool(known) and bool(sides) and known.keys().isdisjoint(sides)
    if not name or moved or strangers:
        name, now = _name(name, sides), dict(sides)
    else:
        now = known | dict(sides)
    if now != known:
        make_private(path.parent)
        write_whole(path, json.dumps({"format": FORMAT, "split": name, "sides": now}).encode())
    return name


def _name(before: str, sides: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps([before, sorted(sides.items())]).encode()).hexdigest()[:32]


def _read(path: Path) -> tuple[str, dict[str, str]]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        number, name, sides = stored["format"], str(stored["split"]), dict(stored["sides"])
    except FileNotFoundError:
        return "", {}
    except (ValueError, TypeError, KeyError, OSError):
        raise PrivacyError(
            f"{path}: cannot be read. It says which patients were on which side of the study. Mend its permissions; if "
            "it is damaged, delete it: what was spent before is then counted for patients of every side."
        ) from None
    if number != FORMAT:
        raise PrivacyError(
            f"{path}: is of format {number}, which a newer release of wardround wrote. Install that one."
        )
    return name, sides
