"""A part that too few sites can fill is "not counted" in the report; of one that the study has not there is nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support.federation import run, small_hospitals

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("validation", [0.15, 0.0])
def test_who_is_in_no_sum_is_not_counted_and_a_part_that_is_not_is_empty(tmp_path: Path, validation: float) -> None:
    """Two of four sites show no parts as small as theirs. Of validation patients a study without any warned as well."""
    study, folders = small_hospitals(tmp_path / "hospitals")
    training = replace(study.training, local_steps=2, batch_size=24)
    study = replace(study, rounds=1, training=training, split=replace(study.split, validation=validation, test=0.05))
    for folder in folders[:2]:
        content = yaml.safe_load((folder / "site.yaml").read_text())
        content["policy"] = {**content.get("policy", {}), "without_privacy": {"smallest_part": 48}}
        (folder / "site.yaml").write_text(yaml.safe_dump(content))
    _, evidence = run(study, folders, tmp_path / "run")
    of_all = next(entry for entry in evidence.coverage if entry.site is None)
    assert of_all.cases["test"] == "not counted" and isinstance(of_all.cases["train"], float)
    assert of_all.cases["validation"] == ("not counted" if validation else 0)
    for part in ("validation", "test"):
        told = any(f"The {part} patients are NEITHER SCORED NOR COUNTED" in line for line in evidence.warnings)
        assert told == (of_all.cases[part] == "not counted")
