"""What goes wrong after a private round was charged: noise alone is sent, and this site's people hear of it.

The charge pays for an answer whoever the patients are. A refusal in its place would tell that they made the work fail:
one patient could be told from none, at no price. So the answer is what it would be without any patient.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from common.disk.audit import Failed
from common.disk.audit_events import Part
from common.errors import RangeError, WardroundError
from common.summand import Layout

if TYPE_CHECKING:
    from client.round.session import Site
    from common.plan import RoundPlan

log = logging.getLogger("wardround.site")
T = TypeVar("T")
Values = Mapping[str, NDArray[Any] | tuple[NDArray[Any], float]]


def place_of(error: BaseException) -> str:
    """Where it happened, without what it said: the text of a foreign exception may quote a patient's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "an unknown place"


def answered(site: Site, plan: RoundPlan, part: Part, make: Callable[[], T], instead: Callable[[], T]) -> T:
    """Return `make()`; in a private study, where that fails, `instead()`, which looks at no patient.

    Without privacy a failure is raised as it is: nothing was paid for, and nothing is sent.
    """
    if site.privacy is None:
        return make()
    try:
        return make()
    except Exception as error:  # whatever it is: to tell it apart from any other would tell of a patient
        _tell(site, plan, part, error)
    return instead()


def of_patients(site: Site, plan: RoundPlan, part: Part) -> Callable[[Exception], None] | None:
    """Return what is to be told of a patient of whom the work fails; None without privacy, where that is raised.

    That patient counts as nobody, and the others as ever: were noise alone sent, one patient would move the answer by
    all of them. The first of a round is told of at this site.
    """
    if site.privacy is None:
        return None
    told: list[str] = []

    def tell(error: Exception) -> None:
        if not told:
            _tell(site, plan, part, error, "Patients of whom it fails are left out")
        told.append(part)

    return tell


def _tell(
    site: Site, plan: RoundPlan, part: Part, error: Exception, sent: str = "Noise alone is sent in its place"
) -> None:
    """In the log and the audit log of this site: kind and place, never the text."""
    frames = traceback.extract_tb(error.__traceback__)
    name, line = (frames[-1].name, frames[-1].lineno or 0) if frames else ("unknown", 0)
    kind = type(error).__name__
    log.error(
        "%s: %s of round %d FAILED with %s at %s, line %d. %s, and the round is paid for. To stop: "
        "wardround site pause %s",
        site.name, part, plan.round, kind, name, line, sent, plan.study[:12],
    )  # fmt: skip
    try:
        site.audit.append(Failed(plan.study, plan.run, plan.round, part, _word(kind), _word(name), line))
    except WardroundError as problem:
        log.error("%s: not recorded (%s): %s", site.name, problem.code, problem)


def _word(name: str) -> str:
    """As the audit log may hold it."""
    return name if re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,59}", name) else "unnamed"


def clamped(values: Values, layout: Layout) -> dict[str, NDArray[Any] | tuple[NDArray[Any], float]]:
    """Return noisy values moved into their segments' public bounds, as any reader of them could: after the noise."""
    bounds = {segment.name: segment.bound for segment in layout.segments}
    return {name: _within(value, bounds[name]) for name, value in values.items()}


def _within(
    value: NDArray[Any] | tuple[NDArray[Any], float], bound: float
) -> NDArray[Any] | tuple[NDArray[Any], float]:
    if isinstance(value, tuple):  # an update, which `update_of` has clipped
        return value
    inside: NDArray[Any] = np.clip(np.nan_to_num(value, nan=0.0, posinf=bound, neginf=-bound), -bound, bound)
    return inside


def fitting(values: Values, layout: Layout) -> Values:
    """Return the values, each of its segment's length; RangeError for any other."""
    lengths = {segment.name: segment.length for segment in layout.segments}
    for name, value in values.items():
        array = value[0] if isinstance(value, tuple) else value
        if np.size(array) != lengths.get(name):
            raise RangeError(f"Segment {name}: {np.size(array)} values, the plan says {lengths.get(name)}.")
    return values
