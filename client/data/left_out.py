"""Left out: the patients whom the last list of opt-outs that was in order left out, kept by pseudonym.

A private study goes on when its list is not in order any more, for to stop would tell the coordinator of a patient: a
list of one finds nobody as soon as that one is here no longer. Whoever was left out before then stays left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from common.errors import DataError
from common.whole_file import make_private, write_whole

FILE = "opted_out.json"
FORMAT = 1


def read_left_out(state: Path) -> frozenset[str]:
    """Return their pseudonyms. DataError where the file cannot be read, or is of a newer release."""
    path = state / FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        number, pseudonyms = int(stored["format"]), frozenset(map(str, stored["pseudonyms"]))
    except FileNotFoundError:
        return frozenset()
    except (ValueError, TypeError, KeyError, OSError):
        raise DataError(
            f"{path}: cannot be read. It says whom the list of opt-outs left out when it was in order. Mend its "
            "permissions; if it is damaged, look at the list (wardround site exclusions) and delete this file."
        ) from None
    if number > FORMAT:
        raise DataError(f"{path}: is of format {number}, which a newer release of wardround wrote. Install that one.")
    return pseudonyms


def keep_left_out(state: Path, pseudonyms: Collection[str]) -> None:
    """Keep whom a list that is in order leaves out, in place of those before."""
    if read_left_out(state) != frozenset(pseudonyms):
        make_private(state)
        write_whole(state / FILE, json.dumps({"format": FORMAT, "pseudonyms": sorted(pseudonyms)}).encode())
