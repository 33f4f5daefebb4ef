"""The events of the audit log: a closed union of types, what their fields may hold, and the line that each becomes.

Counts, amounts, and words out of closed lists or patterns, looked at when the event is made: there is no field that a
name, a date or an error's text could get into. A new kind of event is a class here and its name in `Event`; a new field
is a rule in `_RULES`, and where lines without it are out, a value in `_NEUTRAL` with which it is in no line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from functools import cached_property
from itertools import combinations
from typing import Any, Literal, Self, get_args

from common.errors import PUBLIC_CODES, RETIRED_CODES, AuditError
from common.format_number import KEY, take_format

SIDES = ("training", "validation", "test")
ACCOUNTS = frozenset(  # see common/privacy/accounts.py
    {"held_out", *("+".join(some) for many in (1, 2, 3) for some in combinations(SIDES, many))}
)
Part = str  # of a round's work: the kind of a question, see common/questions/
Outcome = Literal["completed", "stopped", "failed"]

# Their classes are in common/messages.py, which loads Flower; a test holds the two lists together.
REQUEST_KINDS = frozenset(
    {"JoinRequest", "OfferRequest", "RoundRequest", "ConfirmRequest", "RevealRequest", "ActivityRequest"}
)
UNREADABLE = "unreadable"  # refused before its kind was known
NO_LINE = "0" * 64  # what the first line has for the hash of the line before
LINE_BYTES = 1024  # no line is longer
LINE_FORMAT = 2  # the newest of a line; those of release 0.1 have none, and stay as they are
OF_INQUIRIES = 2  # of a line that tells of an inquiry; others keep format 1, which release 0.2 reads
_PURPOSE = b"wardround audit line 1\0"


@dataclass(frozen=True)
class _Checked:
    """AuditError, without the value, when a field holds anything but what its name's rule allows."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, rule = getattr(self, field.name), _RULES.get(field.name)
            if value is not field.default and not (rule and rule(value)):
                raise AuditError(f"{type(self).__name__}.{field.name}: not what the audit log may hold there.")


@dataclass(frozen=True)
class _InSum(_Checked):
    """`study` is its digest, `run` the run's id, `number` that of a secure sum."""

    study: str
    run: str
    number: int


@dataclass(frozen=True)
class Started(_Checked):
    """The process began, in this version of wardround."""

    version: str


@dataclass(frozen=True)
class Joined(_InSum):
    """Consented to a run of a study, from this secure sum on."""


@dataclass(frozen=True)
class Offered(_InSum):
    """Gave an offer for this secure sum."""


@dataclass(frozen=True)
class Masked(_InSum):
    """Sent a masked vector of so many bytes."""

    round: int
    bytes: int


@dataclass(frozen=True)
class SentUnmasked(_InSum):
    """Sent a vector of so many bytes in the open: the study has no secure sum."""

    round: int
    bytes: int


@dataclass(frozen=True)
class Confirmed(_InSum):
    """Signed that so many sites' vectors, and no others, may be opened as one sum."""

    survivors: int


@dataclass(frozen=True)
class Revealed(_InSum):
    """Gave the shares, so many bytes, that open the sum over so many sites."""

    survivors: int
    bytes: int


@dataclass(frozen=True)
class Spent(_Checked):
    """Charged the patients of an account for a round. `epsilon`: theirs by now, over all studies and runs."""

    study: str
    run: str
    round: int
    account: str
    epsilon: float


@dataclass(frozen=True)
class LedgerAccepted(_Checked):
    """A person at this site decided to go on with a ledger that lacks so many charges of this log. `held`: the entries
    that it had then, and must not lack from here on.
    """

    entries: int
    held: int = 0


@dataclass(frozen=True)
class SumsAccepted(_Checked):
    """A person at this site decided to go on with records that lack sums of so many runs, or entries of cuts. `held`:
    how much the records of sums had then, and must not lack from here on.
    """

    entries: int
    held: int = 0


@dataclass(frozen=True)
class CutsKept(_Checked):
    """In so many entries it is kept which part each patient was in, of the studies whose sums may be out."""

    entries: int


@dataclass(frozen=True)
class LeftOut(_Checked):
    """So many patients, whom a list of opt-outs ever left out, are kept by pseudonym. `digest`: of the set, keyed."""

    number: int
    digest: str


@dataclass(frozen=True)
class OptOutsAccepted(_Checked):
    """A person at this site took off whom the list does not name now: so many are left out from here on."""

    number: int
    digest: str


@dataclass(frozen=True)
class Failed(_Checked):
    """A part of a private round's work failed after its charge, as a whole or for some patients: noise alone was sent
    in place of the part, or of those patients.

    error, place, line: the kind of exception and the function where it was raised, never its text
    """

    study: str
    run: str
    round: int
    part: Part
    error: str
    place: str
    line: int


@dataclass(frozen=True)
class Refused(_Checked):
    """Answered a request with a public code. The sentence is in the log of the process."""

    request: str
    code: str
    number: int | None = None


@dataclass(frozen=True)
class Repaired(_Checked):
    """Took away an unfinished last line of so many bytes: a kill or a crash cut its writing off."""

    bytes: int


@dataclass(frozen=True)
class Sent(_Checked):
    """Answered a request of a study with so many bytes: all that left with the answer, also when it left before."""

    study: str
    request: str
    bytes: int


@dataclass(frozen=True)
class Approved(_Checked):
    """A person at this site approved the study with this digest."""

    study: str


@dataclass(frozen=True)
class Paused(_Checked):
    """A person at this site paused the study."""

    study: str


@dataclass(frozen=True)
class Resumed(_Checked):
    """A person at this site ended the pause."""

    study: str


