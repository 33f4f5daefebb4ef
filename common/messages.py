"""Every request and reply that crosses the wire, and its form as Flower records: the only place with record keys.

A request goes to every site of a leg; its reply is of the type that `REPLIES` names, or a `Refusal` with a public code.
Whatever arrives is checked for its kind, its protocol version, its exact keys and their types before anyone uses it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, Metadata, RecordDict
from numpy.typing import NDArray

from common.errors import PUBLIC_CODES, ReleaseError, RunError, WardroundError
from common.format_number import NEWER
from common.plan import PARTS, STATISTICS, UPDATE, RoundPlan, asks_of
from common.protocols import HERE, WITH_INQUIRIES
from common.release import OF_0_1

FIRST, PROTOCOL = HERE.wire[0], HERE.wire[-1]  # the numbers from here to there are spoken; a message has one of them
OLDEST = 3  # of release 0.1, whose sites and coordinators are told no
RAW = "little-endian"  # Flower's name for how an array is written; it has none for plain bytes


class OtherProtocolError(ReleaseError):
    """A message in another protocol. `spoken` is its number, 0 for what is none."""

    def __init__(self, spoken: object) -> None:
        self.spoken = spoken if type(spoken) is int and spoken > 0 else 0
        here = f"{FIRST} to {PROTOCOL}"
        newer = f"The other side speaks protocol {self.spoken}, and this one {here}. {NEWER}"
        older = (
            f"The other side speaks protocol {self.spoken}, of release 0.1, and this one {here}. Nobody sums "
            f"beside it: {OF_0_1} Have its people install this release."
        )
        neither = f"The other side speaks none of the protocols {here}: install the same wardround on both sides."
        super().__init__(newer if self.spoken > PROTOCOL else older if self.older else neither)

    @property
    def older(self) -> bool:
        """Whether it is that of release 0.1."""
        return OLDEST <= self.spoken < FIRST

    @property
    def in_short(self) -> str:
        """Of a closed list; empty for what no release speaks."""
        return "newer protocol" if self.spoken > PROTOCOL else "older protocol" if self.older else ""


@dataclass(frozen=True)
class JoinRequest:
    """Are you ready for this run of this study, among the sites of this roster, from this secure sum on?

    `first`: the round with which the run begins, or goes on: the site looks whether its budget carries the run from
    there to its end; -1 in the middle of a run. `over`: runs of this consortium that nobody plays any more.
    """

    run: str
    study: str  # digest
    roster: str  # digest
    number: int
    first: int = -1
    over: tuple[str, ...] = ()


@dataclass(frozen=True)
class JoinReply:
    """Ready: a signed consent, with my name, my modalities, and my share key `ek` for that sum."""

    member: bytes


@dataclass(frozen=True)
class OfferRequest:
    """The context of a secure sum: number, threshold, holders of shares with their keys."""

    context: bytes


@dataclass(frozen=True)
class OfferReply:
    """This site's offer, signed: its round key, sealed shares of its two secrets, its consent to the sum after."""

    offer: bytes


@dataclass(frozen=True)
class RoundRequest:
    """Do the plan's work and mask the result, given the offers of U1. Without a secure sum `offers` is empty.

    derived: digest of what the coordinator derives from the plan (common/derived.py); where it is empty, a site learns
    of a difference by the masks alone
    """

    number: int
    plan: RoundPlan
    offers: tuple[bytes, ...]
    derived: bytes = b""


@dataclass(frozen=True)
class RoundReply:
    """The masked vector, packed, with its signed head; and what is not a sum: steps, the epsilon this site certifies.

    Without a secure sum `head` is the digest of what the site derived from the plan (common/derived.py). `steps` of a
    private study are the study's, however many were done.
    """

    head: bytes
    masked: NDArray[np.uint8] = field(repr=False)
    steps: int
    epsilon: float  # of training patients; negative: not private
    held_out_epsilon: float


@dataclass(frozen=True)
class ConfirmRequest:
    """U2: the sites whose vectors arrived."""

    number: int
    survivors: tuple[str, ...]


