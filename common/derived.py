"""What a site and the coordinator each derive from a plan by their own code, and one digest of all of it.

Nothing of it is sent: which segments the vector has, with their lengths and the bounds from which the fixed point's
scale follows; which parameter stands where; which pretrained model was loaded; how much noise is drawn. Two releases
that derive it otherwise would add numbers of different meaning, and the sum would open without an error. So its digest
goes into the transcript of the sum, and beside it into the request, for a site to say no in time, before it charges and
works.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from common.errors import ReleaseError
from common.identity.encoding import digest
from common.plan import RoundPlan
from common.questions import layout_of
from common.study import Study
from common.summand import Layout

if TYPE_CHECKING:  # they load PyTorch
    from common.parameters import Parameters
    from common.privacy.plan import PrivacyPlan


@dataclass(frozen=True)
class Derived:
    """`digest`: SHA-256 over the plan, the layout, the parameter table, pretrained models and the privacy plan."""

    layout: Layout
    digest: bytes

    def require(self, told: bytes) -> None:
        """ReleaseError unless the other side derived the same."""
        if told != self.digest:
            raise ReleaseError(
                "The coordinator derives another layout, parameter table or privacy plan from this study and plan than "
                "this site: they run different releases of wardround, or have different files of a pretrained model "
                "that the study names. Install one release, and the same files, everywhere."
            )


def derive(plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None) -> Derived:
    """Return what this side derives from a plan."""
    layout = layout_of(plan, study, parameters, privacy)
    content: dict[str, object] = {
        "segments": [[part.name, part.length, part.bound.hex()] for part in layout.segments],
        "parameters": parameters.shape_digest,
        "privacy": asdict(privacy) if privacy else None,
    }
    if parameters.pretrained:
        content["pretrained"] = parameters.pretrained
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return Derived(layout, digest("derived", plan.digest, text.encode()))