@dataclass(frozen=True)
class Withdrew(_Checked):
    """A person at this site withdrew from the study, for good."""

    study: str


@dataclass(frozen=True)
class AllowedSet(_Checked):
    """A person at this site allowed sums without privacy over one set of so many sites, whatever they show."""

    sites: int


@dataclass(frozen=True)
class Purged(_Checked):
    """What was prepared for the study, so many entries of the cache, was deleted with its stored file."""

    study: str
    entries: int


@dataclass(frozen=True)
class Expired(_Checked):
    """So many entries of the cache were deleted because nobody had used them for the days of retention."""

    entries: int


@dataclass(frozen=True)
class Admitted(_Checked):
    """The coordinator took the site with this signing key into the roster, of so many sites then."""

    key: str
    sites: int


@dataclass(frozen=True)
class Removed(_Checked):
    """The coordinator took the site with this signing key out of the roster, of so many sites then."""

    key: str
    sites: int


@dataclass(frozen=True)
class Began(_Checked):
    """The coordinator began a run of the study with so many sites asked, or went on with it."""

    study: str
    run: str
    sites: int


@dataclass(frozen=True)
class Summed(_Checked):
    """A round's sum was opened over so many sites, and so many were lost; `bytes` came from the sites."""

    study: str
    run: str
    round: int
    survivors: int
    dropped: int
    bytes: int


@dataclass(frozen=True)
class Ended(_Checked):
    """The run's process ended: completed, stopped by a person, or failed."""

    study: str
    run: str
    outcome: Outcome


Event = (
    Started | Joined | Offered | Masked | SentUnmasked | Confirmed | Revealed | Spent | LedgerAccepted | Failed
    | SumsAccepted | CutsKept | LeftOut | OptOutsAccepted | Refused | Repaired
    | Sent | Approved | Paused | Resumed | Withdrew | AllowedSet | Purged | Expired
    | Admitted | Removed | Began | Summed | Ended
)  # fmt: skip
KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _amount(value: Any) -> bool:
    return type(value) is float and 0 <= value < float("inf")


def _matches(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: type(value) is str and compiled.fullmatch(value) is not None


def _one_of(words: Collection[str]) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and value in words


_RULES: dict[str, Callable[[Any], bool]] = {  # one meaning of a name in all events
    "version": _matches(r"[0-9]{1,3}(\.[0-9]{1,3}){2}((a|b|rc)[0-9]{1,2})?"),
    "study": _matches("[0-9a-f]{64}"),
    "run": _matches("[0-9a-f]{16}"),
    **dict.fromkeys(("number", "round", "bytes", "survivors", "entries", "sites", "dropped", "line", "held"), _count),
    **dict.fromkeys(("key", "digest"), _matches("[0-9a-f]{64}")),
    "account": _one_of(ACCOUNTS),
    "part": _matches("[a-z][a-z0-9_]{0,39}"),
    "error": _matches("[A-Za-z_][A-Za-z0-9_]{0,59}"),
    "place": _matches("[A-Za-z_<][A-Za-z0-9_<>]{0,59}"),
    "outcome": _one_of(get_args(Outcome)),
    "epsilon": _amount,
    "request": _one_of(REQUEST_KINDS | {UNREADABLE}),
    "code": _one_of(PUBLIC_CODES | RETIRED_CODES),
}


_NEUTRAL = {"held": 0}  # a field that came later is left out of the line, and so of its hash, while it holds this


@dataclass(frozen=True)
class Record:
    """One line. `before` is the hash of the line before; `time` is in whole seconds of UTC."""

    sequence: int
    time: datetime
    event: Event
    before: str
    format: int = 1

    @classmethod
    def after(cls, last: Self | None, event: Event) -> Self:
        """The record that comes after `last`, now."""
        now = datetime.now(UTC).replace(microsecond=0)
        sequence, before = (last.sequence + 1, last.hash) if last else (1, NO_LINE)
        return cls(sequence, now, event, before, _format_of(event))

    @classmethod
    def read(cls, line: bytes) -> Self | None:
        """The record whose line these very bytes are, if there is one."""
        try:
            values = json.loads(line.decode("ascii"))
            sequence, time, kind, before, _ = (
                values.pop(key) for key in ("sequence", "time", "event", "before", "hash")
            )
            form = take_format(values, LINE_FORMAT, "a line", AuditError)
            record = cls(sequence, datetime.fromisoformat(time), KINDS[kind](**values), before, form)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AuditError):
            return None
        return record if type(sequence) is int and record.line == line else None

    @cached_property
    def hash(self) -> str:
        """SHA-256 in hex over the purpose and the line's canonical JSON without this hash."""
        return hashlib.sha256(_PURPOSE + _canonical(self._body())).hexdigest()

    @property
    def line(self) -> bytes:
        """Flat JSON: the only closing brace is the line's last character."""
        return _canonical({**self._body(), "hash": self.hash}) + b"\n"

    def _body(self) -> dict[str, Any]:
        head = {
            "sequence": self.sequence,
            "time": f"{self.time:%Y-%m-%dT%H:%M:%SZ}",
            "event": type(self.event).__name__,
        }
        if self.format:
            head[KEY] = self.format
        fields_ = asdict(self.event).items()
        said = {name: value for name, value in fields_ if name not in _NEUTRAL or value != _NEUTRAL[name]}
        return {**head, **said, "before": self.before}


def _format_of(event: Event) -> int:
    """The lowest format in which a line can say this."""
    of_several = isinstance(event, Spent) and "+" in event.account
    of_inquiry = isinstance(event, Failed) and event.part not in ("statistics", "scores", "training")
    return OF_INQUIRIES if of_several or of_inquiry else 1


def _canonical(values: dict[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), allow_nan=False).encode("ascii")
