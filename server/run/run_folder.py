"""A run's own folder: the study it began with, its checkpoint, its model, its report."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import math
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file

from common.disk.atomic_file import BY_UMASK, whole_file
from common.errors import CheckpointError, RunError
from common.format_number import KEY
from common.models.network import build_network, set_normaliser, use_modalities
from common.parameters import load
from common.schedule import Schedule
from common.schema import plain
from common.statistics import summed_noise
from common.study import Study, read_study, study_text
from server.report.attendance import of_all, run_sites
from server.report.evidence import (
    NOT_COUNTED,
    NOT_TRAINED,
    OF_INQUIRIES,
    Cell,
    Comparison,
    Coverage,
    Evidence,
    read_evidence,
)
from server.report.noise import half_width, interval
from server.report.page import require_no_newer
from server.run.checkpoint import CHECKPOINT_FILE, RunState, read, require_resumable
from server.run.left_out import left_out_in_words
from server.run.outcome import Outcome

SHOWN_PACKAGES = ("flwr", "torch", "torchvision", "opacus", "transformers", "numpy", "cryptography")
ENDED_EARLY = "This run ended after round "  # how the sentence of `finish` begins that no whole report has
STUDY_FILE, LOCK_FILE, REPORT_FILE = "study.yaml", "run.lock", "report.json"
MODEL_FILE, PAGE_FILE = "model.safetensors", "report.html"
_FLOCK = "hhqqi"  # Linux's struct flock: kind, whence, start, length, process


@contextmanager
def playing(folder: Path) -> Iterator[None]:
    """This process plays the run in `folder`, and no other one does. RunError if another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            require_not_played(folder)
            raise
        yield


def require_not_played(folder: Path) -> None:
    """RunError where another process plays the run in `folder`. Not for one that plays it: see `player_of`."""
    if player := player_of(folder):
        raise RunError(
            f"{folder}: process {player} plays this run. Wait for its end, or stop it there: what it saved stays. "
            "`wardround status` shows how far a consortium's run is."
        )


def player_of(folder: Path) -> int:
    """The process that plays the run in `folder`, as the kernel knows it; 0 if none does. Not for that process itself:
    it would let the lock go.
    """
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(process)


