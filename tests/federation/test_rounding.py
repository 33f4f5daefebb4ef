"""How far the secure sum moves a model: by its rounding, and no further.

One round. Each site's summand moves by less than one step of its segment, so the sum over n sites by less than n steps,
and the mean update by less than n steps / (sum of the weights). That is a bound, and it holds for every parameter.

Five rounds. Each begins where the one before ended, and training may carry a small difference on as a larger one; so
there is no proven bound without one on training. What is asked is what holds if training does not amplify: that five
rounds differ by no more than five times the bound of one, and five roundings of the float32 weights. Measured, they
differ by half to one and a half of one round's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from client.round.round import work
from common.plan import RoundPlan
from common.questions import layout_of
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.study import Study
from tests.support.scripted import NAMES, Hospitals
from tests.support.tiny import study_of

ROUNDS = 5
Values = Mapping[str, NDArray[np.float64]]


def study_with(bits: int) -> Study:
    return study_of("chart", "panel", privacy={"mode": "none"}, secure_sum={"bits": bits}, rounds=ROUNDS)


def plain_sum(them: Hospitals, plan: RoundPlan) -> Values:
    """The same work at the same sites, added in float64: no rounding, no masks."""
    layout = layout_of(plan, them.study, them.parameters, None)
    total = np.zeros(layout.length)
    for name in them.names:
        done = work(plan, them.sites[name].site)
        total += layout.join({part.segment.name: (part.values, part.factor) for part in done.summand.parts})
    return layout.part(total)


def stepped(them: Hospitals, weights: NDArray[np.float32], total: Values) -> NDArray[np.float32]:
    """Federated averaging."""
    mean = np.zeros(weights.size)
    for group in them.parameters.groups:
        mean[them.parameters.slice(group)] = total[f"update/{group}"] / total[f"weight/{group}"][0]
    return (weights + mean).astype(np.float32)


def bound(them: Hospitals, plan: RoundPlan, total: Values) -> float:
    """Of one round, for the parameter that it is loosest for."""
    layout = layout_of(plan, them.study, them.parameters, None)
    bits = word_bits(them.study.secure_sum.bits, len(them.names))
    step = FixedPoint(layout, bits=bits, sites=len(them.names)).resolution()
    groups = them.parameters.groups
    return max(len(them.names) * step[f"update/{group}"] / total[f"weight/{group}"][0] for group in groups)


@pytest.mark.parametrize("bits", [16, 20, 24, 32])
def test_five_rounds_with_the_secure_sum_differ_from_five_without_by_rounding(tmp_path, bits) -> None:
    them = Hospitals(tmp_path, study_with(bits))
    summed = plain = them.weights
    farthest = 0.0
    for number in range(1, ROUNDS + 1):
        plan = them.plan(round=number, weights=summed)
        beside = plain_sum(them, plan)
        total = them.summed(number, round=number, weights=summed)
        limit = bound(them, plan, beside)
        for group in them.parameters.groups:
            assert total[f"weight/{group}"][0] == beside[f"weight/{group}"][0] > 0, "counts are exact"
            error = np.abs(total[f"update/{group}"] - beside[f"update/{group}"]) / total[f"weight/{group}"][0]
            assert np.max(error) <= limit
        plain = stepped(them, plain, plain_sum(them, them.plan(round=number, weights=plain)))
        summed = stepped(them, summed, total)
        farthest = max(farthest, limit)
    ulp = float(np.spacing(np.max(np.abs(summed))))
    assert not np.array_equal(summed, them.weights)
    assert np.max(np.abs(summed - plain)) <= ROUNDS * (farthest + ulp)


def test_two_widths_show_that_the_difference_is_rounding(tmp_path) -> None:
    """Eight bits more move the sum at least a hundred times less."""
    errors = []
    for bits in (16, 24):
        them = Hospitals(tmp_path / str(bits), study_with(bits), names=NAMES)
        beside, total = plain_sum(them, them.plan()), them.summed(1)
        errors.append(max(float(np.max(np.abs(total[name] - beside[name]))) for name in total))
    assert errors[0] > 100 * errors[1] > 0
