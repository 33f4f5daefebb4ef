"""Three small hospitals whose study uses their tables alone: a deployment of them plays a round in a second or two."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.study import Privacy, Study, read_study, study_text
from deploy.research.synthetic.generate import generate
from tests.support.site_policies import without_privacy


def record_hospitals(folder: Path, *, rounds: int = 1) -> Path:
    """The hospitals in `folder`, and the file of their study: no privacy, secure sum on, all three sites needed."""
    generate(folder, sites=3, seed=0, scale=0.1)
    without_privacy(folder)
    study = records_only(read_study(folder / "study.yaml"), rounds)
    path = folder / "records.yaml"
    path.write_text(study_text(study), encoding="utf-8")
    return path


def records_only(study: Study, rounds: int) -> Study:
    """The same question, of one modality."""
    return replace(
        study,
        study="records",
        rounds=rounds,
        modalities={"record": study.modalities["record"]},
        training=replace(study.training, local_steps=1, batch_size=8),
        privacy=Privacy(),
    )
