"""A simulated consortium: every site makes its own key and pins the roster, as hospitals do before their first run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from client.membership.identity import KEY_FILE, make_key, pin_roster, read_key
from common.identity.roster import Roster

IDENTITY = "identity"


def enrol(consortium: str, states: Mapping[str, Path]) -> Roster:
    """The roster of these sites, given by name with their state folders. Keys that are there are kept."""
    keys = {}
    for name, state in states.items():
        folder = state / IDENTITY
        key = read_key(folder / KEY_FILE) if (folder / KEY_FILE).exists() else make_key(folder)
        keys[name] = key.public
    roster = Roster(consortium, keys)
    for state in states.values():
        pin_roster(state / IDENTITY, roster)
    return roster
