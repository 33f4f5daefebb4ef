"""What a site signs for in a run: the modalities that it has, the parts of the cohort that it can fill, and whether it
waits for lost sites.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from client.data.cohort import Cohort
from client.data.split import PARTS
from client.round.session import Site
from common.errors import ProtocolOrderError
from common.plan import Declaration
from common.secure_sum.messages import KNOWS_OF_ONE, WAITS

_STRENGTH = {0: 0, KNOWS_OF_ONE: 1, WAITS: 2}


def declared(site: Site, smallest: int, used: Collection[str] | None = None, *, waits: int) -> Declaration:
    """Return what this site signs for. used: the run's modalities, where they are known; None: the study's.

    Without privacy a part has at least `smallest` patients, and a modality as many training patients: what is
    counted and scored over the sites that signed is of that many patients of each. Updates are not, for a round trains
    on a few batches (`client.terms`). With privacy nothing hangs on how many there are, for that
    would tell it without noise: every part is signed.
    """
    if site.privacy is not None:
        return Declaration(tuple(sorted(site.declared)), tuple(sorted(PARTS)), waits)
    having = of_enough(site.cohort, site.study.names, smallest)
    seen = site.seen_with([name for name in having if used is None or name in used])
    filled = [part for part in PARTS if len(getattr(seen, part)) >= smallest]
    # Without training patients under the run's modalities this site adds nothing of any: no owner that hides another.
    return Declaration(tuple(sorted(having)) if "train" in filled else (), tuple(sorted(filled)), waits)


def of_enough(cohort: Cohort, names: Sequence[str], smallest: int) -> list[str]:
    """Return those of the study's modalities (`names`) that at least `smallest` training patients have."""
    train = cohort.train
    cases = dict(zip(names, train.present.sum(dim=0).tolist(), strict=True)) if len(train) else dict.fromkeys(names, 0)
    return [name for name in names if name in cohort.owned and cases[name] >= smallest]


def require_as_signed(signed: Declaration, now: Declaration) -> None:
    """Without privacy: ProtocolOrderError when a site's cases no longer allow what it signed for, or when it has learnt
    of a site that waits for lost ones.

    It is out of the sum until it joins anew. An owner without a case would make two owners look like three, and who
    knows of a site that waits is asked about no sum, and keeps none, whose sites believe that nobody does.
    """
    if _STRENGTH[now.waits] > _STRENGTH[signed.waits]:
        raise ProtocolOrderError(
            "This site has learnt of one that waits for lost sites, in another sum, since it signed. It takes part "
            "again as soon as the coordinator asks it to join anew."
        )
    if not set(signed.modalities) <= set(now.modalities) or not set(signed.parts) <= set(now.parts):
        raise ProtocolOrderError(
            "This site's cases no longer are of the modalities, or fill the parts of the cohort, that it signed for. "
            "It takes part again as soon as the coordinator asks it to join anew."
        )
