"""What the audit log knows of a site's secure sums. Records that lack some of it were put back from a copy, or deleted.

A claim is in the records before its line is in the log, so that the newest records lack nothing.
"""

from __future__ import annotations

from pathlib import Path

from client.exact_sums.sum_records import Known, Made, SumRecords
from common.disk.audit import AUDIT_FILE, Audit, Masked, Offered, SumsAccepted


def records_of(state: Path) -> SumRecords:
    """Return the records of a state folder, held against the audit log beside them."""
    return SumRecords(state, lambda: made_in(Audit(state / AUDIT_FILE)))


def made_in(audit: Audit) -> Known:
    """Return by run the highest number of an offer, and of a masked vector, that the log has since a person last
    accepted records that lacked some, and how much these held.

    A log that is gone, or lines that cannot be read, have none: that must not stop an honest site.
    """
    found: dict[str, Made] = {}
    held = 0
    for event in audit.readable(Offered, Masked, SumsAccepted):
        if isinstance(event, SumsAccepted):
            found.clear()
            held = event.held
        elif isinstance(event, Offered | Masked):
            before = found.get(event.run, Made())
            masked = event.number if isinstance(event, Masked) else 0
            found[event.run] = Made(max(before.number, event.number), max(before.upload, masked))
    return Known(found, held)
