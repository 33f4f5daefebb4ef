"""A coordinator's run as a process of its own, killed with SIGKILL once it has told so many rounds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def killed_after(rounds: int, study: Path, hospitals: Path, work: Path, *, pause: float = 0.05) -> bool:
    """Start or resume the run `killed` in `work`; kill it `pause` seconds after that many rounds. False: it ended.

    What it and its workers print as errors is in `work/killed.err`, whole once its workers have ended too.
    """
    command = [sys.executable, "-P", "-m", "deploy.cli", "simulate", str(study), "--hospitals", str(hospitals)]
    if (work / "runs" / "killed" / "checkpoint.npz").exists():
        command.append("--resume")
    with (work / "killed.err").open("ab") as errors:
        process = subprocess.Popen(
            [*command, "--run", "killed", "--no-compare"],
            cwd=work,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    told = 0
    for line in process.stdout:
        told += " sites" in line and ("round" in line or "summed" in line) and "MB up" in line
        if told >= rounds:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.read()  # its workers have it too: until the last of them has ended
            return True
    assert process.wait() == 0
    return False
