"""Modalities of a study that a site.yaml seems to have under another spelling."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from client.site import SiteFile


def misspelt(file: SiteFile, names: Sequence[str]) -> dict[str, str]:
    """Return, by the study's name of a modality that this site does not have, the place in site.yaml of the one nearest
    to it which the study does not name, as `records.lab`; none of those that nothing is near to.

    names: of all of the study's modalities
    """
    places = {
        name: f"{section}.{name}"
        for section, sources in vars(file).items()
        if isinstance(sources, dict)
        for name in sources
        if name not in names
    }
    found = {name: difflib.get_close_matches(name, places, n=1) for name in names if name not in file.modalities}
    return {name: places[near[0]] for name, near in found.items() if near}
