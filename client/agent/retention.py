"""Retention: what a site deletes by itself because its time is over."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from client.data.cache import Cache
from common.disk.audit import AUDIT_FILE, Audit, Expired


def purge_old(state: Path, days: int, now: datetime | None = None) -> int:
    """Delete prepared data that no study loaded for `days` days; 0 keeps all. The number of entries deleted."""
    if days <= 0:
        return 0
    oldest = (now or datetime.now(UTC)).timestamp() - 86_400.0 * days
    entries = Cache(state / "cache").purge(unused_since=oldest)
    if entries:
        Audit(state / AUDIT_FILE).append(Expired(entries))
    return entries