def open_run(folder: Path, study: Study, *, resume: bool) -> None:
    """Make the run's folder, or check that it holds this study. Nothing is written before the study has passed."""
    kept = folder / STUDY_FILE
    require_no_newer(folder)
    if resume:
        require_begun(folder)
        if read_study(kept).digest != study.digest:
            raise CheckpointError(f"{folder}: belongs to another study. Go on with {kept}, or name another run.")
        if (folder / CHECKPOINT_FILE).exists():
            state = read(folder / CHECKPOINT_FILE, study.digest)
            require_resumable(state, folder)
            require_newest(folder, study, state)
        return
    if (folder / CHECKPOINT_FILE).exists():
        raise RunError(
            f"{folder}: holds a run already. Go on with it (`wardround resume`, a simulation with --resume), or choose "
            "another --run name."
        )
    if there := results_in(folder):
        raise RunError(
            f"{folder}: holds {' and '.join(there)} of a run whose checkpoint is gone. Choose another --run name, or "
            "move them away."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(kept, BY_UMASK) as draft:
        draft.write_text(study_text(study), encoding="utf-8")


def require_newest(folder: Path, study: Study, state: RunState) -> None:
    """RunError where the report of this run is of a later round than its checkpoint: an older one was put back, and the
    model of the later rounds is not to be written over, nor are sites to be charged for these rounds twice.
    """
    try:
        report = read_evidence(folder / REPORT_FILE)
    except RunError:
        return  # none, or a torn one, which is written anew; one of a newer release is refused elsewhere
    done = _last_of(report, study)
    if report.run == state.run and state.round < done:
        raise RunError(
            f"{folder}: its report is of a later round than its checkpoint, so an older one was put back. Put the "
            "newest one there, or keep model and report as they are; another run takes another --run name."
        )


def _last_of(report: Evidence, study: Study) -> int:
    """Return the last round of a run that its report knows of, at least: N + 1 scores the last model."""
    if not any(warning.startswith(ENDED_EARLY) for warning in report.warnings):
        return Schedule(study).last
    last = report.rounds[-1] if report.rounds else None
    return 0 if last is None else last.round + (last.round == study.rounds and last.metrics is not None)


def results_in(folder: Path) -> list[str]:
    """Return what a run that ended has left in its folder, of its model and its report."""
    return [name for name in (MODEL_FILE, REPORT_FILE, PAGE_FILE) if (folder / name).exists()]


def require_begun(folder: Path) -> None:
    """CheckpointError where `folder` holds no run to go on with."""
    if not (folder / STUDY_FILE).exists():
        raise CheckpointError(
            f"{folder}: there is no run to go on with. Look at the name, or start one without --resume."
        )


def save_model(folder: Path, study: Study, outcome: Outcome, models: Path | None) -> None:
    """Write the selected model with its normaliser, whole or not at all. What was not trained is named in the metadata,
    and absent to whoever loads the state: `used` is in it. `models`: pretrained weights that a study names.

    RunError where a newer release has written the report beside it, and so perhaps the model, or on a full disk.
    """
    require_no_newer(folder)
    network = build_network(study, models=models)
    load(network, outcome.weights)
    set_normaliser(network, dict(outcome.normaliser))
    use_modalities(network, set(study.names) - set(outcome.untrained))
    about = {"study": study.digest, "round": str(outcome.selected_round), "untrained": ",".join(outcome.untrained)}
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    try:
        with whole_file(folder / MODEL_FILE, apart=True) as draft:  # safetensors makes a file beside it, of a new name
            save_file(state, str(draft), about | {KEY: "1"})
            _settle(draft)
    except (OSError, SafetensorError):
        raise RunError(f"{folder / MODEL_FILE}: cannot be written. Check space and permissions.") from None


def _settle(model: Path) -> None:
    """Write what a model file says of itself in the order of the keys. safetensors keeps none, and the same model would
    be another file each time.
    """
    with model.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            file.seek(8)
            file.write(text.ljust(length))  # blanks, as safetensors fills it up itself


def evidence_of(
    study: Study,
    run: str,
    started: str,
    outcome: Outcome,
    *,
    coverage: Sequence[Coverage],
    comparisons: Sequence[Comparison] = (),
    simulated: bool = False,
) -> Evidence:
    """What the report says of a run that is over."""
    return Evidence(
        study=plain(study),
        study_digest=study.digest,
        run=run,
        started=started,
        finished=now(),
        simulated=simulated,
        sites=outcome.sites,
        selected_round=outcome.selected_round,
        rounds=outcome.history,
        coverage=tuple(coverage),
        comparisons=tuple(comparisons),
        warnings=tuple(left_out_in_words(study, outcome.untrained, outcome.uncounted, outcome.partly, outcome.scored)),
        software={name: importlib.metadata.version(name) for name in SHOWN_PACKAGES},
        threshold=outcome.threshold,
        inquiries=outcome.inquiries,
        format=OF_INQUIRIES if outcome.inquiries else 1,
    )


def tested(study: Study, outcome: Outcome) -> list[Comparison]:
    """The federated model on the test patients of the sites of the last sum, from it: all that a deployed run knows.

    Its interval is that of the known noise of privacy, and says nothing of how few the patients are.
    """
    if outcome.test is None:
        return []
    keys, test = [measure.key for measure in study.task.measures], outcome.test
    if all(math.isnan(test.get(key, math.nan)) and not half_width(test, key) for key in keys):
        return []  # there was no test patient; where there is noise, nobody knows that
    ends = interval(test, keys[0])
    over = of_all(outcome.sites, run_sites(outcome.history, outcome.sites))
    without = "".join(f", without {name}" for name in outcome.scored.test_without)
    note = f"one sum over {over}{without}" + ("; the interval is the known noise of privacy alone" if ends else "")
    return [Comparison("federated", "federated", test, ends, note, outcome.sites)]


def coverage_of_all(study: Study, outcome: Outcome) -> Coverage:
    """How many cases all sites have together, as the coordinator knows it: one sum, with the noise of privacy of each
    site that was in it.
    """
    noise = summed_noise(study, outcome.history[0].sites)
    found = coverage_of(study, None, outcome.statistics, outcome.untrained, noise)
    cases = {part: NOT_COUNTED if part in outcome.uncounted else count for part, count in found.cases.items()}
    return replace(found, cases=cases)


def coverage_of(
    study: Study,
    site: str | None,
    sums: Mapping[str, NDArray[np.float64]],
    untrained: Collection[str] = (),
    noise: float = 0.0,
) -> Coverage:
    """How many cases there are, from summed statistics; of all sites of that sum together where `site` is None.

    untrained: modalities that are absent in the run; in their sum there is nobody, and with privacy there is noise
    noise: the standard deviation of the noise in each of the sums
    """
    cases, present, classes = (list(map(float, sums[name])) for name in ("cases", "present", "classes"))
    having: dict[str, Cell] = dict(zip(study.names, present, strict=True))
    return Coverage(
        site,
        dict(zip(("train", "validation", "test"), cases, strict=True)),
        {name: NOT_TRAINED if name in untrained else count for name, count in having.items()},
        dict(zip(study.task.groups, classes, strict=True)),
        noise,
    )


def now() -> str:
    """UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def begun(folder: Path) -> str:
    """When the run in `folder` was begun, however often it was resumed since; as `now`."""
    written = (folder / STUDY_FILE).stat().st_mtime
    return datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
