"""What each side derives from a plan by its own code: where it differs, there is a named refusal and never a sum.

Three real handlers of 40 training patients each, and the coordinator's real half. One side's release is another: it
derives another bound, order, name, parameter table or privacy plan. Before, the sum was opened as 160, or 80.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import client.round.round
import common.derived
import server.run.secure_sum
from common.errors import RunError, TooFewSitesError
from common.messages import RoundRequest
from common.parameters import Parameters
from common.plan import RoundPlan
from common.privacy.plan import PrivacyPlan, plan_privacy
from common.questions import layout_of
from common.study import Study
from common.summand import Layout, Segment
from server.lost import Lost, Refused
from server.run.secure_sum import Summation
from tests.server.test_summation import HandlerGrid
from tests.support.scripted import PLAIN, PRIVATE, RUN, Hospitals, cohort_of
from tests.support.tiny import study_of

NAMES = ("east", "north", "south")
OTHER_RELEASE = Lost("round", Refused("other_release"))
ODD = "south"

Other = Callable[[tuple[Segment, ...]], tuple[Segment, ...]]
RELEASES: dict[str, Other] = {  # what another release makes of the same segments
    "half the bound": lambda those: tuple(replace(one, bound=one.bound / 2) for one in those),
    "twice the bound": lambda those: tuple(replace(one, bound=one.bound * 2) for one in those),
    "another order": lambda those: tuple(reversed(those)),
    "another name": lambda those: (replace(those[0], name="weight/all"), *those[1:]),
    "an ulp of one bound": lambda those: (replace(those[0], bound=float(np.nextafter(those[0].bound, 0))), *those[1:]),
}


@dataclass
class Meeting:
    """Three sites and a coordinator; `differ` gives one of them another release."""

    them: Hospitals
    monkeypatch: pytest.MonkeyPatch

    def differ(self, who: str, other: Other) -> None:
        """From now on `who` (a site, or the coordinator) derives other segments."""
        own = self.them.parameters if who == "coordinator" else self.them.sites[who].site.parameters

        def derived(plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None) -> Layout:
            found = layout_of(plan, study, parameters, privacy)
            return Layout(other(found.segments)) if parameters is own else found

        self.monkeypatch.setattr(client.round.round, "layout_of", derived)
        self.monkeypatch.setattr(common.derived, "layout_of", derived)

    @property
    def summation(self) -> Summation:
        grid, study = HandlerGrid(self.them), self.them.study
        privacy = plan_privacy(study)
        nodes = list(grid.get_node_ids())
        return Summation(
            grid, study, RUN, self.them.roster, nodes,
            lambda plan: common.derived.derive(plan, study, self.them.parameters, privacy), 0.5,
        )  # fmt: skip

    def plan(self, holders: Any, working: Any) -> RoundPlan:
        return self.them.plan(sites=NAMES, owners=dict.fromkeys(("shared", "chart"), NAMES))

    def charged(self) -> list[str]:
        """The sites that have an entry in their ledger."""
        files = {name: self.them.folder / name / "ledger.jsonl" for name in NAMES}
        return [name for name, path in files.items() if path.exists() and path.stat().st_size]


def meeting(folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> Meeting:
    study = study_of("chart", **sections)
    cohorts = {name: cohort_of(study, name, seed=place, patients=40) for place, name in enumerate(NAMES)}
    return Meeting(Hospitals(folder, study, names=NAMES, cohorts=cohorts), monkeypatch)


MODES = {
    "plain": PLAIN,
    "private": PRIVATE,
    "in the open": PLAIN | {"secure_sum": {"enabled": False}},
}


@pytest.mark.parametrize("mode", MODES)
def test_one_release_opens_the_true_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    meet = meeting(tmp_path, monkeypatch, **MODES[mode])
    total = meet.summation.total(meet.plan, last=True)
    assert total.sites == NAMES
    assert total.values["weight/shared"].tolist() == [3.0 if mode == "private" else 120.0]


@pytest.mark.parametrize("release", RELEASES)
def test_a_site_of_another_release_is_named_and_no_sum_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    """It says no before its ledger is charged."""
    meet = meeting(tmp_path, monkeypatch, **PRIVATE)
    meet.differ(ODD, RELEASES[release])
    summation = meet.summation
    with pytest.raises(TooFewSitesError):
        summation.total(meet.plan, last=True)
    assert summation.dropped == {ODD: OTHER_RELEASE}
    assert "install one release of wardround everywhere" in summation.explain(TooFewSitesError(""))
    assert ODD not in meet.charged()


@pytest.mark.parametrize("release", RELEASES)
def test_a_coordinator_of_another_release_is_refused_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    meet = meeting(tmp_path, monkeypatch, **PRIVATE)
    meet.differ("coordinator", RELEASES[release])
    summation = meet.summation
    with pytest.raises(TooFewSitesError):
        summation.total(meet.plan, last=True)
    assert dict(summation.dropped) == dict.fromkeys(NAMES, OTHER_RELEASE)
    assert not meet.charged()


@pytest.mark.parametrize("release", RELEASES)
def test_masks_of_another_release_cancel_nobodys_even_where_nothing_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    """A coordinator that leaves its own digest out: the transcript alone holds."""
    meet = meeting(tmp_path, monkeypatch, **PLAIN)
    meet.differ(ODD, RELEASES[release])
    monkeypatch.setattr(
        server.run.secure_sum, "RoundRequest", lambda number, plan, offers, _: RoundRequest(number, plan, offers)
    )
    with pytest.raises(TooFewSitesError):
        meet.summation.total(meet.plan, last=True)


@pytest.mark.parametrize("who", [ODD, "coordinator"])
@pytest.mark.parametrize("said", [True, False])
def test_in_the_open_what_was_derived_otherwise_is_not_added_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, said: bool
) -> None:
    meet = meeting(tmp_path, monkeypatch, **MODES["in the open"])
    meet.differ(who, RELEASES["half the bound"])
    if not said:
        monkeypatch.setattr(
            server.run.secure_sum, "RoundRequest", lambda number, plan, offers, _: RoundRequest(number, plan, offers)
        )
    summation = meet.summation
    if who == "coordinator":
        with pytest.raises(RunError, match="No site did the round's work"):
            summation.total(meet.plan, last=True)
    else:
        total = summation.total(meet.plan, last=True)
        assert total.sites == ("east", "north") and total.values["weight/shared"].tolist() == [80.0]  # of those two
    assert ODD in summation.dropped


@pytest.mark.parametrize("change", ["parameters", "pretrained", "privacy"])
def test_a_parameter_table_and_a_privacy_plan_are_bound_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The same lengths and bounds, and other places for the weights, or other noise."""
    meet = meeting(tmp_path, monkeypatch, **PRIVATE)
    site = meet.them.sites[ODD].site
    if change == "parameters":
        names = site.parameters.names
        site.__dict__["parameters"] = replace(site.parameters, names=(names[1], names[0], *names[2:]))
    elif change == "pretrained":  # another revision of the model at one hospital
        site.__dict__["parameters"] = replace(site.parameters, pretrained=(("letter", "0" * 64),))
    else:
        assert site.privacy is not None
        site.__dict__["privacy"] = replace(site.privacy, noise_multiplier=site.privacy.noise_multiplier + 0.001)
    summation = meet.summation
    with pytest.raises(TooFewSitesError):
        summation.total(meet.plan, last=True)
    assert summation.dropped == {ODD: OTHER_RELEASE}
