"""Whether a hospital writes its patients' numbers otherwise than when sums were opened.

A pseudonym is of the number as it stands, and so is the part that a hash gives a patient. Where an export writes 10000
for 010000 from now on, nobody is known any more: parts are drawn anew, and no study cuts anybody otherwise than before.
"""

from __future__ import annotations

from pathlib import Path

from client.cuts_file import patients_kept
from client.data.cohort import Cohort


def said_of_unknown(state: Path, cohort: Cohort) -> str:
    """Return what a person should look at where most patients whose exact sums are out are in no target file now; empty
    where it is not so. For this site's eyes. RunError where what is kept cannot be used.
    """
    kept = patients_kept(state)
    gone = len(kept - cohort.sides.keys() - cohort.out)
    if gone <= len(kept) / 2:
        return ""
    return (
        f"Of {len(kept):,} patients whose exact sums are out, {gone:,} are not in the target's file now. Are numbers "
        "written otherwise than then (without leading zeros, say), or was state/pseudonym.key replaced? Then nothing "
        "holds that was kept of them: their parts in a split, and by whom two studies may differ. Write the numbers as "
        "before. If these patients have left, there is nothing to do."
    )
