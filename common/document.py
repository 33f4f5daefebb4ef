"""A document that one side hands to the other as a YAML file, and the care that reading such a file takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

import yaml

from common import schema as border
from common.errors import IdentityError
from common.format_number import NEWER

PROTOCOL = 2
_MAX_BYTES = 1 << 20  # a kit for thousands of sites fits


class Document:
    """What schemas of such files have in common."""

    protocol: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file, or IdentityError with what is wrong and what to do."""
        text = _text(path)
        version = re.search(r"^protocol: *([0-9]{1,9}) *$", text, re.MULTILINE)
        if version and int(version[1]) > PROTOCOL:
            raise IdentityError(
                f"{path}: speaks version {int(version[1])} of enrolment, this release of wardround {PROTOCOL}. {NEWER}"
            )
        if version and int(version[1]) < PROTOCOL:
            raise IdentityError(
                f"{path}: speaks version {int(version[1])} of enrolment, of an older release of wardround; this one "
                f"speaks {PROTOCOL}. Have it made again with this release."
            )
        try:
            document = border.parse(text, cls, _printable, str(path))
        except (yaml.YAMLError, RecursionError, TypeError, ValueError):
            raise IdentityError(f"{path}: is not a YAML file that wardround wrote. Have it sent again.") from None
        if document.protocol != PROTOCOL:
            raise IdentityError(f"{path}: does not say in its own line that it speaks version {PROTOCOL} of enrolment.")
        return document

    def to_text(self) -> str:
        """As a YAML file."""
        return border.dump(self)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise IdentityError(f"{path}: is too large for a request or a kit. Is it the right file?")
        return data.decode("utf-8")
    except OSError as problem:
        raise IdentityError(f"{path}: cannot be read ({problem.strerror}). Check the path.") from None
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: is not text. Is it the right file?") from None


def _printable(text: str) -> IdentityError:
    """What stands in a file from outside is shown to nobody before it is known to be harmless to a terminal."""
    return IdentityError("".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text))
