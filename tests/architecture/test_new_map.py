"""A task whose output is a map as large as its image is one file and three lines of its table: a copy has one more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from tests.architecture.test_new_targets import PLAIN, PRIVATE, SITES, report_of, study
from tests.support.hospital import write_csv, write_dicom
from tests.support.product import TASKS, WITHOUT_KEYS, copy_with, differences, played
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy

HERE = Path(__file__).parent
SIZE, PATIENTS = 16, 24
SCAN = {"kind": "image", "size": SIZE, "encoder": {"backbone": "small_cnn", "channels": 4}}
NAME = "Müller^Annegret"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with(tmp_path_factory.mktemp("product"), (HERE / "outline_task.py", "Outline"))


def drawn(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image with a bright disc in it, and the disc: 20 x 24 pixels, so that both are resized and centred."""
    y, x = np.mgrid[:20, :24]
    inside = (y - rng.integers(6, 14)) ** 2 + (x - rng.integers(6, 18)) ** 2 < rng.integers(9, 30)
    image = 60 + 25 * rng.standard_normal((20, 24)) + 120 * inside
    return np.clip(image, 0, 255).astype(np.uint8), inside.astype(np.uint8)


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals. Of every tenth image nobody drew a mask, and one mask has text burned in."""
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    for site in SITES:
        for number in range(PATIENTS):
            who = {"PatientID": f"{site[0].upper()}-{number:04}", "PatientName": NAME}
            image, mask = drawn(rng)
            write_dicom(folder / site / "scans" / f"{number}.dcm", image, **who)
            if number % 10 != 9:
                burned = {"BurnedInAnnotation": "YES"} if number == 0 else {}
                write_dicom(folder / site / "masks" / f"{number}.dcm", mask, **who, **burned)
        write_csv(folder / site / "list.csv", [{"nr": f"{site[0].upper()}-0001"}])
        words: dict[str, Any] = {"site": site, "patient": "nr", "exclusions": "list.csv"}
        words |= {"images": {"scan": {"folder": "scans"}}, "target": {"masks": {"outline": {"folder": "masks"}}}}
        (folder / site / "site.yaml").write_text(yaml.safe_dump(words))
    without_privacy(folder)
    task = {"kind": "outline", "image": "scan"}
    training = {"local_steps": 12, "batch_size": 8, "optimiser": "adam", "learning_rate": 0.02}
    split = {"validation": 0.2, "test": 0.2}
    for privacy in (PLAIN, PRIVATE):
        content = study(task, privacy, modalities={"scan": SCAN}, training=training, split=split, rounds=3)
        content["evaluation"] = {"every": 1, "bins": 10}
        (folder / f"{content['study']}.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content))))
    return folder


def test_the_copy_differs_by_the_tasks_file_and_three_lines(product: Path) -> None:
    assert differences(product) == {str(TASKS): (["outline.py"], 3)}


@pytest.mark.soak  # four commands and two runs
def test_a_map_as_large_as_its_image_is_checked_approved_played_and_reported(product: Path, hospitals: Path) -> None:
    plain, private, site = hospitals / "outline.yaml", hospitals / "outline_private.yaml", hospitals / "east"
    checked, approved, seen, *said = played(
        product,
        ["study", "check", plain, "--hospitals", hospitals],
        ["site", "approve", plain, "--yes", "--at", site],
        [WITHOUT_KEYS, "site", "check", "--at", site],
        ["simulate", plain, "--hospitals", hospitals, "--run", "map"],
        ["simulate", private, "--hospitals", hospitals, "--run", "map_private", "--no-compare"],
        ["report", "runs/map"],
    )
    assert "in order" in checked and "    outline: masks beside the images, from masks\n" in approved
    assert "target.masks.outline: 1 of" in approved and "refused for burned-in annotation" in approved
    report = report_of(product, "map")
    assert {entry["kind"] for entry in report["comparisons"]} >= {"federated", "pooled", "alone"}
    (federated,) = (entry["metrics"] for entry in report["comparisons"] if entry["kind"] == "federated")
    scored = [entry["metrics"]["dice"] for entry in report["rounds"] if entry["metrics"]]
    assert federated["dice"] > 0.7 > scored[0]
    (of_all,) = (entry for entry in report["coverage"] if entry["site"] is None)
    assert sum(of_all["cases"].values()) == len(SITES) * (PATIENTS - 4)  # opted out, burned in, and two without a mask
    assert "Dice" in read_page((product / "runs" / "map" / "report.html").read_text()).text
    assert report_of(product, "map_private")["rounds"][-1]["epsilon"] <= 8.0
    made = site / "state" / "cache" / "masks.outline"
    assert [*made.glob("*/")]
    played(product, ["site", "purge", checked.split("Digest ")[1][:12], "--at", site, "--yes"])
    assert not [*made.glob("*/")]
    everything = "".join((checked, approved, seen, *said))
    kept = b"".join(path.read_bytes() for path in hospitals.glob("*/state/**/*") if path.is_file())
    for name in ("Müller", "Annegret"):
        assert name not in everything and name.encode() not in kept
