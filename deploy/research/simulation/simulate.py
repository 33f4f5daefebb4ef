"""A whole study on one machine: the sites' handlers behind the in-process grid, the coordinator's run, the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from client.terms import require_terms
from common.errors import CohortError, RunError, SiteFailedError
from common.format_number import NEWER
from common.identity.roster import Roster
from common.messages import JoinRequest
from common.protocols import needed
from common.study import Study
from common.study_check import require_playable
from deploy.research.simulation.baselines import Contender, Judged, contenders, judge_all, judge_model, models_of
from deploy.research.simulation.enrol import enrol
from deploy.research.simulation.faults import Loss, Losses
from deploy.research.simulation.grid import InProcessGrid
from deploy.research.simulation.hospitals import Looked, look, require_all, require_two_classes
from deploy.research.simulation.resumed import begin_anew, keep, require_same, require_same_sites
from deploy.research.simulation.worker import SitePlace, Watched
from server.report.evidence import Comparison, Coverage, Evidence, read_evidence
from server.run.checkpoint import CHECKPOINT_FILE
from server.run.finish import SITES, leaving_its_reason
from server.run.invitation import invite
from server.run.observer import Observer, Unwatched
from server.run.outcome import Outcome
from server.run.run import Run
from server.run.run_folder import (
    REPORT_FILE,
    begun,
    coverage_of,
    coverage_of_all,
    evidence_of,
    open_run,
    playing,
    require_begun,
    save_model,
    tested,
)
from server.run.site_rows import keep_rows


@dataclass(frozen=True)
class Simulation:
    """What to simulate, and where. `folder` is the run's own: checkpoint, ledgers, log, report."""

    study: Study
    hospitals: tuple[Path, ...]
    folder: Path
    workers: int = field(default_factory=lambda: max(1, len(os.sched_getaffinity(0))))
    losses: tuple[Loss, ...] = ()
    resume: bool = False
    compare: bool = True
    seconds: float = 3600.0  # deadline of each leg


def simulate(
    plan: Simulation,
    observer: Observer | None = None,
    watch: Callable[[str, Watched], None] | None = None,
    tell_data: Callable[[Looked], None] = lambda found: None,
) -> tuple[Outcome, Evidence]:
    """Run the study, and the comparisons if asked. The run's folder then holds model, checkpoint and ledgers.

    tell_data: called with each site's data, before anything is trained
    RunError where another process plays, or finishes, this run.
    """
    observer = observer or Unwatched()
    require_playable(plan.study, len(plan.hospitals))
    if plan.resume:
        require_begun(plan.folder)  # before the lock: it would make the folder of a name that is no run
    with playing(plan.folder):
        return _simulate(plan, observer, watch, tell_data)


def _simulate(
    plan: Simulation,
    observer: Observer,
    watch: Callable[[str, Watched], None] | None,
    tell_data: Callable[[Looked], None],
) -> tuple[Outcome, Evidence]:
    """The same, for the process that plays the run."""
    open_run(plan.folder, plan.study, resume=plan.resume)
    names = [read_site(folder).file.site for folder in plan.hospitals]
    sites, trained = plan.folder / SITES, (plan.folder / CHECKPOINT_FILE).exists()
    if plan.resume:
        require_same_sites(names, sites, trained=trained)
    else:
        begin_anew(sites)
    _require_modalities(plan)
    places = [SitePlace(folder, sites / name) for folder, name in zip(plan.hospitals, names, strict=True)]
    roster = enrol(plan.folder.name, dict(zip(names, (place.state for place in places), strict=True)))
    fate = Losses(plan.losses, {name: node for node, name in enumerate(names, start=1)}) if plan.losses else None
    tell = (lambda event: watch(names[event.node - 1], event)) if watch else None
    log = plan.folder / "sites.log"
    observer.doing("starting the sites")
    with InProcessGrid(plan.study, places, workers=plan.workers, log=log, watch=tell, fate=fate) as grid:
        seen = _require_ready(plan, grid, roster)
        since = require_same(seen, sites, trained=trained) if plan.resume else {}
        for found in seen:
            keep(found, sites, goes_on=trained)
            tell_data(found)
        said = [f"{site}: {sentence}" for site, sentences in since.items() for sentence in sentences]
        for sentence in said:
            observer.told(sentence)
        run = Run(
            plan.study,
            grid,
            plan.folder,
            sites=len(places),
            roster=roster,
            models=models_of(plan.hospitals),
            observer=observer,
            resume=plan.resume,
            nodes=dict(enumerate(names, start=1)),
        )
        rows = _rows(plan, ())
        keep_rows(plan.folder, rows)
        with leaving_its_reason(plan.folder):
            outcome = run.play()
    save_model(plan.folder, plan.study, outcome, models_of(plan.hospitals))
    comparisons = _comparisons(plan, names, outcome, observer) if plan.compare else _kept(plan, run, outcome)
    rows = _rows(plan, outcome.untrained) if outcome.untrained else rows
    said += [f"{found.site}: {sentence}" for found in seen for sentence in found.loud]
    evidence = evidence_of(
        plan.study,
        run.state.run,
        begun(plan.folder),
        outcome,
        coverage=[coverage_of_all(plan.study, outcome), *rows],
        comparisons=comparisons,
        simulated=True,
    )
    return outcome, replace(evidence, warnings=(*evidence.warnings, *said))


