"""The tests of privacy are tested: each planted mistake is noticed by at least one of the tests that it names.

A file of tests/privacy/mutants/ with a tuple MUTANTS is a list of mistakes; a new file is found by itself.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.mutants.mutant import Mutant
from tests.support.forked import start

ROOT = Path(__file__).resolve().parents[2]
LISTS = sorted(path.stem for path in Path(__file__).with_name("mutants").glob("*.py") if path.stem != "mutant")
ALL: tuple[Mutant, ...] = tuple(
    mutant for name in LISTS for mutant in importlib.import_module(f"tests.privacy.mutants.{name}").MUTANTS
)
# Those of each kind that the soak plays; `make mutants` plays all, which takes most of an hour.
SOAK = {
    "a failure after the charge is refused", "a patient of whom the work fails takes everybody out",
    "a sample of a fixed size", "any set of sites", "modality dropout from a seed", "no charge",
    "no noise in the steps that a clock cut off", "scores without noise", "sets of sites compared in pairs",
    "statistics without noise", "steps without noise", "who changed sides is moved",
}  # fmt: skip
QUICK = {"statistics are not charged", "the charge after the work", "other studies are not counted"}


def played(told: Any, mutant: Mutant | None, tests: tuple[str, ...]) -> None:
    """Run the tests with the mistake in the product; tell pytest's exit code, and whether the mistake was reached."""
    os.chdir(ROOT)
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    arguments = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "soak or not soak", *tests]
    if mutant is None:
        told.send((int(pytest.main(arguments)), True))
        return
    with mutant.planted():
        code = int(pytest.main(arguments))
    told.send((code, bool(mutant.reached)))


def outcome(mutant: Mutant | None, tests: tuple[str, ...]) -> tuple[int, bool]:
    process, mine = start(played, mutant, tests, daemon=False)  # a test that is played may start processes
    code, reached = mine.recv()
    process.join()
    return code, reached


def require_noticed(mutant: Mutant) -> None:
    code, reached = outcome(mutant, mutant.tests)
    assert reached or code == pytest.ExitCode.TESTS_FAILED, f"{mutant.name}: {mutant.target} is not called: where else?"
    assert code == pytest.ExitCode.TESTS_FAILED, f"nobody noticed: {mutant.name}"


def test_there_are_mutants_each_with_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in ALL}) == len(ALL) > 20
    assert {mutant.name for mutant in ALL} >= SOAK | QUICK


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_mutant_still_applies_to_the_product(mutant: Mutant) -> None:
    assert mutant.original is not None and callable(mutant.make(mutant.original))
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), test


def test_one_that_no_longer_applies_is_named() -> None:
    with pytest.raises(LookupError, match=r"client\.round\.round\.gone is no more"):
        _ = Mutant("gone", "client.round.round.gone", lambda original: original, ()).original


@pytest.mark.parametrize("mutant", [one for one in ALL if one.name in QUICK], ids=lambda mutant: mutant.name)
def test_the_worst_mutants_are_noticed(mutant: Mutant) -> None:
    require_noticed(mutant)


@pytest.mark.soak
@pytest.mark.parametrize("mutant", [one for one in ALL if one.name in SOAK], ids=lambda mutant: mutant.name)
def test_a_mutant_of_each_kind_is_noticed(mutant: Mutant) -> None:
    require_noticed(mutant)


@pytest.mark.mutants
def test_the_tests_pass_without_a_mutant() -> None:
    code, _ = outcome(None, tuple(sorted({test for mutant in ALL for test in mutant.tests})))
    assert code == pytest.ExitCode.OK


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_every_mutant_is_noticed(mutant: Mutant) -> None:
    require_noticed(mutant)
