"""Whether a simulation has come to its end, with all that it leaves: then no site is to be started for it again."""

from __future__ import annotations

from pathlib import Path

from common.errors import WardroundError
from common.schedule import Schedule
from common.study import Study, read_study
from server.report.evidence import read_evidence
from server.run.checkpoint import CHECKPOINT_FILE, read
from server.run.run_folder import ENDED_EARLY, MODEL_FILE, PAGE_FILE, REPORT_FILE, STUDY_FILE, player_of


def is_over(folder: Path, study: Study, *, compare: bool) -> bool:
    """Return whether the run in `folder` has asked all that this study asks, and has its model and its whole report.

    compare: whether the report is to have the models to compare with. False wherever something is in doubt: who goes on
    with the run is told of it, or makes what is missing.
    """
    if player_of(folder):
        return False
    try:
        if read_study(folder / STUDY_FILE).digest != study.digest:
            return False
        state, report = read(folder / CHECKPOINT_FILE, study.digest), read_evidence(folder / REPORT_FILE)
    except WardroundError:
        return False
    is_whole = report.run == state.run and not any(said.startswith(ENDED_EARLY) for said in report.warnings)
    has_files = all((folder / name).exists() for name in (MODEL_FILE, PAGE_FILE))
    is_compared = not compare or any(one.kind != "federated" for one in report.comparisons)
    return state.round >= Schedule(study).last and is_whole and has_files and is_compared
