"""Why a site did not take part, in words for a person at the coordinator."""

from __future__ import annotations

# Public codes of common/errors.py, where they need explaining.
MEANING = {
    "not_approved": "has not approved this study",
    "paused": "has paused this study",
    "outside_hours": "works at other hours",
    "policy": "its policy does not allow this",
    "bad_data": "its data cannot be read",
    "bad_cohort": "its cases cannot serve this study",
    "not_deidentified": "something personal would have passed its gate",
    "budget": "its privacy budget is used up",
    "identity": "it pinned another roster, or has another key",
    "answered": "this was summed before, over other sites",
    "too_few_sites": "too few sites were left for it",
    "out_of_order": "it lost the sum, or had given its part before",
    "run": "it cannot go on with this run; its own log says why",
    "site_failed": "its agent does not answer",
    "error": "failed; its own log says why",
}


def in_words(dropped: str) -> str:
    """A leg and a reason, as `Summation.dropped` has them, for a person."""
    head, found, code = dropped.partition("refused: ")
    return f"{head}{MEANING.get(code, code)}" if found else dropped
