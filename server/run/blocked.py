"""Who stands in the way of a study that needs a newer protocol: said by name, before anything is charged."""

from __future__ import annotations

from collections.abc import Mapping

from common.errors import ReleaseError
from common.protocols import needed, speaker_of, why_needed
from common.study import Study
from server.lost import Lost, Speaks


def require_spoken(study: Study, missing: Mapping[str, Lost], others: int, least: int) -> None:
    """Refuse a run, with ReleaseError, where sites do not speak the protocol in which it is played.

    missing: site -> why it did not join. others: how many sites were asked beside those; least: that a run needs.
    """
    spoken = {site: one.why.spoken for site, one in missing.items() if isinstance(one.why, Speaks)}
    if not spoken:
        return
    number, left = needed(study), others - len(spoken)
    told = (f"{site} (protocol {newest}, of {speaker_of(newest)})" for site, newest in sorted(spoken.items()))
    without = (
        "or leave these sites out (`wardround run` has --site for each of the others)"
        if left >= least
        else f"the {left} others are too few for a run without them"
        if left
        else "these are all sites of the run"
    )
    newer = speaker_of(number)
    raise ReleaseError(
        f"Not begun: the study {why_needed(study)}, which needs protocol {number}, of {newer}, and not all sites speak "
        f"it: {', '.join(told)}. Nothing was charged for it. Have their people install {newer} or a newer one, one "
        f"hospital after the other (COMPATIBILITY.md), or start a study that does not need it; {without}."
    )
