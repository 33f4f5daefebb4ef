"""A coordinator's run as a process of its own, killed with SIGKILL once it has told so many rounds."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.deployment import environment
from tests.support.warm import opened


def killed_after(rounds: int, study: Path, hospitals: Path, work: Path, *, pause: float = 0.05) -> bool:
    """Start or resume the run `killed` in `work`; kill it `pause` seconds after that many rounds. False: it ended.

    What it and its workers print as errors is in `work/killed.err`, whole once its workers have ended too.
    """
    words = ["simulate", str(study), "--hospitals", str(hospitals), "--run", "killed", "--no-compare"]
    if (work / "runs" / "killed" / "checkpoint.npz").exists():
        words.append("--resume")
    said = work / "killed.out"
    os.mkfifo(said)
    try:
        process = opened(*words, cwd=work, env=environment(), stdout=said, stderr=work / "killed.err")
        told = 0
        with said.open(encoding="utf-8") as lines:
            for line in lines:
                told += " sites" in line and ("round" in line or "summed" in line) and "MB up" in line
                if told >= rounds:
                    time.sleep(pause)
                    process.kill()
                    process.join()
                    lines.read()  # its workers have it too: until the last of them has ended
                    return True
        process.join()
        assert process.exitcode == 0
        return False
    finally:
        said.unlink()
