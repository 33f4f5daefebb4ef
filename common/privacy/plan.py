"""PrivacyPlan: the noise that a study's epsilon asks for. All sites and the coordinator derive the same one.

A patient is in training, in validation or in test, and in one of them only, so these are separate accounts, and each
may use the whole epsilon: parallel composition. In studies of schema 0, validation and test are one, held out. What
each account holds by the end of the study:

    training   statistics once, and `local_steps` steps in each of `rounds + spare_rounds` rounds
    held out   statistics once, and every evaluation: see `evaluations`; from schema 1 on, validation patients only
    test       from schema 1 on: statistics once, and one evaluation in each of `1 + spare_rounds` attempts

An inquiry's sums are beside that in the accounts of the patients whom it asks about, each with its spare ones.

The noise is calibrated over all of it at once. Calibrated round by round, ten rounds of epsilon 1 are far above 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from common.errors import PrivacyError
from common.inquiries import Inquiry
from common.privacy.accounting import Accountant, Kind, Release, epsilon
from common.study import Privacy, Study

# Multipliers lie on a grid, so that a last bit's difference between two machines' libraries cannot make two plans out
# of one study; `prv` takes a fifth of a second for each multiplier that is tried, so its grid is coarser.
_GRID: dict[Accountant, int] = {"rdp": 1000, "prv": 200}
_LEAST = 0.1  # its epsilon is in the hundreds: a plan as loose as that still adds this much noise
_MOST = 1e6


@dataclass(frozen=True)
class PrivacyPlan:
    """What training, statistics and evaluation of one study must do to keep each patient within (epsilon, delta).

    Noise multipliers are standard deviations over L2 sensitivities; `max_grad_norm` is that of one patient's gradient.
    `expected_batch_size` divides every noisy sum, whatever the size of the sample was.
    """

    noise_multiplier: float
    sample_rate: float
    expected_batch_size: float
    max_grad_norm: float
    steps_per_round: int
    evaluation_noise_multiplier: float
    statistics_noise_multiplier: float
    delta: float
    epsilon: float
    accountant: Accountant = "rdp"
    test_noise_multiplier: float | None = None  # None: test patients share the account and the noise of validation

    def training(self, rounds: int = 1) -> Release:
        """What `rounds` rounds release from each training patient."""
        return Release("training", self.noise_multiplier, self.sample_rate, self.steps_per_round * rounds)

    def statistics(self) -> Release:
        """What the statistics release from each patient, once a study."""
        return Release("statistics", self.statistics_noise_multiplier, 1.0, 1)

    def evaluation(self, times: int = 1) -> Release:
        """What `times` evaluations release from each held-out patient."""
        return Release("evaluation", self.evaluation_noise_multiplier, 1.0, times)

    def evaluation_of(self, part: str, times: int = 1) -> Release:
        """What `times` evaluations of a part, `validation` or `test`, release from each of its patients."""
        if part == "test" and self.test_noise_multiplier is not None:
            return Release("evaluation", self.test_noise_multiplier, 1.0, times)
        return self.evaluation(times)

    def epsilon_after(self, rounds: int) -> float:
        """Epsilon of a training patient after the statistics and this many rounds."""
        training = [self.training(rounds)] if rounds else []
        return epsilon([self.statistics(), *training], self.delta, self.accountant)


def evaluations(study: Study) -> int:
    """How often a validation patient may be scored: before the first round, every `every` rounds, after the last, and
    once for each spare round. In studies of schema 0 once more, for test patients share that account.
    """
    every, rounds = study.evaluation.every, study.rounds
    scored = {0, rounds, *range(every, rounds + 1, every)}
    return len(scored) + (0 if test_is_apart(study) else 1) + study.privacy.spare_rounds


def test_is_apart(study: Study) -> bool:
    """Whether test patients have an account of their own, for their one score and its spare ones: from schema 1 on."""
    return study.schema >= 1


def plan_privacy(study: Study) -> PrivacyPlan | None:
    """The plan with the least noise that keeps every patient within the study's epsilon; None without privacy.

    Raises PrivacyError where no noise can do it.
    """
    if not study.private:
        return None
    privacy, steps = study.privacy, study.training.local_steps
    training = _calibrate(
        privacy, "training", privacy.sample_rate, (study.rounds + privacy.spare_rounds) * steps, _beside(study, "train")
    )
    beside = _beside(study, "validation") if test_is_apart(study) else _beside(study, "validation", "test")
    held_out = _calibrate(privacy, "evaluation", 1.0, evaluations(study), beside)
    test = None
    if test_is_apart(study):
        test = _calibrate(privacy, "evaluation", 1.0, 1 + privacy.spare_rounds, _beside(study, "test"))
    return PrivacyPlan(
        noise_multiplier=training,
        sample_rate=privacy.sample_rate,
        expected_batch_size=privacy.expected_batch_size,
        max_grad_norm=privacy.max_grad_norm,
        steps_per_round=steps,
        evaluation_noise_multiplier=held_out,
        statistics_noise_multiplier=privacy.statistics_noise_multiplier,
        delta=privacy.delta,
        epsilon=privacy.epsilon,
        accountant=privacy.accountant,
        test_noise_multiplier=test,
    )


def released_by(inquiry: Inquiry, sums: int = 1) -> Release:
    """Return what so many sums of an inquiry release from each of its patients."""
    return Release("statistics", inquiry.noise_multiplier, 1.0, sums)


def _beside(study: Study, *parts: str) -> tuple[Release, ...]:
    """What the study's inquiries release from patients of one of these parts, each sum of them and the spare ones."""
    found = []
    for inquiry in study.inquiries.values():
        if any(part in inquiry.parts for part in parts):
            found.append(released_by(inquiry, inquiry.sums + study.privacy.spare_rounds))
    return tuple(found)