@dataclass(frozen=True)
class ConfirmReply:
    """This site has seen this U2, and no other, for this number."""

    confirmation: bytes


@dataclass(frozen=True)
class RevealRequest:
    """The confirmations of U2; with enough of them the site gives its shares. `following`: the next sum's context."""

    number: int
    confirmations: tuple[bytes, ...]
    following: bytes = b""


@dataclass(frozen=True)
class RevealReply:
    """Shares of self-mask seeds for U2, of round keys for the vanished; and the offer for the following sum.

    Where there is no offer, `refused` is the public code that says why, if one was asked for.
    """

    reveal: bytes
    offer: bytes = b""
    refused: str = ""


@dataclass(frozen=True)
class ActivityRequest:
    """What are you doing? Answered at once, also in the middle of a round, and without touching any data."""

    run: str


@dataclass(frozen=True)
class ActivityReply:
    """One of `ACTIVITIES`, how many of its steps are done, and for how many seconds it has been so.

    Of a private study the state is `working` from the request to the answer, without steps: how far a site has come
    after so many seconds tells how many patients it has.
    """

    state: str
    done: int
    total: int
    seconds: int


@dataclass(frozen=True)
class Refusal:
    """No, with a code from a closed vocabulary. The sentence stays in the site's log."""

    code: str


Request = JoinRequest | OfferRequest | RoundRequest | ConfirmRequest | RevealRequest | ActivityRequest
Reply = JoinReply | OfferReply | RoundReply | ConfirmReply | RevealReply | ActivityReply | Refusal

ACTIVITIES = frozenset({"idle", "preparing data", "training", "scoring", "working", "masking", "masked", "agent away"})

MESSAGE_TYPES: dict[type[Request], str] = {
    JoinRequest: "query.join",
    OfferRequest: "query.offer",
    RoundRequest: "train.round",
    ConfirmRequest: "query.confirm",
    RevealRequest: "query.reveal",
    ActivityRequest: "query.activity",
}
REPLIES: dict[type[Request], type[Reply]] = {
    JoinRequest: JoinReply,
    OfferRequest: OfferReply,
    RoundRequest: RoundReply,
    ConfirmRequest: ConfirmReply,
    RevealRequest: RevealReply,
    ActivityRequest: ActivityReply,
}
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*REPLIES, *REPLIES.values(), Refusal)}

# Each kind's plain fields and their types. What is not here (a plan, a masked vector) travels as arrays.
_FIELDS: dict[type[Any], dict[str, type]] = {
    JoinRequest: {"run": str, "study": str, "roster": str, "number": int, "first": int, "over": list},
    JoinReply: {"member": bytes},
    OfferRequest: {"context": bytes},
    OfferReply: {"offer": bytes},
    RoundRequest: {"number": int, "offers": list, "derived": bytes},
    RoundReply: {"head": bytes, "steps": int, "epsilon": float, "held_out_epsilon": float},
    ConfirmRequest: {"number": int, "survivors": list},
    ConfirmReply: {"confirmation": bytes},
    RevealRequest: {"number": int, "confirmations": list, "following": bytes},
    RevealReply: {"reveal": bytes, "offer": bytes, "refused": str},
    ActivityRequest: {"run": str},
    ActivityReply: {"state": str, "done": int, "total": int, "seconds": int},
    Refusal: {"code": str},
}
_PLAN_FIELDS: dict[str, type] = {
    "study": str,
    "run": str,
    "round": int,
    "attempt": int,
    "seconds": float,
    "sites": list,
}
# How a plan says what it asks: protocol 4 has a field for each of three questions, protocol 5 a list of names.
_ASKS: dict[int, dict[str, type]] = {4: {"statistics": bool, "train": bool, "evaluate": str}, 5: {"asks": list}}


