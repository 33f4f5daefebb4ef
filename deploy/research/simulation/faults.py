"""A hospital's bad day, on order: messages that a simulation loses, so that a researcher sees what a study stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Message

from common.errors import RunError

LEGS = ("join", "offer", "round", "confirm", "reveal")


@dataclass(frozen=True)
class Loss:
    """`site` vanishes in the leg `leg` of secure sum `number` (the first is 1), and is back for the next sum."""

    site: str
    number: int
    leg: str

    @classmethod
    def parse(cls, text: str) -> Loss:
        """From SITE:NUMBER:LEG."""
        site, _, rest = text.partition(":")
        number, _, leg = rest.partition(":")
        if not site or not number.isdigit() or leg not in LEGS:
            raise RunError(f"--lose {text}: write SITE:NUMBER:LEG, with a leg of {', '.join(LEGS)}.")
        return cls(site, int(number), leg)


class Losses:
    """The fate of messages under some losses. A site that is lost in a leg stays away to the end of that sum."""

    def __init__(self, losses: Sequence[Loss], node_of: Mapping[str, int]) -> None:
        unknown = sorted({loss.site for loss in losses} - set(node_of))
        if unknown:
            raise RunError(f"--lose: no site is called {', '.join(unknown)}; there are {', '.join(node_of)}.")
        self._from = {(node_of[loss.site], loss.number): LEGS.index(loss.leg) for loss in losses}

    def __call__(self, message: Message) -> bool:
        meta = message.metadata
        _, _, number = meta.group_id.rpartition("/")
        begins = self._from.get((meta.dst_node_id, int(number) if number.isdigit() else 0))
        return begins is not None and LEGS.index(meta.message_type.rpartition(".")[2]) >= begins
