"""What is kept of cuts, words and versions decides what is answered later: one test of each rule of keeping."""

from __future__ import annotations

import json

import pytest

from client.data.recipe import Rules
from client.exact_sums.cut import Cut
from client.exact_sums.cuts import allow, asked_about, opening
from client.exact_sums.cuts_file import FILE, read
from common.disk.audit import AUDIT_FILE
from common.errors import AnsweredError

BASE = {f"t{i}": ("train", "ab") for i in range(40)}


def cut(who, used, *, out=(), split="", target="t", reads="ab"):
    """patient -> part and modalities; a part of fewer than ten is not signed."""
    parts = {one: part for one, (part, _) in who.items()}
    having = {one: frozenset(names) & frozenset(reads) for one, (_, names) in who.items()}
    new = Cut(parts, having, frozenset(used), frozenset(), frozenset(out), Rules(target, split, {m: m for m in reads}))
    sides = [*new.sides.values()]
    signed = frozenset(part for part in ("train", "validation", "test") if sides.count(part) >= 10)
    return Cut(parts, having, new.used, signed, new.out, new.rules)


def some(name, number, part, names="ab"):
    return {f"{name}{i}": (part, names) for i in range(number)}


def without_versions(state):
    """As a release wrote it that kept none."""
    book = json.loads((state / FILE).read_text())
    for use in book["uses"]:
        use["changes"], use["last"] = [], []
    (state / FILE).write_text(json.dumps(book))
    (state / AUDIT_FILE).unlink()


def test_of_before_versions_a_patient_left_the_sums_by_the_modalities_of_these(tmp_path):
    for used in ("a", "ab"):
        opening(tmp_path, "a", cut(BASE | some("x", 1, "train"), used), 10)
    without_versions(tmp_path)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", cut(BASE, "b", out=["x0"], reads="b"), 10)


def test_a_word_that_was_not_needed_lets_the_earlier_study_not_differ(tmp_path):
    opening(tmp_path, "a", cut(BASE | some("x", 10, "train", "a"), "a", reads="a"), 10)
    few = cut(BASE, "b", out=some("x", 10, "train"), reads="b")
    assert asked_about(tmp_path, "b", few, 10) == 10
    allow(tmp_path, "b", few)
    opening(tmp_path, "b", cut(BASE | some("x", 10, "train", "b"), "b", reads="b"), 10)
    with pytest.raises(AnsweredError, match="as few as 10"):
        opening(tmp_path, "a", cut(BASE, "a", out=some("x", 10, "train"), reads="a"), 10)


def test_what_a_person_allowed_is_asked_about_no_more(tmp_path):
    opening(tmp_path, "a", cut(BASE, "ab"), 10)
    now = cut(BASE | some("t", 20, "test"), "ab")
    with pytest.raises(AnsweredError):
        opening(tmp_path, "b", now, 10)
    assert read(tmp_path).refused
    allow(tmp_path, "b", now)
    assert not read(tmp_path).refused


def test_who_comes_later_comes_into_no_entry_of_a_word(tmp_path):
    opening(tmp_path, "a", cut(BASE, "ab"), 10)
    allow(tmp_path, "b", cut(BASE | some("t", 20, "test"), "ab"))
    opening(tmp_path, "a", cut(BASE | some("new", 1, "train"), "ab"), 10)
    assert [one.allowed for one in read(tmp_path).cuts if "new0" in one.sides] == [[]]


def test_a_modality_that_a_later_run_uses_is_counted(tmp_path):
    """Ten move, of whom one has a."""
    who = BASE | some("m", 9, "train", "b") | some("x", 1, "train")
    for used in ("b", "ab"):
        opening(tmp_path, "a", cut(who, used), 10)
    now = cut(who | some("m", 9, "test", "b") | some("x", 1, "test"), "ab")
    allow(tmp_path, "b", now)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", now, 10)


def test_who_was_only_in_a_part_that_is_not_signed_came_into_no_sum(tmp_path):
    """x had no a, then a in a part that nobody signs, then a gap in the split: another split's test part showed x, for
    the other ten of it are new.
    """
    for x, out in (({"x": ("test", "b")}, ()), ({"x": ("test", "ab")}, ()), ({}, ["x"])):
        opening(tmp_path, "a", cut(BASE | x, "a", out=out, split="year"), 10)
    now = cut(BASE | some("new", 10, "test") | {"x": ("test", "ab")}, "a", split="ward")
    allow(tmp_path, "b", now)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", now, 10)


def test_a_second_word_takes_back_none_of_the_first(tmp_path):
    opening(tmp_path, "a", cut(BASE, "ab"), 10)
    both = cut(BASE | some("t", 20, "test"), "ab")
    allow(tmp_path, "b", both)
    allow(tmp_path, "b", cut({one: what for one, what in both_of(both).items() if one not in some("t", 10, "")}, "ab"))
    opening(tmp_path, "b", both, 10)


def both_of(cut):
    return {one: (part, "ab") for one, part in cut.parts.items()}


def test_of_before_versions_who_came_was_in_the_sums(tmp_path):
    for x, out in (({}, ["x"]), ({"x": ("train", "a")}, ())):
        opening(tmp_path, "a", cut(BASE | x, "a", out=out, reads="a"), 10)
    without_versions(tmp_path)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", cut(BASE, "b", out=["x"], reads="b"), 10)


def test_who_was_in_a_part_that_was_not_signed_stays_in_no_sum(tmp_path):
    """The five were in no sum of the first study: whom the second one takes newly are fifteen."""
    gap = some("x", 15, "train")
    opening(tmp_path, "a", cut(BASE | some("v", 5, "test"), "ab", out=gap, split="year"), 10)
    now = cut(BASE | gap | some("v", 60, "test"), "ab", split="ward")
    assert asked_about(tmp_path, "b", now, 10) == 15
    allow(tmp_path, "b", now)
    opening(tmp_path, "b", now, 10)


@pytest.mark.parametrize("study", ["a", "b"])
def test_a_part_that_grew_until_it_is_signed_shows_nobody(tmp_path, study):
    for number in range(5, 61):
        opening(tmp_path, "a", cut(BASE | some("v", number, "test"), "ab"), 10)
    assert asked_about(tmp_path, study, cut(BASE | some("v", 60, "test"), "ab"), 10) == 0
    opening(tmp_path, study, cut(BASE | some("v", 60, "test"), "ab"), 10)


def test_a_whole_part_is_no_group(tmp_path):
    """Three validation patients have b: the sum of one study says it."""
    held = some("v", 3, "validation") | some("w", 9, "validation", "a")
    x, y = some("x", 10, "train"), some("y", 10, "train")
    opening(tmp_path, "a", cut(BASE | held | y, "ab", out=x, split="year"), 10)
    now = cut(BASE | held | x, "ab", out=y, split="ward")
    assert asked_about(tmp_path, "b", now, 10) == 10
    allow(tmp_path, "b", now)
    opening(tmp_path, "b", now, 10)
