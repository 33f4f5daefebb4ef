"""The wire: every message comes back as it was, and records that are not this protocol's are refused in words."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_to_proto

from common.errors import RunError
from common.messages import (
    RAW,
    ConfirmReply,
    ConfirmRequest,
    JoinReply,
    JoinRequest,
    OfferReply,
    OfferRequest,
    Refusal,
    RevealReply,
    RevealRequest,
    RoundReply,
    RoundRequest,
    from_records,
    to_records,
)
from common.plan import RoundPlan
from common.record_bytes import from_bytes, to_bytes

PLAN = RoundPlan(
    "ab" * 32,
    "0" * 16,
    3,
    1,
    ("update", "validation"),
    ("a", "b", "c"),
    {"shared": ("a", "b", "c"), "image": ()},
    np.arange(5, dtype=np.float32),
    {"labs": (np.array([1.0, 2.0]), np.array([0.5, 0.25]))},
)
REPLY = RoundReply(b"head", np.arange(7, dtype=np.uint8), 4, 1.5, -1.0)
MESSAGES = [
    JoinRequest("0" * 16, "ab" * 32, "cd" * 32, 7),
    JoinReply(b"member"),
    OfferRequest(b"context"),
    OfferReply(b"offer"),
    RoundRequest(7, PLAN, (b"one", b"two")),
    REPLY,
    ConfirmRequest(7, ("a", "c")),
    ConfirmReply(b"confirmation"),
    RevealRequest(7, (b"x", b"y"), b"next"),
    RevealRequest(7, ()),
    RevealReply(b"reveal", b"offer"),
    RevealReply(b"reveal", b"", "identity"),
    Refusal("budget"),
]


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, RoundPlan):
        return isinstance(other, RoundPlan) and one.digest == other.digest
    return one == other


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_come_back(message):
    back = from_records(to_records(message))
    assert type(back) is type(message)
    assert all(same(getattr(message, field.name), getattr(back, field.name)) for field in fields(message))


def test_a_large_vector_is_copied_once_each_way():
    """Its record holds its very bytes, and reading them makes no copy."""
    records = to_records(REPLY)
    array = records["masked"]["masked"]
    assert array.data == REPLY.masked.tobytes()
    back = from_records(records)
    assert not back.masked.flags.owndata


@pytest.mark.parametrize(
    "array",
    [
        Array("float32", (7,), RAW, bytes(28)),
        Array("uint8", (8,), RAW, bytes(7)),
        Array("uint8", (7, 1), RAW, bytes(7)),
        Array("uint8", (), RAW, bytes(1)),
        Array("uint8", (7,), "pickle", bytes(7)),
        Array(np.arange(7, dtype=np.uint8)),
    ],
)
def test_arrays_of_another_form_are_refused(array):
    records = to_records(REPLY)
    records["masked"] = ArrayRecord({"masked": array})
    with pytest.raises(RunError, match="masked"):
        from_records(records)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 19), ("float64", 20)])
def test_weights_that_are_cut_or_of_another_type_are_refused(dtype, size):
    records = to_records(MESSAGES[4])
    records["weights"] = ArrayRecord({"weights": Array(dtype, (size // 4,), RAW, bytes(size))})
    with pytest.raises(RunError, match="weights"):
        from_records(records)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_missing_added_and_mistyped_fields_are_refused(message):
    for change in ("missing", "added", "mistyped", "protocol", "kind", "empty"):
        records = to_records(message)
        config = dict(records["config"])
        name = next(key for key in config if key not in ("kind", "protocol"))
        if change == "missing":
            del config[name]
        elif change == "added":
            config["surplus"] = 1
        elif change == "mistyped":
            config[name] = 0.5 if not isinstance(config[name], float) else 1
        elif change in ("protocol", "kind"):
            config[change] = 1 if change == "protocol" else "Surprise"
        records["config"] = ConfigRecord(config)
        with pytest.raises(RunError):
            from_records(RecordDict() if change == "empty" else records)


def test_a_code_outside_the_closed_list_becomes_the_unspoken_one():
    assert from_records(to_records(Refusal("patient Smith"))) == Refusal("error")
    assert from_records(to_records(RevealReply(b"", b"", "patient Smith"))) == RevealReply(b"", b"", "error")


@pytest.mark.parametrize("spoil", ["cut", "longer", "head cut", "size", "inside", "shape", "dtype"])
def test_bytes_that_do_not_hold_their_arrays_are_refused(spoil):
    records = RecordDict({"a": ArrayRecord({"v": Array("uint32", (3,), "little-endian", bytes(12))})})
    array = records["a"]["v"]
    if spoil == "shape":
        array.shape = (1 << 30, 1 << 30, 1 << 30)
    elif spoil == "dtype":
        array.dtype = "of the other side's choice"
    data = to_bytes(records)
    assert len(array.data) == 12, "what is sent stays as it was"
    size = int.from_bytes(data[:8], "big")
    inside = recorddict_to_proto(records).SerializeToString()
    spoilt = {
        "cut": data[:-1],
        "longer": data + b"x",
        "head cut": data[:9],
        "size": (size + 1).to_bytes(8, "big") + data[8:],
        "inside": len(inside).to_bytes(8, "big") + inside,
    }.get(spoil, data)
    with pytest.raises(RunError):
        from_bytes(spoilt)


def test_arrays_of_several_records_find_their_own_data_again():
    records = RecordDict(
        {
            name: ArrayRecord({key: Array("uint8", (n,), "little-endian", bytes([n]) * n) for key, n in keys.items()})
            for name, keys in {"b": {"z": 2, "a": 0}, "a": {"m": 5}}.items()
        }
    )
    for form in (bytes, bytearray):
        again = from_bytes(form(to_bytes(records)))
        for name, record in records.items():
            assert {key: bytes(item.data) for key, item in again[name].items()} == {
                key: item.data for key, item in record.items()
            }


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_any_bit_that_is_turned_leaves_a_message_or_a_refusal(message):
    """Nothing else is raised: in the coordinator's run it would end the run."""
    data = to_bytes(to_records(message))
    read = 0
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        with suppress(RunError):
            from_records(from_bytes(spoilt))
            read += 1
    assert read < 8 * len(data)