@lru_cache(maxsize=64)
def _calibrate(privacy: Privacy, kind: Kind, sample_rate: float, steps: int, beside: tuple[Release, ...] = ()) -> float:
    """The smallest multiplier on the grid with which `steps` of `kind`, the statistics, and what is `beside` them, stay
    within epsilon.
    """
    statistics = Release("statistics", privacy.statistics_noise_multiplier, 1.0, 1)

    def excess(accountant: Accountant) -> Callable[[float], float]:
        def of(multiplier: float) -> float:
            releases = [statistics, *beside, Release(kind, multiplier, sample_rate, steps)]
            return math.log(max(epsilon(releases, privacy.delta, accountant), 1e-300) / privacy.epsilon)

        return of

    alone = epsilon([statistics, *beside], privacy.delta, privacy.accountant)
    if alone >= privacy.epsilon:
        what, others = ("statistics and inquiries", ", that of the inquiries") if beside else ("statistics", "")
        raise PrivacyError(
            f"privacy: the {what} alone cost epsilon {alone:.3f} of {privacy.epsilon:g}. "
            f"Raise privacy.statistics_noise_multiplier{others}, or privacy.epsilon."
        )
    least = _smallest(excess("rdp"), _GRID["rdp"], start=1.0, stride=2.0)
    if privacy.accountant == "prv":
        # A numerical composition is never above the bound, and a little below: start there, and go gently.
        least = _smallest(excess("prv"), _GRID["prv"], start=least, stride=1.1)
    return least


def _smallest(excess: Callable[[float], float], grid: int, start: float, stride: float) -> float:
    """The smallest multiple of 1/grid, from _LEAST on, whose excess is not above 0. `excess` falls as noise grows."""

    def at(point: int) -> tuple[int, float]:
        return point, excess(point / grid)

    least = math.ceil(_LEAST * grid)
    low = high = at(max(least, math.ceil(start * grid)))
    while high[0] > least and low[1] <= 0:
        high, low = low, at(max(least, int(low[0] / stride)))
    if low[1] <= 0:
        return low[0] / grid
    while high[1] > 0:
        if high[0] > _MOST * grid:
            raise PrivacyError(
                "privacy: no amount of noise keeps this study within its epsilon. Raise privacy.epsilon or "
                "privacy.delta, or ask for fewer rounds, local_steps or evaluations."
            )
        low, high = high, at(math.ceil(high[0] * stride))
    return _between(at, low, high) / grid


def _between(at: Callable[[int], tuple[int, float]], low: tuple[int, float], high: tuple[int, float]) -> int:
    """The root between two points: epsilon is nearly a power of the noise, so interpolate; every third time bisect."""
    attempt = 0
    while high[0] - low[0] > 1:
        attempt += 1
        share = 0.5 if attempt % 3 == 0 or math.isinf(low[1]) else low[1] / (low[1] - high[1])
        guess = int(low[0] * (high[0] / low[0]) ** share)
        middle = at(min(max(guess, low[0] + 1), high[0] - 1))
        low, high = (low, middle) if middle[1] <= 0 else (middle, high)
    return high[0]
