"""What one sum shows of a site: the questions that it answers, and who adds to each of its segments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from client.exact_sums.kept_sets import KeptSet
from common.study import SHARED


@dataclass(frozen=True)
class Asked:
    """All that one sum shows of this site.

    questions: one a kind of answer, by all that decides it; such an answer is given over one set of sites for good
    signers: segment -> the sites of R that add to it: name -> public signing key, in hex. `shared` has all of them.
        A site is its key: another hospital under an old name is another site
    waits: this site answers also no other question over other sites than before, nor over owners of a modality, or
        fillers of a part, whose sum shows, beside the sums before, what few of them added
    shown_to_all: every site of U2 must have confirmed before this one gives a share, by what the members signed
    said: key of a member of the sum -> whether it signed that it waits. One that does is enough for all
    """

    questions: tuple[str, ...] = ()
    signers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    colluding: int = 1
    waits: bool = True
    said: Mapping[str, bool] = field(default_factory=dict)
    shown_to_all: bool = True

    @property
    def exact(self) -> bool:
        """Whether a sum of these answers shows what was added, with no noise that a ledger was charged for."""
        return bool(self.signers)

    def sets(self, survivors: Collection[str]) -> dict[str, KeptSet]:
        """Return, by segment, the sites that add to it where these have survived."""
        return {
            segment: KeptSet(frozenset(key for name, key in keys.items() if name in survivors), self.colluding)
            for segment, keys in self.signers.items()
        }

    def over(self, survivors: Collection[str]) -> frozenset[str]:
        """Return the keys of these sites."""
        return frozenset(self.signers[SHARED][name] for name in survivors)
