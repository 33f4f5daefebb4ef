"""A study's run over the consortium's connected sites: the coordinator's own process, from the first invitation to the
report. Killed at any moment, it goes on where it was: `resume`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from common.disk.audit import Began, Ended, Summed
from common.errors import RunError
from common.plan import least_sites
from common.schedule import Schedule
from common.study import Study
from common.study_check import require_playable
from server.consortium.consortium import Consortium
from server.flower.control import Nodes, RefusedByServerError, by_site
from server.flower.grid import FlowerRun
from server.flower.supervisor import node_keys, place_of
from server.report.evidence import Evidence, RoundEvidence
from server.report.page import write
from server.report.release import round_released
from server.run.at_work import at_work
from server.run.checkpoint import CHECKPOINT_FILE, RunState, read
from server.run.finish import finish_held, outcome_of
from server.run.lost_sites import LostSiteError
from server.run.outcome import Outcome, outcome_in
from server.run.round_line import line
from server.run.run import Run
from server.run.run_folder import (
    LOCK_FILE,
    STUDY_FILE,
    begun,
    coverage_of_all,
    evidence_of,
    open_run,
    playing,
    save_model,
    tested,
)
from server.run.secure_sum import Keep
from server.run.watch import (
    ASK_OTHERS,
    NOT_LOOKED_AT,
    STATUS_FILE,
    RunStatus,
    SiteStatus,
    Watch,
    clock,
    left_in,
    listed,
    read_status,
    resumed_status,
    this_process,
)

MOST_ENDED = 100  # runs, of which sites are told that they are over
MOST_LOST = 5  # times that the server ends the run before it has done another round


@dataclass(frozen=True)
class Deployment:
    """What to run, and with whom. `sites`: exactly these; all of the consortium, if empty."""

    study: Study
    consortium: Consortium
    name: str
    sites: tuple[str, ...] = ()
    resume: bool = False
    models: Path | None = None
    seconds: float = 3600.0  # deadline of a round's work
    wait: float = 600.0  # for enough sites to be connected, at the start and in a round
    time_box: float = 0.0  # of a site's training in a round; 0 for none

    @property
    def folder(self) -> Path:
        return self.consortium.runs / self.name


def deploy(plan: Deployment, tell: Callable[[str], None] = lambda text: None) -> tuple[Outcome, Evidence]:
    """Play the run. RunError with the reason when it cannot start or go on. A run that is over is only reported on."""
    left = _left(plan)
    if plan.resume and (over := _over(plan)) is not None:
        return _told_again(plan, over, left)
    require_playable(plan.study)
    before = left.flower if left else 0
    _require_free(plan, left)
    if plan.resume:
        plan = _as_it_was_left(plan, left, tell)
    keys = _keys_of(plan)
    with playing(plan.folder), at_work(plan.consortium.state, keys, plan.name):
        open_run(plan.folder, plan.study, resume=plan.resume)
        chosen = sorted(keys) if plan.sites else []
        status = RunStatus(
            "", plan.study.digest, this_process(), rounds=plan.study.rounds, flower=before, chosen=chosen
        )
        status.sites = {name: SiteStatus(NOT_LOOKED_AT) for name in keys}
        if plan.resume:
            status = resumed_status(status, left)
            status.run, status.round = _saved_in(plan, status)
            status.asked |= (plan.folder / CHECKPOINT_FILE).exists()  # it is written as the first sum is announced
        try:
            with Watch(status, plan.folder / STATUS_FILE) as watch:
                watch.tell = tell
                run, outcome = _played(plan, keys, watch, tell)
                return outcome, _reported(plan, run.state.run, outcome)
        except LostSiteError as error:
            return _as_far_as_it_came(plan, error, tell)


def _left(plan: Deployment) -> RunStatus | None:
    """What this run's process left in its status; None where there is none, or one of another run that was put here.
    RunError for that of a newer release. Before the run is played: to look at this process's own lock lets it go.
    """
    left = left_in(plan.folder / STATUS_FILE)
    if left is None or not left.run or not plan.resume or not (plan.folder / CHECKPOINT_FILE).exists():
        return left
    state = read(plan.folder / CHECKPOINT_FILE, plan.study.digest)
    return left if left.run == state.run else None


def _require_free(plan: Deployment, left: RunStatus | None) -> None:
    """Refuse a run, new or resumed, the folder of one that had begun a sum and has lost its checkpoint, or of which
    nobody knows.
    """
    there = {name for name in (CHECKPOINT_FILE, STATUS_FILE, STUDY_FILE, LOCK_FILE) if (plan.folder / name).exists()}
    if CHECKPOINT_FILE in there or not (STATUS_FILE in there or {STUDY_FILE, LOCK_FILE} <= there):
        return  # a study beside no lock was put there by a person, and played by nobody
    if left is None or left.round >= 0 or left.asked:
        how = "damaged" if STATUS_FILE in there else "gone"
        of = "a run whose checkpoint is gone" if left else f"a run whose status is {how} and whose checkpoint is gone"
        raise RunError(
            f"{plan.folder}: is of {of}. Choose another --run name: what its sites were charged, if any, stays in "
            "their ledgers."
        )


def _saved_in(plan: Deployment, status: RunStatus) -> tuple[str, int]:
    """The name of a run that goes on, and the last round that is saved, also where its status is lost."""
    if not (plan.folder / CHECKPOINT_FILE).exists():
        return status.run, status.round
    state = read(plan.folder / CHECKPOINT_FILE, plan.study.digest)
    return state.run, state.round


def _reported(plan: Deployment, run: str, outcome: Outcome) -> Evidence:
    """Model and report of a run that came to its end, in its folder."""
    save_model(plan.folder, plan.study, outcome, plan.models)
    coverage = [coverage_of_all(plan.study, outcome)]
    evidence = evidence_of(
        plan.study, run, begun(plan.folder), outcome, coverage=coverage, comparisons=tested(plan.study, outcome)
    )
    write(evidence, plan.folder)
    return evidence


def _over(plan: Deployment) -> RunState | None:
    """The state of a run that came to its end; None for one that has something left to ask the sites."""
    if not (plan.folder / CHECKPOINT_FILE).exists():
        return None
    state = read(plan.folder / CHECKPOINT_FILE, plan.study.digest)
    return state if state.round >= Schedule(plan.study).last else None


def _told_again(plan: Deployment, state: RunState, left: RunStatus | None) -> tuple[Outcome, Evidence]:
    """Model and report of a run that is over, written anew from its checkpoint: no site is asked, or waited for."""
    before, chosen = (left.flower, list(left.chosen)) if left else (0, [])
    with playing(plan.folder):
        open_run(plan.folder, plan.study, resume=True)
        outcome = outcome_in(plan.study, state)
        evidence = _reported(plan, state.run, outcome)
        rounds = plan.study.rounds
        status = RunStatus(
            state.run, plan.study.digest, this_process(), "done", state.round, rounds, flower=before, chosen=chosen
        )
        with Watch(status, plan.folder / STATUS_FILE):
            return outcome, evidence


def _as_it_was_left(plan: Deployment, left: RunStatus | None, tell: Callable[[str], None]) -> Deployment:
    """A run goes on over the sites that it was begun with, unless others are named."""
    if left is not None and left.round < 0 and not (plan.folder / CHECKPOINT_FILE).exists():
        plan = replace(plan, resume=False)  # no sum was opened: there is nothing to go on from
    chosen = tuple(left.chosen) if left and not plan.sites else ()
    if not chosen:
        return plan
    tell(f"over the sites of before: {listed(chosen)} (name others with --site)")
    return replace(plan, sites=chosen)


def _as_far_as_it_came(plan: Deployment, error: LostSiteError, tell: Callable[[str], None]) -> tuple[Outcome, Evidence]:
    """The run waited for a lost site and can wait no longer: it ends with the model that it has, if it has one."""
    if not (plan.folder / CHECKPOINT_FILE).exists():
        raise error
    state = read(plan.folder / CHECKPOINT_FILE, plan.study.digest)
    if state.round < 1:
        raise error
    evidence = finish_held(plan.folder, str(error), models=plan.models)
    tell(evidence.warnings[-1])
    return outcome_of(plan.study, state), evidence


def _played(plan: Deployment, keys: dict[str, bytes], watch: Watch, tell: Callable[[str], None]) -> tuple[Run, Outcome]:
    """The run to its end. A server that was away for a minute has ended it: it goes on as another of the server's."""
    lost, done = 0, watch.status.round
    while True:
        before = watch.status.flower
        try:
            return _played_once(plan, keys, watch, tell)
        except RefusedByServerError:
            lost, done = (lost + 1 if watch.status.round == done else 1), watch.status.round
            if watch.status.flower == before or lost == MOST_LOST:
                raise
            tell("the server was away for so long that it ended the run; going on from what is saved")
        plan = replace(plan, resume=(plan.folder / CHECKPOINT_FILE).exists())


