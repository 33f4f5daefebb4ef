"""Whether a hospital writes its patients' numbers otherwise than when sums were opened.

A pseudonym is of the number as it stands, and so is the part that a hash gives a patient. Where an export writes 10000
for 010000 from now on, nobody is known any more: parts are drawn anew, and no study cuts anybody otherwise than before.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from client.data.cohort import Cohort
from client.exact_sums.cut import Cut
from client.exact_sums.cuts_file import Book, read


def keep_unknown(book: Book, cut: Cut) -> None:
    """Keep who is not in the target's file where most are not, before this cut is kept: the new numbers are known then.
    They are kept until most of them are back.
    """
    here = cut.parts.keys() | cut.out
    book.unknown = sorted(_most({*book.unknown} | _most(book.patients, here), here))


def _most(kept: Collection[str], here: Collection[str]) -> set[str]:
    """Return whom of `kept` the target's file lacks, where these are more than half; nobody where they are not."""
    gone = set(kept).difference(here)
    return gone if len(gone) > len(kept) / 2 else set()


def said_of_unknown(state: Path, cohort: Cohort) -> str:
    """Return what a person should look at where most patients whose exact sums are out are in no target file now, or
    were in none when sums were opened and are not back; empty where it is not so. For this site's eyes. RunError where
    what is kept cannot be used.
    """
    book, here = read(state), cohort.sides.keys() | cohort.out
    kept = book.patients
    if not (_most(kept, here) or _most(book.unknown, here)):
        return ""
    gone = len(kept - here)
    return (
        f"Of {len(kept):,} patients whose exact sums are out, {gone:,} are not in the target's file now. Are numbers "
        "written otherwise than then (without leading zeros, say), or was state/pseudonym.key replaced? Then nothing "
        "holds that was kept of them: their parts in a split, and by whom two studies may differ. Write the numbers as "
        "before. If these patients have left, there is nothing to do."
    )
