"""Several sums without privacy of which no honest site is in all: what they show together is nothing, where all wait.

Each site keeps the sets that it was in, and the coordinator has the sums over all of them. Each attack is played to its
end where a person at the sites allows the sets, which proves that it is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.data.split import PARTS
from common.messages import ConfirmRequest
from common.study import Study
from tests.support.scripted import PLAIN, Hospitals, Sum, allowed, cohort_of, refused
from tests.support.tiny import study_of


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def all_waiting(folder: Path, study: Study, names: Sequence[str]) -> Hospitals:
    cohorts: dict[str, Cohort] = {}
    for place, name in enumerate(names):
        cohort = cohort_of(study, name, seed=10 * place, patients=20 + place)
        sides = {f"{part} {i}": part for part in PARTS for i in range(len(getattr(cohort, part)))}
        cohorts[name] = replace(cohort, sides=sides)
    return Hospitals(folder, study, names=names, cohorts=cohorts, smallest_part=10, lost_site="wait")


def scores_over(them: Hospitals, number: int, names: Sequence[str]) -> Sum:
    """A score of the same weights but for one of them, in its last digit, up to the masked vectors."""
    weights = them.weights.copy()
    weights[0] += np.float32(number * 1e-6)
    owners = dict.fromkeys(("shared", "chart", "panel"), tuple(names))
    asked = {"round": 1, "asks": ("validation",), "weights": weights, "owners": owners}
    return them.masked(them.offered(number, names=tuple(names), run=f"{number:016x}", **asked))


def allowed_by_all(them: Hospitals, names: Sequence[str]) -> list[str]:
    """A person at each of these allows sums over them; what each is told."""
    keys = {name: them.roster.sites[name].hex() for name in names}
    return [line for name in names for line in allowed(them.folder / name, keys)]


def cases(sums: Mapping[str, NDArray[np.float64]]) -> int:
    return int(sums["scores/cases"][0])


def test_three_sums_of_which_each_site_knows_two_do_not_show_the_one_that_they_leave_out(tmp_path, study) -> None:
    """{a b c d e f g} less {a b c} less {e f g} is d. In every site's own partition there is nothing small."""
    them = all_waiting(tmp_path, study, "abcdefg")
    seven = cases(them.opened(scores_over(them, 1, "abcdefg"), "abcdefg"))
    parts = [scores_over(them, number, names) for number, names in ((2, "abc"), (3, "efg"))]
    for sum in parts:
        for name in sum.context.names:
            request = ConfirmRequest(sum.context.number, sum.context.names)
            assert refused(them, name, request) == "answered"
    again = them.opened(scores_over(them, 4, "abcdefg"), "abcdefg")
    assert cases(again) == seven, "over the same sites as before"


def test_where_persons_allow_the_three_sets_they_show_whom_none_of_them_was_told_of(tmp_path, study) -> None:
    """What is left: a person is told what the sums show that this site was in. d is in one of the three, and is not
    asked.
    """
    them = all_waiting(tmp_path, study, "abcdefg")
    seven = cases(them.opened(scores_over(them, 1, "abcdefg"), "abcdefg"))
    told = allowed_by_all(them, "abc") + allowed_by_all(them, "efg")
    assert not any(" alone" in line or " together" in line for line in told)
    assert sum("sums that this site was not in" in line for line in told) == 6
    three, others = (
        cases(them.opened(scores_over(them, number, names), names)) for number, names in ((2, "abc"), (3, "efg"))
    )
    assert seven - three - others == len(them.cohorts["d"].validation)


def test_a_colluder_that_keeps_nothing_is_no_bridge_between_two_sets(tmp_path, study) -> None:
    """{a b c d e f} less {a b f} less {d e f} was what c added, less what f did, which f knows."""
    them = all_waiting(tmp_path, study, "abcdef")
    them.opened(scores_over(them, 1, "abcdef"), "abcdef")
    for number, names, honest in ((2, "abf", "ab"), (3, "def", "de")):
        for file in ("secure_sum.db", "audit.jsonl"):
            (tmp_path / "f" / file).unlink()
        them.sites["f"] = them.start("f")
        scores_over(them, number, names)
        for name in honest:
            assert refused(them, name, ConfirmRequest(number, tuple(names))) == "answered"
        them.ask("f", ConfirmRequest(number, tuple(names)))
