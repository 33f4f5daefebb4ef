"""What a hostile site, coordinator or letter writer could put into messages and files, and what it costs the reader."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

from common.errors import RunError, StudyError
from common.messages import RoundReply, from_records, to_records
from common.network.flower_objects import CHUNK_BYTES, HEAD, Arriving, Contents, Parcel
from common.record_bytes import LARGEST_HEAD, from_bytes
from common.study import parse_study, study_text
from tests.support.tiny import study_of


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


def test_a_chunk_that_is_named_a_thousand_times_makes_no_message() -> None:
    """A site that sent 5 MiB filled 4 GiB at the coordinator with them."""
    parcel, asked = Parcel.of("x", Contents.of(bytes(100 * CHUNK_BYTES))), list[str]()

    def pull(name: str) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(object_found=True, object_available=True, object_content=parcel.object(name))

    assert len(parcel.children) == 1
    with pytest.raises(RunError, match="does not fit its contents"):
        Arriving(parcel.key, pull, 99 * CHUNK_BYTES).whole()
    assert asked == [parcel.key]
    assert Arriving(parcel.key, pull, 100 * CHUNK_BYTES).whole() == bytes(100 * CHUNK_BYTES)


@pytest.mark.parametrize("epsilon", [float("nan"), float("inf"), -2.0])
@pytest.mark.parametrize("name", ["epsilon", "held_out_epsilon"])
def test_an_epsilon_that_is_none_is_not_taken_for_one(name: str, epsilon: float) -> None:
    """The report shows it as what the patients paid; and one site without one hid those of all."""
    reply = RoundReply(b"", np.zeros(4, np.uint8), 1, 0.5, -1.0)
    assert isinstance(from_records(to_records(reply)), RoundReply)
    for wrong in (replace(reply, **{name: epsilon}), replace(reply, steps=-1)):
        with pytest.raises(RunError, match="no epsilon"):
            from_records(to_records(wrong))


# ------------------------------------------------------------------------------ files that somebody else has written


def test_aliases_of_aliases_are_not_followed() -> None:
    """A kilobyte of merged aliases took half a minute at nine levels, and nine times that with each one more."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 30)
    )
    began = time.monotonic()
    with pytest.raises(StudyError, match="alias"):
        parse_study(bomb)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("text", ["[" * 100_000, "a: 2001-99-99", "a: " + "1" * 10_000, "? [a]\n: 1", "? {a: b}\n: 1"])
def test_yaml_that_is_no_value_is_a_mistake_in_the_file_and_none_of_the_program(text: str) -> None:
    with pytest.raises(StudyError):
        parse_study(text)


@pytest.mark.parametrize(
    "text", ['"\\e[2J\\e]0;x\\a": 1', 'study: a\nmodalities: {"\\e[2Jx": {kind: record}}', "a: !%1b[2J x"]
)
def test_what_is_said_of_a_wrong_file_commands_no_terminal(text: str) -> None:
    with pytest.raises(StudyError) as said:
        parse_study(text)
    assert all(sign.isprintable() or sign == "\n" for sign in str(said.value))


@pytest.mark.parametrize(
    "name", ["yes\x1b[2J", "yes\nDifferential privacy: epsilon 0.1", "\u202edead", "y" + " " * 200]
)
def test_no_text_of_a_study_can_hide_or_forge_what_a_person_approves(name: str) -> None:
    """Cleared screens, forged lines, reversed or very long words: the class names are shown at approval."""
    study = study_of("chart")
    with pytest.raises(ValueError, match="a text has at most"):
        replace(study, task=replace(study.task, classes=["no", name]))
    with pytest.raises(StudyError, match="a text has at most"):
        parse_study(study_text(study).replace(f"- {study.task.classes[1]}\n", f"- {json.dumps(name)}\n"))