def _played_once(
    plan: Deployment, keys: dict[str, bytes], watch: Watch, tell: Callable[[str], None]
) -> tuple[Run, Outcome]:
    place, status = place_of(plan.consortium), watch.status

    def waiting(late: float) -> None:
        if late > 5:
            tell(f"the server has not answered for {late:.0f} seconds. Is `wardround coordinator up` running?")

    watch.doing("waiting for sites")
    numbers = _connected(plan, Nodes(place, waiting), keys, tell)
    with FlowerRun(place, waiting, before=status.flower) as grid, watch.asking(grid, Nodes(place), keys):
        status.flower = grid.run.run_id
        run = Run(
            plan.study,
            grid,
            plan.folder,
            sites=len(numbers),
            roster=plan.consortium.roster,
            models=plan.models,
            observer=_Both(watch, tell, plan, status),
            resume=plan.resume,
            seconds=plan.seconds,
            nodes=numbers,
            time_box=plan.time_box,
            wait=plan.wait,
            over=ended_runs(plan.folder),
        )
        status.run, status.round = run.state.run, run.state.round
        run.summation.keep = _saying_so(watch, run.summation.keep)
        watch.dropped = lambda: run.summation.dropped
        watch.joined, watch.limit = (lambda: run.summation.joined), plan.seconds
        return run, _recorded(plan, run, len(keys))


