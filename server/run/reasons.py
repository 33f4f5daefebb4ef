"""What helps where sites did not take part, for a person at the coordinator. Why they did not: `server/lost.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from server.lost import Lost, Silence, Speaks

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
UPGRADE = (
    "have them install a release that speaks what the study needs (COMPATIBILITY.md), then go on; or go on without "
    "them, if enough others are left (--site for each)"
)
SAVED = "The run is saved up to the round before."
LOST = "have them start `wardround site up` again, then go on"
OTHER = "their own logs say why; mend it there, then go on"


def ways_out(lost: Iterable[Lost], run: str) -> str:
    """Return what to do where sites were lost so: the advice follows the cause."""
    found = list[str]()
    for one in lost:
        way = WAYS_OUT.get(one.code, OTHER) if one.code else LOST
        if one.why in (Silence.OLDER, Silence.NEWER):
            way = WAYS_OUT["other_release"]
        elif isinstance(one.why, Speaks):
            way = UPGRADE
        if way not in found and one.code != "too_few_sites" and one.why != Silence.STAYS_OUT:
            found.append(way)
    told = "; ".join(found or [LOST]).replace("NAME", run)
    return f"{told[:1].upper()}{told[1:]}. To go on: `wardround resume {run}`, in a simulation with --resume."


def news_of_lost(before: Mapping[str, Lost], now: Mapping[str, Lost]) -> str:
    """Return in words who is lost since, or for another reason, and who is back; empty where nothing has changed.

    before, now: site -> why, of two rounds
    """
    lost = [f"{site} ({why.words})" for site, why in sorted(now.items()) if before.get(site) != why]
    back = sorted(before.keys() - now.keys())
    said = {"not in this sum, or lost in it": lost, "back": back}
    return "; ".join(f"{what}: {', '.join(sites)}" for what, sites in said.items() if sites)
