"""The site file as it is now: what a person changes in its `policy` holds from the next request on."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from client.site import SiteFile, SiteFolder
from common import schema as border
from common.errors import SiteFileError

log = logging.getLogger("wardround.site")


class CurrentSite:
    """`policy` and `exclusions` as site.yaml has them now, and all else in it as of the process's start.

    Where the data is, what its columns are called, and where state and socket are, changes by a restart only.
    """

    def __init__(self, start: SiteFolder) -> None:
        self.folder = start
        self._text: str | None = None  # that `folder` follows

    def look(self) -> SiteFolder:
        """The folder under the present policy: another object where the policy is another.

        SiteFileError while the file cannot be read or is wrong: no policy from before stands in for it.
        """
        path = self.folder.path(Path(self.folder.name))
        text = border.text_of(path, SiteFileError)
        if text != self._text:  # reading YAML costs more than many a request
            self._take(border.parse(text, SiteFile, SiteFileError, str(path)))
            self._text = text
        return self.folder

    def _take(self, now: SiteFile) -> None:
        held = self.folder.file
        obeyed = replace(held, policy=now.policy, exclusions=now.exclusions)
        if obeyed != now:
            log.warning("%s: more than policy and exclusions was changed. Restart the agent for it.", self.folder.name)
        if obeyed != held:
            log.info("%s: another policy holds from now on", self.folder.name)
            self.folder = replace(self.folder, file=obeyed)