def _comparisons(plan: Simulation, names: Sequence[str], outcome: Outcome, observer: Observer) -> list[Comparison]:
    return [
        Comparison(item.label, item.kind, item.metrics, item.interval, _note(plan.study, item))
        for item in _compare(plan, names, outcome, observer)
    ]


def _kept(plan: Simulation, run: Run, outcome: Outcome) -> list[Comparison]:
    """Return what this very run was compared with before, for it has not changed since; else its one sum over the test
    patients.
    """
    path = plan.folder / REPORT_FILE
    if plan.resume and path.exists():
        try:
            before = read_evidence(path)
        except RunError as problem:
            if NEWER in str(problem):
                raise
            return tested(plan.study, outcome)  # a kill or a disk has damaged it: it is written anew
        if before.run == run.state.run and before.comparisons:
            return list(before.comparisons)
    return tested(plan.study, outcome)


def _note(study: Study, item: Judged) -> str:
    """Beside a comparison: which round; the page itself says which models have no noise."""
    return item.said + (", steps tuned" if study.private and item.kind != "federated" else "")


def _require_modalities(plan: Simulation) -> None:
    """A modality that no site has cannot be learned: say it before any work is done."""
    there = set[str]().union(*(read_site(folder).file.modalities for folder in plan.hospitals))
    nobody = [name for name in plan.study.names if name not in there]
    if nobody:
        raise CohortError(
            f"modalities.{', modalities.'.join(nobody)}: no site has this modality. "
            "Name it in a site.yaml, or take it out of the study."
        )


def _require_ready(plan: Simulation, grid: InProcessGrid, roster: Roster) -> list[Looked]:
    """Every site reads its data before anything is trained. A deployed run would go on without a site that cannot; a
    researcher wants to know what is wrong, so all such sites' own errors are raised here, as one.
    """
    nodes = list(grid.get_node_ids())
    request = JoinRequest("0" * 16, plan.study.digest, roster.digest.hex(), 0)
    joined, _ = invite(grid, nodes, request, roster, seconds=plan.seconds, protocol=needed(plan.study))
    seen = [look(folder, plan.study) for folder in plan.hospitals]
    require_all(seen)
    for node, folder in enumerate(plan.hospitals, start=1):
        if node not in joined:
            require_terms(read_site(folder).file, plan.study, simulated=True)
            raise SiteFailedError(f"{folder}: the site did not answer; see {plan.folder / 'sites.log'}.")
    require_two_classes(seen, plan.study)
    return seen


def _compare(plan: Simulation, names: Sequence[str], outcome: Outcome, observer: Observer) -> list[Judged]:
    used = [name for name in plan.study.names if name not in outcome.untrained]
    ours = judge_model(
        plan.study,
        plan.hospitals,
        outcome.weights,
        outcome.normaliser,
        "federated",
        "federated",
        outcome.selected_round,
        used,
    )
    wanted: list[Contender] = contenders(names)
    judged = [ours]
    observer.doing(f"training {len(wanted)} models to compare with")
    for found in judge_all(plan.study, plan.hospitals, wanted, workers=plan.workers, used=used):
        judged.append(found)
        observer.doing(f"compared with {found.label}: {len(judged) - 1} of {len(wanted)}")
    order = {contender.label: place for place, contender in enumerate(wanted)}
    return sorted(judged, key=lambda item: order.get(item.label, -1))


def _rows(plan: Simulation, untrained: Collection[str]) -> list[Coverage]:
    """The sites one by one, because this is a simulation, without the modalities that are absent in the run."""
    rows = list[Coverage]()
    for folder in plan.hospitals:
        site = read_site(folder)
        cohort = prepare(site, plan.study).seen_with(set(plan.study.names) - set(untrained))
        rows.append(coverage_of(plan.study, site.file.site, statistic_sums(plan.study, cohort), untrained))
    return rows
