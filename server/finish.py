"""The end of a run that cannot go on: of its checkpoint a model and a report, which say after which round and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.errors import RunError
from common.statistics import normaliser_from_sums
from common.study import Study, read_study
from server.checkpoint import CHECKPOINT_FILE, RunState, read
from server.report.evidence import Evidence, RoundEvidence
from server.report.page import write
from server.run import Outcome, by_round
from server.run_folder import STUDY_FILE, begun, coverage_of_all, evidence_of, playing, save_model
from server.trained import partly_in, uncounted_in, untrained_in
from server.watch import STATUS_FILE, read_status

STOPPED = "it was stopped"


def finish(folder: Path, *, models: Path | None = None) -> Evidence:
    """Write model and report of the run in `folder`, as far as it came; the reason is the one its process left.

    `models`: pretrained weights that the study names. RunError where no round was trained yet, where the run came to
    its end, or where another process plays it. The checkpoint stays: a run that may go on yet is resumed as before.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        if (folder / STUDY_FILE).exists():
            raise RunError(f"{folder}: this run ended before its first sum, so there is no model. {reason_of(folder)}")
        raise RunError(f"{folder}: holds no checkpoint of a run. Give the run's own folder, or its name.")
    why = reason_of(folder)  # here, for to look at this process's own lock would let it go
    with playing(folder):
        return finish_held(folder, why, models=models)


def finish_held(folder: Path, why: str, *, models: Path | None = None) -> Evidence:
    """The same, for the process that plays the run. `why`: the reason, as the end of a sentence."""
    study = read_study(folder / STUDY_FILE)
    state = read(folder / CHECKPOINT_FILE, study.digest)
    _require_unfinished(folder, study, state)
    outcome = outcome_of(study, state)
    save_model(folder, study, outcome, models)
    evidence = evidence_of(
        study,
        state.run,
        begun(folder),
        outcome,
        coverage=[coverage_of_all(study, outcome)],
        simulated=not (folder / STATUS_FILE).exists(),
    )
    rounds = min(state.round, study.rounds)
    said = f"This run ended after round {rounds} of {study.rounds}, before its end was reached: {why.rstrip('.')}."
    evidence = replace(evidence, warnings=(*evidence.warnings, said))
    write(evidence, folder)
    return evidence


def reason_of(folder: Path) -> str:
    """Why the process of this run ended, as it left it. A simulation leaves nothing."""
    if not (folder / STATUS_FILE).exists():
        return STOPPED
    return read_status(folder / STATUS_FILE).ended or STOPPED


def _require_unfinished(folder: Path, study: Study, state: RunState) -> None:
    if state.round < 1:
        raise RunError(
            f"{folder}: no round was trained yet, so there is no model. Resume the run, or start another one."
        )
    if state.round >= study.rounds + 2:
        raise RunError(
            f"{folder}: this run came to its end. Resume it, should its report be missing: nothing is asked anew."
        )


def outcome_of(study: Study, state: RunState) -> Outcome:
    """What the rounds up to the last one that was saved leave. Test patients scored nothing."""
    history = [RoundEvidence(**entry) for entry in state.history]
    thresholds = [entry.threshold for entry in history if entry.threshold is not None]
    sums = {name[4:]: value for name, value in state.arrays.items() if name.startswith("sum/")}
    chosen, selected = _model_of(study, state)
    shown = by_round(history, study.rounds)
    if len(history) <= study.rounds + 1:  # the last round's model was scored by nobody
        shown = (*shown, replace(history[-1], metrics=None))
    return Outcome(
        weights=state.arrays[chosen],
        selected_round=selected,
        history=shown,
        statistics=sums,
        normaliser=normaliser_from_sums(study, sums),
        test=None,
        threshold=min(thresholds, default=None),
        sites=history[-1].sites,
        untrained=untrained_in(study, state, selected),
        uncounted=uncounted_in(state),
        partly=partly_in(study, state, selected),
    )


def _model_of(study: Study, state: RunState) -> tuple[str, int]:
    """Which weights of the state to keep, and the round they are of: as a run keeps them, of what there is."""
    trained = min(state.round, study.rounds)
    unscored = state.best_score == float("-inf")  # a model is scored in the round after it: the latest was by nobody
    if study.private or not study.split.validates or state.best_round < 1 or unscored:
        return "weights", trained
    return "best", state.best_round