def _saying_so(watch: Watch, keep: Keep) -> Keep:
    """`keep`, by which a sum is announced, and then the status says that one was begun. No site has heard of it yet:
    where the checkpoint cannot be written, nothing was.
    """

    def begun(number: int, survivors: Sequence[str]) -> None:
        keep(number, survivors)
        watch.begun()

    return begun


def ended_runs(mine: Path) -> tuple[str, ...]:
    """The numbers of the newest runs, beside the one in `mine`, that nobody plays any more: no site waits for them."""
    found = sorted(mine.parent.glob(f"*/{STATUS_FILE}"), key=lambda path: path.stat().st_mtime)[-MOST_ENDED:]
    over = list[str]()
    for path in found:
        if path.parent == mine:
            continue  # to look at its lock would let it go
        with suppress(RunError):
            status = read_status(path)
            if status.ended and status.run:
                over.append(status.run)
    return tuple(over)


def _recorded(plan: Deployment, run: Run, sites: int) -> Outcome:
    """The run, with its begin and its end in the coordinator's audit log."""
    audit, study = plan.consortium.audit, plan.study.digest
    audit.append(Began(study, run.state.run, sites))
    outcome: Literal["completed", "stopped", "failed"] = "failed"
    try:
        played = run.play()
        outcome = "completed"
        return played
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        audit.append(Ended(study, run.state.run, outcome))


def _keys_of(plan: Deployment) -> dict[str, bytes]:
    keys = node_keys(plan.consortium)
    unknown, there = sorted(set(plan.sites) - keys.keys()), ", ".join(keys) or "none yet"
    if unknown:
        raise RunError(f"No site of the consortium is called {', '.join(unknown)}. Its sites: {there}.")
    chosen = {site: key for site, key in keys.items() if not plan.sites or site in plan.sites}
    least = least_sites(plan.study)
    if len(chosen) < least:
        raise RunError(
            f"The study needs {least} sites, and there are {len(chosen)}: {', '.join(chosen) or 'none'}. "
            "Admit more (`wardround consortium admit REQUEST`), or choose more with --site."
        )
    return chosen


def _connected(plan: Deployment, nodes: Nodes, keys: dict[str, bytes], tell: Callable[[str], None]) -> dict[int, str]:
    """The nodes of the chosen sites, connected or not, with their names, once enough are connected to begin."""
    least = least_sites(plan.study)
    ends, until, said = time.monotonic() + plan.wait, time.time() + plan.wait, ""
    while True:
        there = by_site(nodes.listed(), keys)
        online = sorted(site for site, node in there.items() if node.online)
        away = sorted(keys.keys() - set(online))
        text = f"{len(online)} of {len(keys)} sites are connected"
        if text != said:
            tell(text + (f"; waiting for {listed(away)} until {clock(until)}" if away else ""))
            said = text
        if len(online) == len(keys) or (len(online) >= least and time.monotonic() > ends):
            return {node.node: site for site, node in there.items()}
        if time.monotonic() > ends:
            raise RunError(
                f"{len(online)} of {len(keys)} sites are connected ({', '.join(online) or 'none'}), and {least} are "
                f"needed. {ASK_OTHERS}, or wait longer with --wait."
            )
        time.sleep(0.5)


class _Both:
    """An observer that tells the watch, the person at the terminal, and the audit log."""

    def __init__(self, watch: Watch, tell: Callable[[str], None], plan: Deployment, status: RunStatus) -> None:
        self._watch, self._tell, self._plan, self._status = watch, tell, plan, status

    def doing(self, what: str) -> None:
        self._watch.doing(what)

    def told(self, sentence: str) -> None:
        self._tell(sentence)

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        done = Summed(
            self._plan.study.digest,
            self._status.run,
            evidence.round,
            evidence.sites,
            evidence.dropped,
            evidence.bytes_up,
        )
        self._plan.consortium.audit.append(done)
        self._watch.round_done(evidence, rounds)
        self._tell(line(round_released(evidence), rounds))
