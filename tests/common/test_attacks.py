"""What a hostile site, coordinator or letter writer could put into messages and files, and what it costs the reader."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from common.errors import RunError
from common.messages import LARGEST_HEAD, from_bytes
from common.parcels import HEAD, Arriving


def a_message(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Records with one array that says this of itself, as nobody's program writes them."""
    records = ProtoRecordDict()
    item = records.items.add(key="weights").array_record.items.add(key="weights")
    item.value.dtype = dtype
    item.value.shape.extend(shape)
    head = records.SerializeToString()
    return len(head).to_bytes(8, "big") + head


@pytest.mark.parametrize("dtype", ["(2,f4", "(1,2)f4, (", "O", "V2147483647", "f4,f4", "(" * 500])
def test_the_name_of_a_type_is_looked_up_and_not_read(dtype: str) -> None:
    """NumPy reads some of these as Python, and its SyntaxError would end a coordinator's run."""
    with pytest.raises(RunError):
        from_bytes(a_message(dtype, (0,)))


def test_the_dimensions_of_an_array_are_not_multiplied() -> None:
    """400 kB of them kept a reader busy for 15 seconds, and 4 MB for half an hour."""
    message, began = a_message("float32", (2**31 - 1,) * 80_000), time.monotonic()
    with pytest.raises(RunError):
        from_bytes(message)
    assert time.monotonic() - began < 2


def test_dimensions_below_nothing_make_no_array() -> None:
    for shape in ((-1, -4), (-1,), ()):
        with pytest.raises(RunError):
            from_bytes(a_message("float32", shape))


def test_what_is_beside_the_vectors_is_bounded() -> None:
    """Two bytes of it can be a hundred in memory."""
    size = LARGEST_HEAD + 1
    with pytest.raises(RunError, match="more beside its vectors"):
        from_bytes(size.to_bytes(8, "big") + bytes(size))


@pytest.mark.parametrize(
    "told", ['{"size": Infinity, "chunks": []}', '{"size": 1, "chunks": ' + "[" * 90_000, '{"size": [1], "chunks": 0}']
)
def test_a_parcel_with_an_odd_head_is_refused_in_words(told: str) -> None:
    """Any other error would end the run of the coordinator that fetches it."""
    body = len(told).to_bytes(4, "big") + told.encode()
    content = f"{HEAD}  {len(body)}".encode() + b"\0" + body
    answer = SimpleNamespace(object_found=True, object_available=True, object_content=content)
    with pytest.raises(RunError, match="without its head"):
        Arriving("it", lambda name: answer).whole()
