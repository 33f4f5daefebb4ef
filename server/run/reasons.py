"""Why a site did not take part, in words for a person at the coordinator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.release import OF_0_1

# An answer in another protocol. See common/release.py.
OLDER = f"speaks an older protocol, of release 0.1. Nobody sums beside it: {OF_0_1}"
NEWER = "speaks a newer protocol: install the newer release of wardround here"

# Public codes of common/errors.py, where they need explaining.
MEANING = {
    "not_approved": "has not approved this study",
    "paused": "has paused this study",
    "outside_hours": "works at other hours",
    "policy": "its policy does not allow this",
    "data": "its data cannot serve this study as it is; its own log says why",
    "budget": "its privacy budget does not carry this",
    "busy": "is at work for another run",
    "identity": "it pinned another roster, or has another key",
    "answered": "this was summed before, over other sites",
    "too_few_sites": "too few sites were left for it",
    "out_of_order": "it lost the sum, or had given its part before",
    "run": "it cannot go on with this run; its own log says why",
    "site_failed": "its agent does not answer",
    "other_release": "it derives something else than this coordinator: install one release of wardround everywhere",
    "error": "failed; its own log says why",
}


# Of a site that is in no sum, where it said nothing since it was lost, or was not asked to be in one.
NOT_BACK, STAYS_OUT, UNACCEPTABLE = "join: not back yet", "join: stays out", "join: unacceptable message"
OUT = {STAYS_OUT: "join: is there, and stays out: the others give no sum over other sites than before"}

PROTOCOLS = {"older protocol": OLDER, "newer protocol": NEWER}


def in_words(dropped: str) -> str:
    """A leg and a reason, as `Summation.dropped` has them, for a person."""
    head, found, code = dropped.partition("refused: ")
    if found:
        return f"{head}{MEANING.get(code, code)}"
    leg, _, why = dropped.rpartition(": ")
    return f"{leg}: {PROTOCOLS[why]}" if why in PROTOCOLS else OUT.get(dropped, dropped)


# What helps against a reason, for a person who plays run NAME. Going on helps only where the cause can pass.
OTHERS = (
    "over these sites it may show, beside the sums over other sites before, what a hospital added: wait for exactly "
    "the sites of then, and go on; or end the run with what it has (`wardround finish NAME`); for a hospital that is "
    "new, a person at each of the others may allow the set of sites (`wardround site allow-set`); or use privacy"
)
WAYS_OUT = {
    "other_release": "install one release of wardround everywhere, then go on",
    "budget": "the budget is the sites' own, and going on ends here again: end the run with what it has "
    "(`wardround finish NAME`), or start a study with fewer rounds or more noise, or without these sites "
    "(--site)",
    "answered": OTHERS,
    "not_approved": "have them approve the study, then go on",
    "paused": "have them resume the study, then go on",
    "busy": "wait for that run, or stop it, then go on",
    "outside_hours": "go on within their hours",
    "policy": "ask them which policy it is, then go on",
    "identity": "hand out the kits again (`wardround consortium kits`), and have them join, then go on",
    "data": "have them mend their data, then go on; or go on without them, if enough others are left (--site for each)",
}
SAVED = "The run is saved up to the round before."
LOST = "have them start `wardround site up` again, then go on"
OTHER = "their own logs say why; mend it there, then go on"


def ways_out(dropped: Iterable[str], run: str) -> str:
    """What to do about these legs and reasons, as `Summation.dropped` has them: the advice follows the cause."""
    found = list[str]()
    for why in dropped:
        _, refused, code = why.partition("refused: ")
        way = WAYS_OUT.get(code, OTHER) if refused else LOST
        if why.rpartition(": ")[2] in PROTOCOLS:
            way = WAYS_OUT["other_release"]
        if way not in found and code != "too_few_sites" and why != STAYS_OUT:
            found.append(way)
    told = "; ".join(found or [LOST]).replace("NAME", run)
    return f"{told[:1].upper()}{told[1:]}. To go on: `wardround resume {run}`, in a simulation with --resume."


def news_of_lost(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return in words who is lost since, or for another reason, and who is back; empty where nothing has changed.

    `before` and `now` are as `Summation.dropped` has them, of two rounds.
    """
    lost = [f"{site} ({in_words(why)})" for site, why in sorted(now.items()) if before.get(site) != why]
    back = sorted(before.keys() - now.keys())
    said = {"not in this sum, or lost in it": lost, "back": back}
    return "; ".join(f"{what}: {', '.join(sites)}" for what, sites in said.items() if sites)
