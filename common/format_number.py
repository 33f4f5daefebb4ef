"""Format numbers: which form a stored file has. A file without one has form 0, as release 0.1 wrote it.

Each kind of file keeps its own newest number, beside the code that reads it, and raises it when its form changes. What
is not numbered: keys and certificates, which have standards of their own, and files of one plain value (a process's
number, a node's number, an address). study.yaml and site.yaml have `schema`, requests and kits `protocol`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.errors import WardroundError

KEY = "format"
NEWER = "It was made by a newer release of wardround: install that one."


def take_format(
    values: dict[str, Any], newest: int, name: str, error: Callable[[str], WardroundError], *, absent: int = 0
) -> int:
    """Return a stored file's format number and take it out of `values`; `absent` where it has none.

    Raises `error`, about the file `name`, for a number above `newest`, and for what is no number at all.
    """
    found = values.pop(KEY, absent)
    if type(found) is not int or found < 0:
        raise error(f"{name}: its format number is none. Restore the file, or find out what changed it.")
    if found > newest:
        raise error(f"{name}: is of format {found}, and this release of wardround reads up to {newest}. {NEWER}")
    return found
