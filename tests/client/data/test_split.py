"""Split: stable when data grows, of the sizes that the study names, the same wherever it is computed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from client.data.split import part_by_hash, part_by_word, rank
from common.study import Split

PATIENTS = st.sets(st.text(min_size=1, max_size=12), max_size=30)


@given(before=PATIENTS, more=PATIENTS, key=st.text(max_size=8))
def test_a_patient_keeps_its_part_when_others_come_and_go(before: set[str], more: set[str], key: str) -> None:
    split = Split(key=key)
    then = {patient: part_by_hash(patient, split) for patient in sorted(before)}
    now = {patient: part_by_hash(patient, split) for patient in sorted(before | more, reverse=True)}
    assert all(now[patient] == part for patient, part in then.items())


def test_parts_have_the_sizes_of_the_study() -> None:
    split = Split(validation=0.1, test=0.2)
    sizes = Counter(part_by_hash(f"patient {number}", split) for number in range(10_000))
    assert abs(sizes["test"] - 2000) < 160 and abs(sizes["validation"] - 1000) < 120
    assert set(Counter(part_by_hash(str(n), Split(validation=0, test=0)) for n in range(200))) == {"train"}


def test_a_larger_test_part_only_takes_from_the_others() -> None:
    small, large = Split(validation=0.1, test=0.2), Split(validation=0.1, test=0.4)
    for number in range(500):
        if part_by_hash(str(number), small) == "test":
            assert part_by_hash(str(number), large) == "test"


def test_another_key_is_another_split() -> None:
    parts = [[part_by_hash(str(number), Split(key=key)) for number in range(100)] for key in ("a", "b")]
    assert parts[0] != parts[1]


def test_the_hash_never_changes() -> None:
    """Old test patients must stay test patients in every later release."""
    assert rank("MRN-7040000", Split(key="wardround")) == 11919079339099939188
    assert [part_by_hash(f"MRN-{number}", Split()) for number in range(7040004, 7040008)] == [
        *("train", "validation", "train", "test")
    ]


def test_words_of_a_column() -> None:
    split = Split(column="fold", validation_values=["4"], test_values=["5", "6"])
    assert [part_by_word(word, split) for word in "1456"] == ["train", "validation", "test", "test"]