def to_records(message: Request | Reply, protocol: int = FIRST) -> RecordDict:
    """A message as Flower records. `protocol`: in which it is asked, or was; or of an older side that is told no."""
    kind = type(message)
    config: dict[str, Any] = {"kind": kind.__name__, "protocol": protocol}
    config |= {name: _plain(getattr(message, name)) for name in _FIELDS[kind]}
    records = RecordDict({"config": ConfigRecord(config)})
    if isinstance(message, RoundRequest):
        plan = message.plan
        records["plan"] = ConfigRecord({name: _plain(value) for name, value in _said_of(plan, protocol).items()})
        records["owners"] = ConfigRecord({group: list(sites) for group, sites in plan.owners.items()})
        records["weights"] = ArrayRecord({"weights": _raw(plan.weights)})
        records["normaliser"] = ArrayRecord(
            {f"{name}/{part}": _raw(pair[i]) for name, pair in plan.normaliser.items() for i, part in enumerate(_PAIR)}
        )
        if protocol >= WITH_INQUIRIES:
            records["opened"] = ArrayRecord({key: _raw(value) for key, value in plan.opened.items()})
    elif isinstance(message, RoundReply):
        records["masked"] = ArrayRecord({"masked": _raw(message.masked)})
    return records


_PAIR = ("mean", "sd")


def _said_of(plan: RoundPlan, protocol: int) -> dict[str, Any]:
    """The plain fields of a plan. ReleaseError for one that this protocol cannot say: it would be another plan."""
    said = {name: getattr(plan, name) for name in _PLAN_FIELDS}
    if protocol >= WITH_INQUIRIES:
        return said | {"asks": plan.asks}
    statistics, train = STATISTICS in plan.asks, UPDATE in plan.asks
    if plan.asks != asks_of(statistics, train, plan.scored) or plan.opened:
        raise ReleaseError(f"Protocol {protocol} cannot say what this plan asks.")
    return said | {"statistics": statistics, "train": train, "evaluate": plan.scored}


def new_message(
    content: RecordDict, kind: str, node: int, group: str = "", ttl: float = 3600.0, run: int = 1
) -> Message:
    """A Flower message of this process to `node`. Flower's own constructor asks for the task that it runs in."""
    metadata = Metadata(run, "", 1, node, "", group, time.time(), ttl, kind)
    return cast(Message, Message(content, metadata=metadata))  # type: ignore[call-overload]  # not in its stated forms


def from_records(records: RecordDict) -> Request | Reply:
    """The message in these records, or RunError saying which part is not as this protocol has it."""
    config = _section(records, "config")
    spoken = spoken_in(records)
    kind = _KINDS.get(str(config.get("kind")))
    if kind is None:
        raise RunError("A message of a kind that this protocol does not have.")
    values = _checked(kind.__name__, config, _FIELDS[kind], {"kind", "protocol"})
    if kind is RoundRequest:
        values["plan"] = _plan(records, spoken)
    elif kind is RoundReply:
        values["masked"] = _array(records, "masked", "masked", np.uint8)
        if values["steps"] < 0 or not all(-1 <= values[name] < math.inf for name in ("epsilon", "held_out_epsilon")):
            raise RunError("RoundReply: not a number of steps, or no epsilon.")  # NaN is neither
    elif kind is Refusal and values["code"] not in PUBLIC_CODES:
        values["code"] = "error"
    elif kind is ActivityReply and values["state"] not in ACTIVITIES:
        raise RunError("ActivityReply.state: not of the closed list.")
    elif kind is RevealReply and values["refused"] not in PUBLIC_CODES | {""}:
        values["refused"] = "error"
    return cast("Request | Reply", kind(**values))


def spoken_in(records: RecordDict) -> int:
    """The protocol that this message is in. OtherProtocolError for one that this release does not speak."""
    spoken = _section(records, "config").get("protocol")
    if type(spoken) is not int or spoken not in HERE.wire:
        raise OtherProtocolError(spoken)
    return spoken


def answered_in(records: RecordDict) -> int:
    """The protocol for the answer to this request: its own. For a newer one the newest of this release, by which the
    other side learns what is spoken here; for what is no request the first one.
    """
    try:
        return spoken_in(records)
    except OtherProtocolError as error:
        return PROTOCOL if error.spoken > PROTOCOL else FIRST
    except RunError:
        return FIRST


