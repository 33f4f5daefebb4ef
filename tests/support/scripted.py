"""Real site handlers over real Flower messages, and a coordinator that says what a test wants it to say."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from client.agent.handlers import SiteHandler
from client.data.cohort import Cohort
from client.exact_sums.sum_records import SumRecords
from client.round.session import Site
from client.site import Policy, SiteFile, SiteFolder, TargetSource, WithoutPrivacy
from common.derived import derive
from common.disk.audit import Refused
from common.errors import PUBLIC_CODES
from common.identity.secret import Secret
from common.messages import (
    MESSAGE_TYPES,
    ConfirmRequest,
    JoinRequest,
    OfferRequest,
    Refusal,
    Reply,
    Request,
    RevealRequest,
    RoundRequest,
    from_records,
    new_message,
    spoken_in,
    to_records,
)
from common.models.network import build_network
from common.parameters import Parameters, flatten
from common.plan import RoundPlan, threshold_of
from common.protocols import needed
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.dealing import HeldShares
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.key_agreement import MaskKey, ShareKey
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, SumContext
from common.study import Study
from deploy.research.simulation.enrol import enrol
from tests.support.tiny import MODALITIES, cases_of, study_of

RUN = "0123456789abcdef"
NAMES = ("east", "north", "south", "west")
ME = "east"
PLAIN = {"privacy": {"mode": "none"}}
PRIVATE = {"privacy": {"mode": "local", "epsilon": 8.0, "sample_rate": 0.25, "expected_batch_size": 4.0}}


def plain_study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def normalised_study() -> Study:
    """The same, with the chart's columns normalised by a secure sum: only such a study's plans have a normaliser."""
    chart = MODALITIES["chart"] | {"normalise": "secure_sum"}
    return study_of("chart", "panel", **PLAIN, modalities={"chart": chart, "panel": MODALITIES["panel"]})


def cohort_of(study: Study, name: str, *, seed: int = 0, patients: int = 12) -> Cohort:
    """Some patients with every modality."""
    train, validation, test = (cases_of(study, patients, seed=seed + part, missing=0.0) for part in range(3))
    return Cohort(name, study.names, train, validation, test, version=f"{seed:064x}")


@dataclass
class Sum:
    """What has been said in one sum so far."""

    context: SumContext
    offers: dict[str, bytes]
    plan: RoundPlan
    confirmations: dict[str, bytes]


class Hospitals:
    """Some enrolled sites. `ask` sends one request to one site and reads its answer."""

    def __init__(
        self,
        folder: Path,
        study: Study,
        *,
        names: Sequence[str] = NAMES,
        cohorts: Mapping[str, Cohort] | None = None,
        minimum_sites: int = 3,
        smallest_part: int | None = None,
        lifetime: float = 3600.0,
        lost_site: Literal["wait", "show"] = "show",
    ) -> None:
        self.smallest_part = smallest_part
        self.protocol = needed(study)  # in which `answer` asks
        self.folder, self.study, self.names = folder, study, tuple(sorted(names))
        self.lost_site = lost_site
        self.minimum_sites, self.lifetime = minimum_sites, lifetime
        self.roster = enrol("test", {name: folder / name for name in self.names})
        given = cohorts or {}
        self.cohorts = {
            name: given.get(name) or cohort_of(study, name, seed=10 * place) for place, name in enumerate(self.names)
        }
        self.sites = {name: self.start(name) for name in self.names}
        self.parameters = Parameters.of(build_network(study))
        self.weights: NDArray[np.float32] = flatten(build_network(study))

    def start(self, name: str) -> SiteHandler:
        """A site's process, from nothing but its state folder and its cases."""
        file = SiteFile(
            site=name,
            target=TargetSource(file=Path("target.csv"), column="target"),
            policy=Policy(
                minimum_sites=self.minimum_sites,
                without_privacy=WithoutPrivacy(lost_site=self.lost_site, smallest_part=self.smallest_part),
            ),
        )
        site = Site(SiteFolder(file, self.folder), self.study, self.folder / name)
        site.__dict__["cohort"] = self.cohorts[name]  # as prepared from its files
        return SiteHandler(site, lifetime=self.lifetime)

    def answer(self, name: str, request: Request) -> Reply:
        message = new_message(to_records(request, self.protocol), MESSAGE_TYPES[type(request)], 1)
        answer = self.sites[name](message).content
        reply = from_records(answer)
        assert not isinstance(reply, Request) and spoken_in(answer) == self.protocol
        return reply

    def ask(self, name: str, request: Request) -> Any:
        """The answer, which is no refusal."""
        reply = self.answer(name, request)
        assert not isinstance(reply, Refusal), f"{name} refused {type(request).__name__}: {reply.code}"
        return reply

    # ---------------------------------------------------------------------------------------------- an honest script

    def invitation(self, number: int, run: str = RUN) -> JoinRequest:
        return JoinRequest(run, self.study.digest, self.roster.digest.hex(), number)

    def context(self, number: int, *, run: str = RUN, names: Sequence[str] = ()) -> SumContext:
        members = [
            Member.from_bytes(self.ask(name, self.invitation(number, run)).member) for name in names or self.names
        ]
        return SumContext(
            study=bytes.fromhex(self.study.digest),
            roster=self.roster.digest,
            run=run,
            number=number,
            threshold=threshold_of(self.study, len(members)),
            members=tuple(members),
            colluding=self.study.secure_sum.colluding,
            bits=word_bits(self.study.secure_sum.bits, len(members)),
        )

    def plan(self, **changes: Any) -> RoundPlan:
        """A round of training of all groups, unless told otherwise."""
        plan = RoundPlan(
            self.study.digest,
            RUN,
            1,
            1,
            ("update",),
            self.names,
            dict.fromkeys(("shared", *self.study.names), self.names),
            self.weights,
        )
        return replace(plan, **changes)

    def offered(self, number: int, *, names: Sequence[str] = (), run: str = RUN, **changes: Any) -> Sum:
        """Joined, and offered."""
        context = self.context(number, run=run, names=names)
        offers = {name: self.ask(name, OfferRequest(context.to_bytes())).offer for name in context.names}
        plan = self.plan(run=run, sites=context.names, **changes)
        return Sum(context, offers, plan, {})

    def round_request(self, sum: Sum, **changes: Any) -> RoundRequest:
        return RoundRequest(sum.context.number, replace(sum.plan, **changes), tuple(sum.offers.values()))

    def masked(self, sum: Sum, names: Collection[str] = ()) -> Sum:
        """These sites worked and uploaded."""
        for name in names or sum.context.names:
            self.ask(name, self.round_request(sum))
        return sum

    def confirmed(self, sum: Sum, survivors: Sequence[str] = ()) -> Sum:
        for name in survivors or sum.context.names:
            request = ConfirmRequest(sum.context.number, tuple(survivors or sum.context.names))
            sum.confirmations[name] = self.ask(name, request).confirmation
        return sum

    def reveal_request(self, sum: Sum, following: bytes = b"") -> RevealRequest:
        return RevealRequest(sum.context.number, tuple(sum.confirmations.values()), following)

    def revealed(self, sum: Sum) -> Sum:
        for name in sum.confirmations:
            self.ask(name, self.reveal_request(sum))
        return sum

    def summed(self, number: int, survivors: Sequence[str] = (), **changes: Any) -> Mapping[str, NDArray[np.float64]]:
        """A whole sum with the coordinator's real half: its values by segment."""
        return self.opened(self.offered(number, **changes), survivors)

    def opened(self, sum: Sum, survivors: Sequence[str] = (), **changes: Any) -> Mapping[str, NDArray[np.float64]]:
        """The same of a sum whose offers are there; `changes` are of its plan."""
        sum.plan = replace(sum.plan, **changes)
        site = self.sites[self.names[0]].site
        derived = derive(sum.plan, self.study, self.parameters, site.privacy)
        layout = derived.layout
        half = CoordinatorSum(sum.context, derived.digest, layout.length, self.roster)
        for offer in sum.offers.values():
            half.add_offer(Offer.from_bytes(offer))
        _ = half.offers
        for name in survivors or self.names:
            reply = self.ask(name, self.round_request(sum))
            half.add_masked(MaskedVector.from_bytes(reply.head), reply.masked)
        for confirmation in self.confirmed(sum, half.survivors).confirmations.values():
            half.add_confirmation(Confirmation.from_bytes(confirmation))
        _ = half.confirmations
        for name in half.survivors:
            half.add_reveal(Reveal.from_bytes(self.ask(name, self.reveal_request(sum)).reveal))
        values = FixedPoint(layout, bits=sum.context.bits, sites=len(sum.context.members)).values()
        half.open_into(values)
        return layout.part(values.vector)

    def played(self, number: int, survivors: Sequence[str] = (), *, run: str = RUN, **changes: Any) -> Sum:
        """A whole sum over these survivors of all sites."""
        sum = self.masked(self.offered(number, run=run, **changes), survivors)
        return self.revealed(self.confirmed(sum, survivors))


