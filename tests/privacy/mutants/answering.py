"""What a site says when its work fails after the charge."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.privacy.mutants.mutant import Mutant

WORK = "tests/privacy/test_work.py::"
ANSWERED = (f"{WORK}test_a_site_whose_work_failed_answers_the_coordinator_as_any_other",)
ALONE = (f"{WORK}test_noise_alone_is_as_much_noise_as_the_whole_answer_has",)


def _refused(_: Any) -> Any:
    return lambda site, plan, part, make, instead: make()


def _exact_zeros(original: Any) -> Any:
    def noised(asking: Any, answer: Any, layout: Any) -> Any:
        said = any(np.any(value[0] if isinstance(value, tuple) else value) for value in answer.values.values())
        return original(asking, answer, layout) if said else answer

    return noised


def _the_weights_as_they_were(_: Any) -> Any:
    def of_nobody(self: Any, asking: Any) -> Any:
        from client.round.answers.answer import Answered, ready
        from client.round.answers.update import _moved

        site = asking.site
        ready(asking.plan, site)
        return Answered(_moved(asking, site.cohort.train.rows([])), site.study.training.local_steps)

    return of_nobody


def _as_they_are(_: Any) -> Any:
    return lambda values, layout: dict(values)


def _paused_by_the_failure(original: Any) -> Any:
    def tell(site: Any, plan: Any, part: Any, error: Any) -> None:
        original(site, plan, part, error)
        raise error

    return tell


def _raised(_: Any) -> Any:
    return lambda site, plan, part: None


def _steps_of_zeros(original: Any) -> Any:
    return lambda self: original(self) * 0.0


MUTANTS = (
    Mutant("a patient of whom the work fails takes everybody out", "client.round.answers.scores.of_patients", _raised,
           (f"{WORK}test_a_patient_of_whom_the_score_fails_is_left_out_and_the_others_count",)),
    Mutant("no noise in the steps that a clock cut off", "client.training.gradient.NoisyGradient.of_nobody",
           _steps_of_zeros, (f"{WORK}test_a_round_that_the_sites_own_clock_stops_has_the_noise_of_all_steps",)),
    Mutant("a failure after the charge is refused", "client.round.round.answered", _refused, ANSWERED),
    Mutant("zeros in place of what failed", "client.round.round._noised", _exact_zeros, ALONE),
    Mutant("no step's noise in place of failed training", "client.round.answers.update.UpdateAnswer.of_nobody",
           _the_weights_as_they_were, ALONE),
    Mutant("values outside of their bounds", "client.round.round.clamped", _as_they_are,
           (f"{WORK}test_a_draw_outside_of_its_segment_is_moved_to_the_bound",)),
    Mutant("who is told of a failure stops the round", "client.round.failures._tell", _paused_by_the_failure, ANSWERED),
)  # fmt: skip
