"""Save and resume a run: one file, written beside and renamed, so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import json
import tokenize
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.disk.atomic_file import BY_UMASK, whole_file
from common.errors import CheckpointError
from common.format_number import KEY, take_format
from common.release import OF_0_1
from server.report.evidence import RoundEvidence

FORMAT = 3  # 2 is that of release 0.1
OLDEST = 2
CHECKPOINT_FILE = "checkpoint.npz"  # in the folder of a run


@dataclass
class RunHead:
    """What of a run's state is no array."""

    study: str
    run: str
    round: int = -1  # last round that is complete; 0 is the statistics round
    attempt: int = 0
    saved_attempt: int = (
        0  # `attempt` when the last round was saved: sites may have been charged for it, and those since
    )
    number: int = 0  # of the last secure sum that was begun
    format: int = FORMAT  # of the file that it was read from
    survivors: list[str] = field(default_factory=list)  # U2 of the open round, once shares for it were asked for
    best_round: int = 0
    best_score: float = float("-inf")
    # The largest epsilon that a site certified for training and for held-out patients, in sums that opened or not.
    certified: tuple[float, float] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    __pydantic_config__ = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass
class RunState(RunHead):
    """All that a run is, between two rounds. Sums only: nothing of a single site is in here.

    arrays: "weights" and "best" float32 (n,), "server/..." the strategy's memory, "sum/..." the summed statistics,
    "modalities" bool (M,), those of the study that are used in this run, and "parts" bool (3,), those of the cohort
    that are counted: from round 0 on; "sites" the names of those that the last sum was over
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)


_HEAD, _HISTORY = TypeAdapter(RunHead), TypeAdapter(list[RoundEvidence])
WEIGHTS, SUMS = ("weights", "best"), ("sum/cases", "sum/present", "sum/classes")


def save(state: RunState, path: Path) -> None:
    """Write the state to `path`, whole or not at all."""
    head = {name: value for name, value in vars(state).items() if name != "arrays"} | {KEY: FORMAT}
    text = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, BY_UMASK) as draft, draft.open("wb") as file:
        np.savez(file, head=text, **{f"array/{name}": value for name, value in state.arrays.items()})  # type: ignore[arg-type]


def read(path: Path, study: str) -> RunState:
    """The state in `path`, or CheckpointError: not there, damaged, or of another study."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            arrays = {name.removeprefix("array/"): stored[name] for name in stored.files if name != "head"}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no checkpoint to resume. Start the run without --resume.") from None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, tokenize.TokenError, zipfile.BadZipFile):
        raise _damaged(path) from None
    if not isinstance(head, dict):
        raise _damaged(path)
    number = take_format(head, FORMAT, str(path), CheckpointError)
    if number < OLDEST:
        raise CheckpointError(f"{path}: was written before release 0.1, and is read by no release since.")
    if isinstance(head.get("study"), str) and head["study"] != study:
        raise CheckpointError(
            f"{path}: belongs to another study (digest {head['study'][:12]}…, now {study[:12]}…). "
            "Resume with the study file of that run, or start a new run under another --run name."
        )
    try:
        whole = _HEAD.validate_python(head | {"certified": head.get("certified") or None, "format": number})
        known = _HISTORY.validate_python(whole.history)
    except ValidationError:
        raise _damaged(path) from None
    needed = (*WEIGHTS, *(SUMS if whole.round >= 0 else ()))
    if len(known) != whole.round + 1 or any(name not in arrays for name in needed):
        raise _damaged(path)
    return RunState(**vars(whole), arrays=arrays)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged. Start the run again under another --run name.")


def require_resumable(state: RunState, folder: Path) -> None:
    """CheckpointError for a run that release 0.1 began: its sites would answer it under rules that they left."""
    if state.format < FORMAT:
        raise CheckpointError(
            f"{folder}: this run was made by release 0.1, and {OF_0_1} Have every site approve the study again, and "
            "start it as a new run. What the sites charged for the old one stays in their ledgers."
        )