def refused(them: Hospitals, name: str, request: Request) -> str:
    """Ask for what must be refused: the code. It is on record, and the ledger is as it was."""
    ledger = them.folder / name / "ledger.jsonl"
    before = ledger.read_bytes() if ledger.exists() else b""
    reply = them.answer(name, request)
    assert isinstance(reply, Refusal), f"not refused: {type(reply).__name__}"
    assert reply.code in PUBLIC_CODES
    *_, last = them.sites[name].audit.events()
    assert isinstance(last.event, Refused) and last.event.code == reply.code
    assert last.event.request == type(request).__name__
    assert them.sites[name].audit.verify().broken is None
    assert (ledger.read_bytes() if ledger.exists() else b"") == before
    return reply.code


def allowed(state: Path, sites: Mapping[str, str]) -> list[str]:
    """A person there allows sums over these sites (name -> key): what this person is told."""
    records = SumRecords(state)
    told = records.showing(sites)
    records.allow(sites, told)
    return records.in_words(told, sites)


def copied(handler: SiteHandler, fresh: SiteHandler) -> SiteHandler:
    """`fresh` with the secrets and the offered sums of `handler`, as a machine resumed from a snapshot has them."""
    fresh.run, fresh.sums._run, fresh.sums._declared = handler.run, handler.sums._run, handler.sums._declared
    fresh.sums._consents = dict(handler.sums._consents)
    for number, present in handler.sums._sums.items():
        twin = copy.copy(present.sum)
        twin._steps, twin._answers = copy.copy(twin._steps), dict(twin._answers)
        twin._share_key, own = ShareKey(_twin(twin._share_key.secret)), present.sum._own
        assert own is not None
        shares = HeldShares(_twin(own.shares.key), _twin(own.shares.seed))
        twin._own = replace(own, mask_key=MaskKey(_twin(own.mask_key.secret)), seed=_twin(own.seed), shares=shares)
        fresh.sums._sums[number] = replace(present, sum=twin)
    return fresh


def _twin(secret: Secret) -> Secret:
    return Secret(secret.expose())
