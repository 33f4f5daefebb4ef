"""How fast a site works tells how many patients it has: of a private study neither reply nor activity shows steps."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from client.agent.agent import Agent
from client.agent.handlers import SiteHandler
from client.consent.approvals import Approvals
from client.round.session import Site
from client.site import read_site
from common.messages import ActivityReply, JoinRequest, RoundReply, from_records, to_records
from common.record_bytes import from_bytes, to_bytes
from common.study import Study
from deploy.research.simulation.enrol import enrol
from tests.support.hospital import hospital
from tests.support.hospital import study_of as hospital_study
from tests.support.scripted import ME, PLAIN, PRIVATE, Hospitals, cohort_of
from tests.support.tiny import study_of

MANY, FEWER = 100_000, 500  # steps: those that the clock cut off are taken as well where there is privacy
TRAINING = {"local_steps": MANY, "batch_size": 4}


def steps_said(folder: Any, study: Study, patients: int) -> int:
    """What a round says that was stopped by the clock: the study's, or where there is privacy the site's own."""
    them = Hospitals(folder, study, cohorts={ME: cohort_of(study, ME, patients=patients)})
    site = them.sites[ME].site
    if study.private:
        file = site.folder.file
        site.folder = replace(site.folder, file=replace(file, policy=replace(file.policy, round_seconds=0.01)))
    reply = them.ask(ME, them.round_request(them.offered(1, seconds=0.3)))
    assert isinstance(reply, RoundReply)
    return reply.steps


def test_a_private_round_that_the_clock_stops_says_the_studys_steps(tmp_path, caplog) -> None:
    study = study_of("chart", training=TRAINING | {"local_steps": FEWER}, **PRIVATE)
    with caplog.at_level(logging.WARNING, "wardround.site"):
        said = {steps_said(tmp_path / str(patients), study, patients) for patients in (1, 40)}
    assert said == {FEWER}
    assert "stopped by the clock after" in caplog.text  # the site itself knows


def test_without_privacy_it_says_how_far_it_came(tmp_path) -> None:
    said = steps_said(tmp_path, study_of("chart", training=TRAINING, **PLAIN), 40)
    assert 0 < said < MANY


@dataclass
class Watched:
    """An agent whose activity is asked for at each step of a round."""

    agent: Agent
    said: list[ActivityReply] = field(default_factory=list)

    def look(self, state: str, done: int, total: int) -> None:
        self.agent.activities(state, done, total)
        self.said.append(self.agent.activities.reply())


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
def test_the_activity_of_a_private_study_is_working_and_no_more(tmp_path, mode) -> None:
    folder = hospital(tmp_path / "ward").root
    study = replace(hospital_study(modalities=["labs"]), privacy=study_of(**mode).privacy)
    site = read_site(folder)
    state = site.path(site.file.state)
    roster = enrol("test", {site.file.site: state, "east": tmp_path / "east", "west": tmp_path / "west"})
    Approvals(state).approve(study)
    watched = Watched(Agent(site, handler=lambda made: SiteHandler(_telling(made, watched))))
    request = to_bytes(to_records(JoinRequest("0123456789abcdef", study.digest, roster.digest.hex(), 1)))
    reply = from_records(from_bytes(watched.agent.answer(request)))
    assert type(reply).__name__ == "JoinReply"
    handler = watched.agent._warm
    assert handler is not None
    for what in ("training", "scoring", "reading"):
        handler.site.progress(what, 2, 3)
    told = {(reply.state, reply.done, reply.total) for reply in watched.said}
    if study.private:
        assert told == {("working", 0, 0)}
    else:
        assert ("training", 2, 3) in told and ("scoring", 0, 0) in told


def _telling(site: Site, watched: Watched) -> Site:
    site.progress = watched.look
    return site
