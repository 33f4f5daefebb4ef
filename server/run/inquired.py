"""What came of a study's inquiries, from the opened sums that a run's state keeps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from common.inquiries.inquiry import opened_of
from common.schedule import Schedule
from common.study import Study
from server.report.evidence import InquiryEvidence
from server.run.checkpoint import RunState
from server.run.history import history_in

INQUIRED = "inquiry/"  # how the arrays of a run's state begin that are opened sums of inquiries


def opened_in(state: RunState) -> dict[str, NDArray[np.float64]]:
    """Return the opened sums of all inquiries so far, under the keys by which a plan names them."""
    return {name.removeprefix(INQUIRED): value for name, value in state.arrays.items() if name.startswith(INQUIRED)}


def found_in(study: Study, state: RunState) -> tuple[InquiryEvidence, ...]:
    """Return what came of the inquiries whose sums are all there."""
    arrays, found, history = opened_in(state), [], history_in(state)
    last = Schedule(study).tests
    for name, inquiry in study.inquiries.items():
        opened, last = opened_of(arrays, name), last + inquiry.sums
        if len(opened) == inquiry.sums:
            sd = inquiry.noise(study.modalities).sd * math.sqrt(history[last].sites) if study.private else 0.0
            results = inquiry.found(opened)
            values = {one.name: float(one.value) for one in results}
            counts = tuple(one.name for one in results if one.counts)
            found.append(InquiryEvidence(name, inquiry.described, values, counts, sd))
    return tuple(found)
