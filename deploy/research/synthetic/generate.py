"""Made-up hospitals, each a folder as a hospital would export it, and the study that they agree on.

    DIR/study.yaml                  the study
    DIR/<site>/site.yaml            where the hospital's data is
    DIR/<site>/records.csv          a row a patient: who they are, the outcome, the bedside record; with gaps
    DIR/<site>/notes.csv            a row a note, with names, dates, numbers and addresses in it
    DIR/<site>/genes.csv            a row a patient: log2 expression
    DIR/<site>/images/**/*.dcm      chest films
    DIR/truth.csv, identifiers.json for tests only: see deploy/research/synthetic/truth.py

All is drawn from the seed: the same seed gives the same bytes. The folder appears whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

from common.tasks import Task
from deploy.research.folders import made_whole
from deploy.research.synthetic.files import write_study
from deploy.research.synthetic.hospital import Hospital, Progress
from deploy.research.synthetic.plan import plans
from deploy.research.synthetic.strength import Strength
from deploy.research.synthetic.targets import USUAL, require_columns
from deploy.research.synthetic.truth import IDENTIFIERS, TRUTH, write_identifiers, write_truth


def generate(
    directory: Path,
    *,
    sites: int = 4,
    seed: int = 0,
    strength: Strength | None = None,
    scale: float = 1.0,
    progress: Progress | None = None,
    task: Task = USUAL,
) -> list[Path]:
    """Make `sites` hospitals under `directory` and return their folders. Raises RunError if it is not empty.

    scale: multiplies the number of patients
    strength: of the planted signal, if not the usual one
    task: whose targets they have, and their study. Raises StudyError for one whose target is no column
    """
    require_columns(task)
    strong = strength or Strength()
    made = [Hospital(plan, strong, seed, index, task) for index, plan in enumerate(plans(sites, scale))]
    with made_whole(directory) as folder:
        for hospital in made:
            hospital.write(folder / hospital.plan.name, progress)
        write_study(folder / "study.yaml", sites, task)
        write_truth(folder / TRUTH, made)
        write_identifiers(folder / IDENTIFIERS, made)
    return [directory / hospital.plan.name for hospital in made]
