"""Flower records as bytes, for a socket or a file, and back: the vectors are copied once, and never parsed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from flwr.app import Array, ArrayRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict
from google.protobuf.message import DecodeError

from common.errors import RunError

_ITEM_BYTES = {"uint8": 1, "float32": 4, "float64": 8}  # of the vectors that are sent; NumPy reads no type from outside
LARGEST_HEAD = 32 << 20  # bytes without the vectors: the offers of 300 sites fit. In memory it is many times that
SMALL_HEAD, PAIR_BYTES = 128 << 10, 512  # of them: without offers, and for each pair of sites with them


def to_bytes(records: RecordDict) -> bytes:
    """Records as bytes, for a socket or a file: Flower's form of them without the arrays' data, then the data.

    A vector is copied once, into the bytes: Flower's own form of it would be two copies more.
    """
    arrays = list(_arrays(records))
    held = [array.data for array in arrays]
    try:
        for array in arrays:
            array.data = b""
        head = recorddict_to_proto(records).SerializeToString()
    finally:
        for array, data in zip(arrays, held, strict=True):
            array.data = data
    return b"".join((len(head).to_bytes(8, "big"), head, *held))


def head_bytes(sites: int) -> int:
    """The most that a message among so many sites has beside its vectors: the offers hold a box for each pair.

    Parsing takes a second for each of its megabytes, and forty times its memory.
    """
    return min(LARGEST_HEAD, SMALL_HEAD + sites * sites * PAIR_BYTES)


def from_bytes(data: bytes | bytearray, largest: int = LARGEST_HEAD) -> RecordDict:
    """The reverse of `to_bytes`; the arrays' data is seen in `data`, not copied. RunError for bytes that are none.

    `largest`: bytes beside the vectors; more are refused before they are parsed.
    """
    size, view = 8 + int.from_bytes(data[:8], "big"), memoryview(data)
    if size > min(largest, LARGEST_HEAD):
        raise RunError("A message with more beside its vectors than any site sends.")
    try:
        records = recorddict_from_proto(ProtoRecordDict.FromString(bytes(data[8:size])))
        for array in _arrays(records):
            (count,) = array.shape
            length = _ITEM_BYTES[array.dtype] * count
            if array.data or count < 0 or size + length > len(data):
                raise ValueError
            array.data, size = cast(bytes, view[size : size + length]), size + length
    except (DecodeError, ValueError, TypeError, KeyError, AttributeError):  # the last: of a value without a kind
        raise RunError("A message that is not made of Flower records.") from None
    if size != len(data):
        raise RunError("A message that is longer or shorter than its records.")
    return records


def _arrays(records: RecordDict) -> Iterator[Array]:
    """In the order of the records, and of each record's own."""
    for record in records.values():
        if isinstance(record, ArrayRecord):
            yield from record.values()
