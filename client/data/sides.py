"""Sides: which part of a study a patient is in. Once a study has begun here, nobody changes sides in it.

The ledger charges a patient by side, so what it says (the epsilon that is certified, whether the budget carries a run)
would change, exactly and unpaid, with a patient who changed sides. A study that splits by a keyed hash can't move
anybody. One that splits by a column of the hospital's file could, between two runs: so the sides of its patients are
kept, by pseudonym, in state/splits/DIGEST.json (0600), from its first charge on, and a patient who is known there stays
on that side, whatever the file says later. How many would have moved is told to the people of the site.

A split has a name, under which the ledger charges. It is drawn once, and anew only where what was kept is lost, or the
secret of the pseudonyms is another: what was charged before then counts for patients of every side, which is more and
not less. No patient decides about it.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.data.labels import KEEPING, Label
from client.data.pseudonym import SiteSecret
from client.data.split import PARTS, Part
from common.disk.atomic_file import make_private, write_whole
from common.errors import PrivacyError
from common.study import Study

FORMAT = 1


@dataclass(frozen=True)
class _Kept:
    """One split: `key` names the secret of its pseudonyms, `sides` are pseudonym -> part."""

    name: str = ""
    key: str = ""
    sides: Mapping[str, Part] = field(default_factory=dict, repr=False)


def staying(
    labels: Mapping[str, Label], state: Path, study: Study, secret: SiteSecret, counts: Counter[str]
) -> dict[str, Label]:
    """Return the labels, each with the part that its patient has in this study from before; who is new keeps the
    file's. Who would have moved is counted. PrivacyError where what is kept cannot be read, or is of a newer release.
    """
    known = _known(state, study, secret).sides
    kept = {patient: known.get(secret.pseudonym(patient), label.part) for patient, label in labels.items()}
    counts[KEEPING] += sum(kept[patient] != label.part for patient, label in labels.items())
    return {patient: replace(label, part=kept[patient]) for patient, label in labels.items()}


def split_of(state: Path, study: Study, sides: Mapping[str, Part], secret: SiteSecret) -> str:
    """Return the name of the split that these patients (pseudonym -> part) are in, kept on disk when this returns.

    Where another process has kept other sides since these were read, the split has a new name. PrivacyError as
    `staying`.
    """
    if study.split.column is None:
        return ""
    known = _known(state, study, secret)
    if not known.name or any(known.sides.get(patient, part) != part for patient, part in sides.items()):
        known = _Kept(secrets.token_hex(16), _key(secret), known.sides)
    now = replace(known, sides={**known.sides, **sides})
    if now != _read(_path(state, study)):
        path = _path(state, study)
        make_private(path.parent)
        content = {"format": FORMAT, "split": now.name, "key": now.key, "sides": dict(now.sides)}
        write_whole(path, json.dumps(content).encode())
    return now.name


def _known(state: Path, study: Study, secret: SiteSecret) -> _Kept:
    """What is kept under this secret; nothing where the parts are a hash of the patient's number."""
    if study.split.column is None:
        return _Kept()
    kept = _read(_path(state, study))
    return kept if kept.key == _key(secret) else _Kept()


def _path(state: Path, study: Study) -> Path:
    return state / "splits" / f"{study.digest}.json"


def _key(secret: SiteSecret) -> str:
    return secret.digest("splits", b"")


def _read(path: Path) -> _Kept:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        number = stored["format"]
        if type(number) is int and number > FORMAT:
            raise PrivacyError(
                f"{path}: is of format {number}, which a newer release of wardround wrote. Install that one."
            )
        sides = {str(patient): PARTS[PARTS.index(part)] for patient, part in dict(stored["sides"]).items()}
        return _Kept(str(stored["split"]), str(stored["key"]), sides)
    except FileNotFoundError:
        return _Kept()
    except (ValueError, TypeError, KeyError, OSError):
        raise PrivacyError(
            f"{path}: cannot be read. It says which patients were on which side of the study. Mend its permissions; if "
            "it is damaged, delete it: what was spent before is then counted for patients of every side."
        ) from None
