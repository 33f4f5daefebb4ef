"""Which release speaks what, as one table, and the lowest protocol in which a study can be played.

A coordinator asks every site in the number that the study needs, and a site answers in the number in which it was
asked. So a hospital that has not upgraded yet takes part in what needs nothing newer, and stands in nobody's way but of
what does. COMPATIBILITY.md is this table in words for people; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import ReleaseError

if TYPE_CHECKING:
    from common.study import Study


@dataclass(frozen=True)
class Release:
    """What one release speaks, and the newest form of each file that it reads. Whatever is older it reads as well,
    where it does not say otherwise.

    wire: every number of messages between coordinator and site, rising (common/messages.py)
    enrolment: of requests and kits (common/document.py); relay: between agent and connector (client/relay.py)
    secure_sum: of what is signed and hashed for a sum (common/identity/encoding.py)
    study: the schema of study.yaml and site.yaml (common/schema.py)
    """

    name: str
    wire: tuple[int, ...]
    enrolment: int
    relay: int
    secure_sum: int
    study: int
    ledger: int
    audit: int
    checkpoint: int
    status: int
    report: int


RELEASES = (
    Release("0.1", (3,), 2, 1, 1, study=0, ledger=0, audit=0, checkpoint=2, status=0, report=0),
    Release("0.2", (4,), 2, 1, 1, study=1, ledger=1, audit=1, checkpoint=3, status=1, report=1),
    Release("0.3", (4, 5), 2, 1, 1, study=2, ledger=2, audit=2, checkpoint=3, status=1, report=2),
)
HERE = RELEASES[-1]
WITH_INQUIRIES = 5  # of the wire: a plan names what it asks


@dataclass(frozen=True)
class Need:
    """What of a study only a newer protocol can say. `of`: whether this study has it; `words`: of one that does."""

    protocol: int
    of: Callable[[Study], bool]
    words: str


SAID_BY_4 = frozenset(("statistics", "update", "validation", "test"))  # questions that a plan of protocol 4 can name


def _asks_more(study: Study) -> bool:
    from common.schedule import Schedule  # with NumPy, which a report, that asks for the table alone, does without

    return any(not SAID_BY_4.issuperset(stage.asks) for stage in Schedule(study).stages())


NEEDS = (Need(5, _asks_more, "asks for more than protocol 4 has words for"),)


def needed(study: Study) -> int:
    """Return the lowest protocol in which this study can be played."""
    return max((HERE.wire[0], *(need.protocol for need in NEEDS if need.of(study))))


def why_needed(study: Study) -> str:
    """Return in words what of this study needs its protocol; empty where the first one does."""
    number = needed(study)
    return "; ".join(need.words for need in NEEDS if need.protocol == number and need.of(study))


def require_sayable(asked: int, study: Study) -> None:
    """Refuse, with ReleaseError, a request in a protocol that cannot say all that this study asks."""
    if asked < needed(study):
        raise ReleaseError(
            f"The coordinator asks in protocol {asked}, and this study needs {needed(study)}: it {why_needed(study)}."
        )


def speaker_of(protocol: int) -> str:
    """Return in words the first release that speaks this protocol."""
    name = next((release.name for release in RELEASES if protocol in release.wire), "")
    return f"release {name}" if name else "no release that is known here"
