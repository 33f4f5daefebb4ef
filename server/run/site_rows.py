"""What each site of a simulation has, kept in its run's folder: a run that is finished has no hospitals to ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from common.disk.atomic_file import write_whole
from common.errors import RunError
from common.format_number import KEY, take_format
from server.report.evidence import Coverage

ROWS_FILE, FORMAT = "coverage.json", 1


def keep_rows(folder: Path, rows: Sequence[Coverage]) -> None:
    """Write the sites' own rows, of a simulation whose modalities are all used."""
    told = {KEY: FORMAT, "rows": [asdict(row) for row in rows]}
    write_whole(folder / ROWS_FILE, (json.dumps(told, indent=1) + "\n").encode())


def kept_rows(folder: Path) -> list[Coverage]:
    """Return the rows that were kept, or none: of a release before, or of a file that a kill cut off."""
    try:
        told: Any = json.loads((folder / ROWS_FILE).read_text(encoding="utf-8"))
        take_format(told, FORMAT, str(folder / ROWS_FILE), RunError)
        return TypeAdapter(list[Coverage]).validate_python(told["rows"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ValidationError):
        return []
