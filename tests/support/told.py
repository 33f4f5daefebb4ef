"""What a release reads in the bytes of a message, and how it writes that message itself. Run with another release's
source as PYTHONPATH it says so of that one: one pickled message in, one pickled answer out, until nothing more comes.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import fields
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from common.messages import Reply, Request, from_records, to_records
from common.plan import RoundPlan
from common.record_bytes import from_bytes

Told = tuple[str, dict[str, Any], dict[str, Any]]


def told(data: bytes) -> Told:
    """The kind of the message, its fields, and the content of the records that this release makes of it."""
    return said(from_records(from_bytes(data)))


def said(message: Request | Reply) -> Told:
    """The same of a message that was not sent."""
    values = {field.name: _plain(getattr(message, field.name)) for field in fields(message)}
    return type(message).__name__, values, content(to_records(message))


def content(records: RecordDict) -> dict[str, Any]:
    """Every value in records, each with its type."""
    return {
        name: {
            key: (item.dtype, item.shape, item.stype, bytes(item.data))
            if isinstance(record, ArrayRecord)
            else (type(item).__name__, item)
            for key, item in record.items()
        }
        for name, record in records.items()
    }


def _plain(value: Any) -> Any:
    """A plan by its digest, which is over every field of it."""
    if isinstance(value, RoundPlan):
        return value.digest
    return (value.dtype.name, value.tobytes()) if isinstance(value, np.ndarray) else value


if __name__ == "__main__":
    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            break
        pickle.dump(told(asked), sys.stdout.buffer)
        sys.stdout.buffer.flush()