def activity_in(records: RecordDict) -> ActivityReply | OtherProtocolError | None:
    """What a site says that it does, or that it speaks another protocol; None for anything else."""
    try:
        reply = from_records(records)
    except OtherProtocolError as error:
        return error
    except RunError:
        return None
    return reply if isinstance(reply, ActivityReply) else None


def refusal_for(error: WardroundError, protocol: int = FIRST) -> RecordDict:
    """The records of a refusal with an error's public code; for an older side with a code that it knows."""
    if isinstance(error, OtherProtocolError) and error.older:
        return to_records(Refusal(RunError.code), error.spoken)
    return to_records(Refusal(error.code), protocol)


def _plan(records: RecordDict, protocol: int) -> RoundPlan:
    values = _checked("plan", _section(records, "plan"), _PLAN_FIELDS | _ASKS[protocol], set())
    if values.get("evaluate", "") not in ("", *PARTS):
        raise RunError("plan.evaluate: not a part of the cohort.")
    if protocol < WITH_INQUIRIES:
        values["asks"] = asks_of(*(values.pop(name) for name in _ASKS[protocol]))
    opened = {}
    if protocol >= WITH_INQUIRIES:
        sums = records.get("opened")
        if not isinstance(sums, ArrayRecord):
            raise RunError("A message without its section 'opened'.")
        opened = {key: _array(records, "opened", key, np.float64) for key in sums}
    if not 0 <= values["seconds"] < float("inf"):  # NaN is neither
        raise RunError("plan.seconds: not a time.")
    stored = records.get("normaliser")
    names = sorted({key.rpartition("/")[0] for key in stored}) if isinstance(stored, ArrayRecord) else []
    normaliser = {
        name: (
            _array(records, "normaliser", f"{name}/mean", np.float64),
            _array(records, "normaliser", f"{name}/sd", np.float64),
        )
        for name in names
    }
    weights = _array(records, "weights", "weights", np.float32)
    return RoundPlan(**values, owners=_owners(records), weights=weights, normaliser=normaliser, opened=opened)


def _owners(records: RecordDict) -> dict[str, tuple[str, ...]]:
    owners = {}
    for group, sites in _section(records, "owners").items():
        if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
            raise RunError("plan.owners: not lists of sites.")
        owners[group] = tuple(str(site) for site in sites)
    return owners


def _section(records: RecordDict, name: str) -> ConfigRecord:
    section = records.get(name)
    if not isinstance(section, ConfigRecord):
        raise RunError(f"A message without its section {name!r}.")
    return section


def _checked(where: str, config: ConfigRecord, fields: dict[str, type], also: set[str]) -> dict[str, Any]:
    if set(config) != set(fields) | also:
        raise RunError(f"{where}: not exactly the fields that it has.")
    values: dict[str, Any] = {}
    for name, kind in fields.items():
        value = config[name]
        if type(value) is not kind or (isinstance(value, list) and not _alike(value, name)):
            raise RunError(f"{where}.{name}: not of its type.")
        values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _alike(items: list[Any], name: str) -> bool:
    kind = bytes if name in ("offers", "confirmations") else str
    return all(type(item) is kind for item in items)


def _raw(vector: NDArray[Any]) -> Array:
    """A vector's own bytes, little endian. Flower's form for arrays would copy a large one twice more each way."""
    data = vector.astype(vector.dtype.newbyteorder("<"), copy=False).tobytes()
    return Array(vector.dtype.name, vector.shape, RAW, data)


def _array(records: RecordDict, section: str, key: str, dtype: type[np.generic]) -> NDArray[Any]:
    arrays = records.get(section)
    if not isinstance(arrays, ArrayRecord) or key not in arrays:
        raise RunError(f"{section}: the array is missing.")
    array, kind = arrays[key], np.dtype(dtype)
    if (array.dtype, array.stype) != (kind.name, RAW) or array.shape != (len(array.data) // kind.itemsize,):
        raise RunError(f"{section}: the array is not a vector of {kind.name}.")
    if len(array.data) % kind.itemsize:
        raise RunError(f"{section}: the array does not have all of its bytes.")
    read = np.frombuffer(array.data, dtype=kind.newbyteorder("<"))
    return read.astype(kind, copy=False)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
