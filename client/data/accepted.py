"""Accepted: the lists of opt-outs that a person at this site has looked at although they find nobody, take out many by
what stands beside the numbers, or hold a line that can be no patient's number. Kept by a keyed digest of the content: a
changed list is looked at anew.
"""

from __future__ import annotations

from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from client.data.exclusions import Found
from client.data.left_out import staying_out
from client.data.pseudonym import site_secret
from common import schema as border
from common.disk.atomic_file import make_private, write_whole
from common.errors import DataError
from common.schema import schema

FILE = "exclusions.yaml"
FORMAT = 1


@schema
class AcceptedFile:
    """The schema of exclusions.yaml in the site's state folder: digest of a list -> when it was accepted, in UTC."""

    format: int = border.format_number(FORMAT)
    accepted: dict[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], str] = field(default_factory=dict)


def require_accepted(state: Path, found: Found) -> None:
    """DataError when a person should look at the list first, and none has at this content."""
    if doubt := doubt_of(state, found):
        raise DataError(doubt)


def doubt_of(state: Path, found: Found) -> str:
    """Return in words why a person should look at the list; nothing where it is in order, or was accepted as it is."""
    if is_accepted(state, found):
        return ""
    return (
        f"The list of patients who opted out: {found.said()}. {why(found)} Look at it, and mend it; or, if it is "
        "as it should be, say so once for this content: wardround site exclusions --accept"
    )


def why(found: Found) -> str:
    """What is odd about a list, in a sentence."""
    if found.odd:
        return (
            "A line with an open quote, with text behind a quote, with a damaged sign, or with another number of cells "
            "than the first line may stand for a patient who would not be left out. Put a cell with the separator in "
            "double quotes, and a remark in one line."
        )
    if found.takes_others:
        return (
            "Days, wards or other numbers beside the patients' own are numbers of patients here too, who would be left "
            "out although they may not have objected. Keep to one column with one number a line."
        )
    if found.here:
        return (
            "A line that is no number, or a day that a spreadsheet may have made of one, may stand for a patient who "
            "would not be left out."
        )
    if not found.listed:
        return "It is empty, and earlier lists left patients out here: did its export fail?"
    return "Nobody in it is a patient here: are these numbers of another kind, or damaged?"


def accept(state: Path, found: Found, now: datetime | None = None) -> None:
    """Keep that a person accepted this list as it is now."""
    make_private(state)
    when = f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    kept = AcceptedFile(accepted={**_read(state).accepted, _digest(state, found): when})
    write_whole(state / FILE, border.dump(kept).encode())


def is_accepted(state: Path, found: Found) -> bool:
    """Whether nothing about the list is left to be asked."""
    asked = found.to_be_accepted or _is_emptied(state, found)
    return not asked or _digest(state, found) in _read(state).accepted


def _is_emptied(state: Path, found: Found) -> bool:
    """Whether the list has no line, and earlier ones left patients out; also where that cannot be read."""
    if found.listed or not found.content:
        return False
    try:
        return staying_out(state, found) > 0
    except DataError:
        return True


def _digest(state: Path, found: Found) -> str:
    return site_secret(state).digest("exclusions", found.content)


def _read(state: Path) -> AcceptedFile:
    path = state / FILE
    if not path.exists():
        return AcceptedFile()
    return border.read(path, AcceptedFile, DataError)
