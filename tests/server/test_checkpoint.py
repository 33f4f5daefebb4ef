"""A checkpoint is whole or the one before, whatever kills the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import CheckpointError
from server.run.checkpoint import RunState, read, save
from tests.support.evidence import round_of

STUDY = "ab" * 32


def state(number: int, size: int = 8) -> RunState:
    weights, counts = np.full(size, number, np.float32), np.ones(3)
    history = [asdict(round_of(done, metrics=None)) for done in range(number + 1)]
    sums = {"sum/cases": counts, "sum/present": counts, "sum/classes": counts}
    arrays = {"weights": weights, "best": weights, "server/m_t": weights * 2} | sums
    return RunState(STUDY, "run", round=number, history=history, arrays=arrays)


def test_what_is_saved_is_read(tmp_path):
    save(state(3), tmp_path / "checkpoint.npz")
    found = read(tmp_path / "checkpoint.npz", STUDY)
    assert found.round == 3 and [entry["round"] for entry in found.history] == [0, 1, 2, 3]
    assert found.best_score == float("-inf")
    assert np.array_equal(found.arrays["server/m_t"], np.full(8, 6, np.float32))


def test_another_study_is_refused(tmp_path):
    save(state(1), tmp_path / "c.npz")
    with pytest.raises(CheckpointError, match="another study"):
        read(tmp_path / "c.npz", "cd" * 32)


@given(cut=st.floats(0, 0.99))
def test_a_damaged_file_is_said_to_be_damaged(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("c") / "c.npz"
    save(state(1, size=1000), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(CheckpointError):
        read(path, STUDY)


def test_kill_9_while_saving_leaves_a_whole_checkpoint(tmp_path):
    """A process saves one state after another and is killed in the middle, some times over."""
    path = tmp_path / "checkpoint.npz"
    program = (
        "import numpy as np, sys\nfrom pathlib import Path\nfrom server.run.checkpoint import RunState, save\n"
        "for n in range(10**6):\n"
        "    weights = np.full(10**6, n, np.float32)\n"
        "    arrays = {'weights': weights, 'best': weights}\n"
        f"    save(RunState('{STUDY}', 'run', number=n, arrays=arrays), Path(sys.argv[1]))\n"
        "    print(n, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, str(path)],
            env=os.environ | {"PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = read(path, STUDY)
        assert np.array_equal(found.arrays["weights"], np.full(10**6, found.number, np.float32))
