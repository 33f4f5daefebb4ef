"""The end of a run that cannot go on: of its checkpoint a model and a report, which say after which round and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.disk.atomic_file import write_whole
from common.errors import RunError, WardroundError
from common.format_number import KEY, take_format
from common.schedule import Schedule
from common.statistics import normaliser_from_sums
from common.study import Study, read_study
from server.report.evidence import Evidence
from server.report.page import write
from server.run.charged import charged_at_most
from server.run.checkpoint import CHECKPOINT_FILE, RunState, read
from server.run.history import by_round, history_in
from server.run.inquired import found_in
from server.run.outcome import Outcome
from server.run.reasons import SAVED
from server.run.run_folder import (
    ENDED_EARLY,
    STUDY_FILE,
    begun,
    coverage_of_all,
    evidence_of,
    playing,
    require_newest,
    require_not_played,
    results_in,
    save_model,
)
from server.run.site_rows import kept_rows
from server.run.trained import partly_in, scored_in, uncounted_in, untrained_in
from server.run.watch import ASK_OTHERS, GO_ON, KILLED, STATUS_FILE, mark_finished, read_status, stored_status, why_of

UNSAID = "it left no reason"
END_FILE, END_FORMAT = "ended.json", 1  # why a simulation ended, which has no status
# What a reason says to whoever could go on with the run, from here on: it is no part of why the run ended.
ADVICE = (
    f"; {GO_ON}",
    f" {SAVED}",
    " `wardround finish ",
    ": start it as a new run",
    ", and nothing was charged",
    f" {ASK_OTHERS}",
)
NOT_BEGUN = "Not begun: "  # of a run that was refused as it was to go on: rounds before it were
SITES = "sites"  # the folder of a simulation's sites, in its run's


def finish(folder: Path, *, models: Path | None = None) -> Evidence:
    """Write model and report of the run in `folder`, as far as it came; the reason is the one its process left.

    `models`: pretrained weights that the study names. RunError where no round was trained yet, where the run came to
    its end, or where another process plays it. The checkpoint stays: a run that may go on yet is resumed as before.
    """
    if not (folder / CHECKPOINT_FILE).exists():
        require_not_played(folder)
        raise RunError(_without_checkpoint(folder))
    # Here, for to look at this process's own lock would let it go.
    why = reason_of(folder, read(folder / CHECKPOINT_FILE, read_study(folder / STUDY_FILE).digest))
    with playing(folder):
        return finish_held(folder, why, models=models)


def _without_checkpoint(folder: Path) -> str:
    if not (folder / STUDY_FILE).exists():
        return f"{folder}: holds no checkpoint of a run. Give the run's own folder, or its name."
    left = stored_status(folder / STATUS_FILE)
    if there := results_in(folder):
        return (
            f"{folder}: the checkpoint of this run is gone, so no other model and report can be made of it. It has "
            f"{' and '.join(there)}, which stay as they are."
        )
    if left is not None and (left.round >= 0 or left.asked):
        return (
            f"{folder}: the checkpoint of this run is gone, and with it what its sums had come to. What its sites were "
            "charged stays in their ledgers."
        )
    return f"{folder}: this run ended before its first sum, so there is no model. {reason_of(folder)}"


def finish_held(folder: Path, why: str, *, models: Path | None = None) -> Evidence:
    """The same, for the process that plays the run. `why`: the reason, as the end of a sentence."""
    study = read_study(folder / STUDY_FILE)
    state = read(folder / CHECKPOINT_FILE, study.digest)
    _require_unfinished(folder, study, state)
    require_newest(folder, study, state)
    outcome, simulated = outcome_of(study, state), _is_simulation(folder)
    rows = kept_rows(folder) if simulated and not outcome.untrained else []
    save_model(folder, study, outcome, models)
    evidence = evidence_of(
        study,
        state.run,
        begun(folder),
        outcome,
        coverage=[coverage_of_all(study, outcome), *rows],
        simulated=simulated,
    )
    rounds, why, charged = min(state.round, study.rounds), _without_advice(why), charged_at_most(study, state)
    said = [f"{ENDED_EARLY}{rounds} of {study.rounds}, before its end was reached: {why}."]
    if charged is not None:
        said.insert(0, _charged(study, charged))
    evidence = replace(evidence, warnings=(*evidence.warnings, *said), open_epsilon=charged)
    write(evidence, folder)
    mark_finished(folder / STATUS_FILE, state.run, rounds, why)
    return evidence


def _charged(study: Study, most: float) -> str:
    return (
        "The epsilon here is what the sites certified in this run's sums. A round that was begun and not saved may "
        f"be charged at the sites as well: a patient may have spent about {most:.2f} then, or more at a site whose "
        "answers were lost and whose ledger has other runs or studies, and never more than the "
        f"{study.privacy.epsilon:g} that the study allows. `wardround site status` shows at a hospital what is charged."
    )


def _without_advice(why: str) -> str:
    for advice in ADVICE:
        why = why.partition(advice)[0]
    shown = "".join(sign if sign.isprintable() else " " for sign in why.removeprefix(NOT_BEGUN))
    return shown.rstrip(".")


def _is_simulation(folder: Path) -> bool:
    """Whether a run's sites are in its own folder. Of whatever else, small counts are not shown: of a deployed run's
    folder that has lost its status, too.
    """
    return (folder / SITES).is_dir() and not (folder / STATUS_FILE).exists()


def reason_of(folder: Path, state: RunState | None = None) -> str:
    """Why the process of this run ended, as it left it: a deployed one in its status, a simulation in a file for it.

    state: of its checkpoint. A status of another run, put back here, says nothing of it; and a simulation that was
        resumed, and came to no sum, has not ended for what ended it then
    """
    if (folder / STATUS_FILE).exists():
        stored = stored_status(folder / STATUS_FILE)
        others = stored is not None and state is not None and stored.run not in ("", state.run)
        return (read_status(folder / STATUS_FILE).reason if stored and not others else "") or UNSAID
    try:
        left: Any = json.loads((folder / END_FILE).read_text(encoding="utf-8"))
        if type(left.get(KEY)) is not int:
            return UNSAID
        take_format(left, END_FORMAT, str(folder / END_FILE), RunError)
        same = state is not None and left.get("sums") == state.number
        return str(left.get("before") or left["why"]) if same else str(left["why"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return UNSAID


@contextmanager
def leaving_its_reason(folder: Path) -> Iterator[None]:
    """Keep in a simulation's folder why it ended, whatever ended it; who is killed has left that it was.

    What cannot be written, on a full disk, is not kept, and hides nothing of the error that ended the run.
    """
    state = _resumed(folder)
    before = reason_of(folder, state) if state is not None else UNSAID
    earlier = {"sums": state.number, "before": before} if state is not None and before != UNSAID else {}
    _leave(folder, KILLED, earlier)
    try:
        yield
    except BaseException as error:
        why = why_of(error)
        _leave(folder, why, {} if why.startswith(NOT_BEGUN) else earlier)  # that it cannot go on is why it ended
        raise
    _forget(folder)


def _resumed(folder: Path) -> RunState | None:
    """The state that a simulation goes on from; None where there is none that can be read."""
    with suppress(WardroundError):
        return read(folder / CHECKPOINT_FILE, read_study(folder / STUDY_FILE).digest)
    return None


def _leave(folder: Path, why: str, earlier: Mapping[str, object]) -> None:
    """earlier: why it had ended before, and after how many sums: it holds until there is another one"""
    try:
        write_whole(folder / END_FILE, (json.dumps({KEY: END_FORMAT, "why": why, **earlier}) + "\n").encode())
    except RunError:
        _forget(folder)


def _forget(folder: Path) -> None:
    with suppress(OSError):
        (folder / END_FILE).unlink(missing_ok=True)


def _require_unfinished(folder: Path, study: Study, state: RunState) -> None:
    if state.round < 1:
        raise RunError(
            f"{folder}: no round was trained yet, so there is no model. Resume the run, or start another one."
        )
    if state.round >= Schedule(study).last:
        raise RunError(
            f"{folder}: this run came to its end. Resume it, should its report be missing: nothing is asked anew."
        )


def outcome_of(study: Study, state: RunState) -> Outcome:
    """What the rounds up to the last one that was saved leave: the test too, where it was an inquiry that failed."""
    history = history_in(state)
    thresholds = [entry.threshold for entry in history if entry.threshold is not None]
    sums = {name[4:]: value for name, value in state.arrays.items() if name.startswith("sum/")}
    chosen, selected = _model_of(study, state)
    tested = history[Schedule(study).tests :][:1]
    return Outcome(
        weights=state.arrays[chosen],
        selected_round=selected,
        history=by_round(history, study.rounds),
        statistics=sums,
        normaliser=normaliser_from_sums(study, sums),
        test=tested[0].metrics if tested else None,
        threshold=min(thresholds, default=None),
        sites=(tested or history[-1:])[0].sites,
        untrained=untrained_in(study, state, selected),
        uncounted=uncounted_in(study, state),
        partly=partly_in(study, state, selected),
        scored=scored_in(study, state, selected),
        inquiries=found_in(study, state),
    )


def _model_of(study: Study, state: RunState) -> tuple[str, int]:
    """Which weights of the state to keep, and the round they are of: as a run keeps them, of what there is."""
    trained = min(state.round, study.rounds)
    unscored = state.best_score == float("-inf")  # a model is scored in the round after it: the latest was by nobody
    if study.private or not study.split.validates or state.best_round < 1 or unscored:
        return "weights", trained
    return "best", state.best_round
