"""What a site holds between messages, of one study: its cases, its network, its ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from client.consent.approvals import Approvals
from client.consent.readiness import readiness, require_enough
from client.data.cohort import Cohort
from client.data.exclusions import read_exclusions
from client.data.left_out import decided
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.sides import split_of
from client.exact_sums.renumbered import said_of_unknown
from client.ledger.accounts import ledger_of
from client.ledger.ledger import Ledger
from client.site import Policy, SiteFolder
from common.disk.audit import AUDIT_FILE, Audit
from common.errors import RunError
from common.models.network import MultimodalNetwork, build_network
from common.parameters import Parameters
from common.privacy.plan import PrivacyPlan, plan_privacy
from common.study import Study

log = logging.getLogger("wardround.site")

Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass
class Site:
    """What a site holds between messages: its cases, its network, its ledger. Warm, so that a round starts at once."""

    folder: SiteFolder
    study: Study
    state: Path  # ledger and numbers of this run
    progress: Progress = field(default=_silent, repr=False)
    _excluded: tuple[frozenset[str], int] = field(default=(frozenset(), 0), init=False, repr=False)  # as in `cohort`
    _seen: tuple[Cohort, tuple[str, ...], Cohort] | None = field(default=None, init=False, repr=False)
    _split: tuple[str, str] | None = field(default=None, init=False, repr=False)  # of which version of it

    @property
    def name(self) -> str:
        return self.folder.file.site

    @cached_property
    def cohort(self) -> Cohort:
        """CohortError when it has fewer cases than this site's policy asks for, in a study without privacy. With
        privacy a person looked at that before approving the study, and from then on no answer hangs on it.
        """
        self._excluded = self._listed
        cohort = prepare(self._approved_folder, self.study, progress=self.progress, state=self.state, at_work=True)
        if cohort.opt_outs:
            log.info("%s: patients who opted out: %s", self.name, cohort.opt_outs)
        if cohort.doubt:
            log.warning("%s: THE STUDY GOES ON, BUT LOOK AT THIS. %s", self.name, cohort.doubt)
        found = readiness(cohort, self.study)
        for words in (*found.lines, *found.warnings):
            log.info("%s: %s", self.name, words)
        if not self.study.private:
            require_enough(cohort, self.policy)
            if unknown := said_of_unknown(self.state, cohort):
                log.warning("%s: THE STUDY GOES ON, BUT LOOK AT THIS. %s", self.name, unknown)
        return cohort

    @property
    def declared(self) -> tuple[str, ...]:
        """The modalities that this site signs for. With privacy these are the ones that a person approved, whoever has
        them by now: a modality that came or went with a patient would show that patient without noise.
        """
        return self._approved or self.cohort.owned

    @property
    def _approved(self) -> tuple[str, ...]:
        """As kept at approval; empty without privacy, and where nobody was asked: then site.yaml and policy say it."""
        return Approvals(self.state).modalities(self.study.digest) if self.study.private else ()

    @property
    def _approved_folder(self) -> SiteFolder:
        """Without what site.yaml has named since the approval."""
        policy, approved = self.policy, self._approved
        if not approved:
            return self.folder
        may = [name for name in approved if policy.modalities is None or name in policy.modalities]
        return replace(self.folder, file=replace(self.folder.file, policy=replace(policy, modalities=may)))

    def refresh(self) -> None:
        """Before each round: who opted out since is in no case from here on. DataError when the list is unreadable."""
        if "cohort" in self.__dict__ and self._listed != self._excluded:
            del self.__dict__["cohort"]

    @property
    def _listed(self) -> tuple[frozenset[str], int]:
        """The lines of the list, and how often a person took off whom it does not name."""
        return read_exclusions(self.folder), decided(self.folder.path(self.folder.file.state))

    def seen_with(self, names: Sequence[str]) -> Cohort:
        """The cohort of these modalities alone (`Cohort.seen_with`), kept until the next round asks for another."""
        if self._seen is None or self._seen[0] is not self.cohort or self._seen[1] != tuple(names):
            self._seen = self.cohort, tuple(names), self.cohort.seen_with(names)
            for what, number in self._seen[2].counts.items():
                if number != self.cohort.counts.get(what, 0):
                    log.info("%s: %s: %d", self.name, what, number)
        return self._seen[2]

    @property
    def policy(self) -> Policy:
        return self.folder.file.policy

    @cached_property
    def audit(self) -> Audit:
        return Audit(self.state / AUDIT_FILE)

    @cached_property
    def network(self) -> MultimodalNetwork:
        return build_network(self.study, models=self.folder.path(self.folder.file.models))

    @cached_property
    def parameters(self) -> Parameters:
        return Parameters.of(self.network)

    @cached_property
    def privacy(self) -> PrivacyPlan | None:
        return plan_privacy(self.study)

    @cached_property
    def ledger(self) -> Ledger:
        return ledger_of(self.state)

    @property
    def split(self) -> str:
        """Which split of the study these patients are in, and stay in from here on: see `client/data/sides.py`."""
        if self.study.split.column is None:
            return ""
        if self._split is None or self._split[0] != self.cohort.version:
            secret = site_secret(self.folder.path(self.folder.file.state))
            self._split = self.cohort.version, split_of(self.state, self.study, self.cohort.sides, secret)
        return self._split[1]

    @cached_property
    def device(self) -> torch.device:
        wish = self.folder.file.device
        if wish == "cuda" and not torch.cuda.is_available():
            raise RunError(
                "device: cuda, but no CUDA device answers. Set device: auto in site.yaml, or mend the driver."
            )
        return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")
