"""A target that is a mask beside each patient's image: it lies on the image, and no more of it passes than of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from client.data.cohort import Cohort
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.targets.masks import RESCALED
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import opening
from client.site import SiteFolder, read_site
from common.errors import AnsweredError, DeidentificationError, SiteFileError, StudyError
from common.models.network import build_network
from common.study import Study
from common.study_check import problems
from tests.architecture.outline_task import Outline
from tests.support.hospital import study_of, write_csv, write_dicom
from tests.support.scripted import PRIVATE

SIZE = 16
XRAY = {"kind": "image", "size": SIZE, "encoder": {"backbone": "small_cnn", "channels": 4}}
PANEL = {"kind": "record", "numeric": {"x": {"low": 0, "high": 9, "mean": 4, "sd": 3}}}
PATIENTS = 6


def study(**changes: object) -> Study:
    modalities = {"xray": XRAY, "panel": PANEL}
    made = study_of({"modalities": modalities, "split": {"validation": 0.0, "test": 0.0}} | changes)
    return replace(made, task=Outline(kind="outline", image="xray"))


def ward(root: Path, masks: int = PATIENTS, burned: int = 0, opted_out: str = "") -> SiteFolder:
    """Six patients, of whom the last two have no image; their masks are the left half of it, white."""
    for number in range(PATIENTS):
        who = {"PatientID": f"P{number}", "PatientName": "Müller^Annegret"}
        image = np.zeros((20, 12), np.uint8)
        image[:, :6] = 200
        if number < 4:
            write_dicom(root / "images" / f"{number}.dcm", image, **who)
        if number < masks:
            more = {"BurnedInAnnotation": "YES"} if number < burned else {}
            write_dicom(root / "masks" / f"{number}.dcm", image // 200, **who, **more)
    write_csv(root / "panel.csv", [{"patient_id": f"P{number}", "x": str(number)} for number in range(PATIENTS)])
    words = {"site": "north", "images": {"xray": {"folder": "images"}}, "records": {"panel": {"file": "panel.csv"}}}
    words |= {"target": {"masks": {"outline": {"folder": "masks"}}}, "policy": {"require_privacy": False}}
    if opted_out:
        (root / "list.csv").write_text(f"patient_id\n{opted_out}\n")
        words["exclusions"] = "list.csv"
    (root / "site.yaml").write_text(yaml.safe_dump(words))
    return read_site(root)


def held(root: Path, name: str = "masks.outline") -> str:
    return "".join(path.read_text() for path in (root / "state" / "cache" / name).glob("*/index.json"))


def test_a_mask_lies_on_its_image_pixel_by_pixel(tmp_path) -> None:
    """Both are resized and centred alike, also where their stored values differ."""
    cohort = prepare(ward(tmp_path), study())
    target, image = cohort.train.target, cohort.train.inputs["xray"]
    assert target.shape == (PATIENTS, 1, SIZE, SIZE) and target.dtype == torch.uint8
    having = cohort.train.present[:, 0]
    assert int(having.sum()) == 4 and 0 < int(target[0].sum()) < SIZE * SIZE // 2
    assert torch.equal(target[having] == 1, image[having] > 0.5)
    assert torch.equal(target[~having][0], target[having][0])  # who has no image has a target all the same


def test_who_has_no_mask_or_one_that_cannot_be_used_has_no_target(tmp_path) -> None:
    cohort = prepare(ward(tmp_path, masks=4, burned=1), study())
    assert len(cohort.train) == 3 and len(cohort.out) == 1
    assert cohort.counts["target.masks.outline: images refused for burned-in annotation"] == 1
    assert cohort.counts["target: patients whose files of it cannot be used"] == 1
    with pytest.raises(DeidentificationError, match=r"target\.masks\.outline: every image says that text is burned"):
        prepare(ward(tmp_path / "all", masks=4, burned=4), study())


def test_in_a_private_study_a_mask_that_cannot_be_used_is_that_patients_gap(tmp_path) -> None:
    cohort = prepare(ward(tmp_path, masks=4, burned=4), study(**PRIVATE))
    assert not len(cohort.train) and len(cohort.out) == 4


def test_of_who_opted_out_no_mask_is_prepared_or_kept(tmp_path) -> None:
    folder = ward(tmp_path)
    prepare(folder, study())
    gone = site_secret(tmp_path / "state").pseudonym("P2")
    assert gone in held(tmp_path)
    again = prepare(ward(tmp_path, opted_out="p 2"), study())
    assert gone not in held(tmp_path) and len(again.train) == PATIENTS - 1 and "1 found here" in again.opt_outs


def test_nothing_of_a_header_is_kept(tmp_path) -> None:
    folder = ward(tmp_path)
    prepare(folder, study())
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert not any(word in kept for word in (b"ller", b"Annegret", b"P2"))
    names = ("xray", "panel", "masks.outline")
    assert sorted(path.name for path in (tmp_path / "state" / "cache").glob("*/")) == sorted(names)


def test_masks_are_read_once_until_they_change(tmp_path) -> None:
    one, other = (prepare(ward(tmp_path), study()) for _ in range(2))
    assert one.version == other.version
    image = np.zeros((20, 12), np.uint8)
    image[3:9, 3:9] = 1
    write_dicom(tmp_path / "masks" / "1.dcm", image, PatientID="P1")
    changed = prepare(read_site(tmp_path), study())
    assert changed.version != one.version and _by_patient(changed, "P1", tmp_path).sum() < _sum(one, "P1", tmp_path)


def _by_patient(cohort: Cohort, patient: str, root: Path) -> torch.Tensor:
    place = [*cohort.sides].index(site_secret(root / "state").pseudonym(patient))
    return cohort.train.target[place].float()


def _sum(cohort: Cohort, patient: str, root: Path) -> float:
    return float(_by_patient(cohort, patient, root).sum())


def test_a_site_or_a_study_that_lacks_what_the_mask_needs_is_told(tmp_path) -> None:
    folder = ward(tmp_path)
    folder.file.target.masks.clear()
    with pytest.raises(SiteFileError, match=r"missing target\.masks\.outline"):
        prepare(folder, study())
    wrong = [replace(study(), task=Outline(kind="outline", image=name)) for name in ("panel", "scan")]
    for one, name in zip(wrong, ("panel", "scan"), strict=True):
        assert [str(problem) for problem in problems(one)] == [
            f"task: outline is beside {name}, which is no image of the study."
        ]
    backbone = {"xray": XRAY | {"size": 64, "encoder": {"backbone": "resnet18"}}}
    with pytest.raises(
        StudyError, match=r"modalities\.xray: the task sees its maps of features, and its encoder has none"
    ):
        build_network(study(modalities=backbone))
    with pytest.raises(SiteFileError, match=r"no such folder. Check site.yaml, key target\.masks\.outline\.folder"):
        prepare(ward(tmp_path / "none", masks=0), study())


def test_the_map_of_a_row_hangs_on_that_row_alone_and_on_no_absent_image(tmp_path) -> None:
    network, batch = build_network(study()).eval(), prepare(ward(tmp_path), study()).train
    with torch.no_grad():
        whole = network(batch.inputs, batch.present)
        assert whole.shape == batch.target.shape
        for row in range(len(batch)):
            alone = network(batch.rows([row]).inputs, batch.present[[row]])
            assert torch.allclose(whole[[row]], alone, atol=1e-6)
        noisy = {name: value.clone() for name, value in batch.inputs.items()}
        noisy["xray"][~batch.present[:, 0]] = float("nan")
        assert torch.equal(network(noisy, batch.present), whole)
    network(batch.inputs, batch.present & torch.tensor([False, True])).sum().backward()
    assert all(not part.grad.any() for part in network.encoders["xray"].parameters())


def test_two_studies_by_slices_show_nobody_whose_mask_one_of_them_refuses(tmp_path) -> None:
    """Text is burned into one of a patient's three masks: a study of the middle slice takes it, one of all does not, so
    the difference of their sums is this patient. Who stays away by that is no change of the data.
    """
    root = tmp_path / "ward"
    for number in range(14):
        for place in range(3):
            who = {"PatientID": f"P{number:02}", "InstanceNumber": place + 1}
            who |= {"SeriesInstanceUID": f"1.2.{number + 1}", "StudyInstanceUID": f"1.3.{number + 1}"}
            burned = {"BurnedInAnnotation": "YES"} if (number, place) == (0, 0) else {}
            write_dicom(root / "masks" / f"{number}-{place}.dcm", np.ones((20, 12), np.uint8), **who, **burned)
            write_dicom(root / "images" / f"{number}-{place}.dcm", np.ones((20, 12), np.uint8), **who)
    write_csv(root / "panel.csv", [{"patient_id": f"P{number:02}", "x": str(number)} for number in range(14)])
    words = {"site": "north", "images": {"xray": {"folder": "images"}}, "records": {"panel": {"file": "panel.csv"}}}
    words |= {"target": {"masks": {"outline": {"folder": "masks"}}}, "policy": {"require_privacy": False}}
    (root / "site.yaml").write_text(yaml.safe_dump(words))
    cuts = []
    for slices in (1, 3):
        one = study(study=f"s{slices}", modalities={"xray": XRAY | {"slices": slices}, "panel": PANEL})
        cuts.append((one, cut_of(prepare(read_site(root), one), ["xray", "panel"])))
    assert [len(cut.sides) for _, cut in cuts] == [14, 13]
    for first, second in (cuts, cuts[::-1]):
        state = tmp_path / first[0].study
        opening(state, first[0].digest, first[1], 10)
        with pytest.raises(AnsweredError):
            opening(state, second[0].digest, second[1], 10)
        opening(state, first[0].digest, first[1], 10)


def test_a_mask_whose_zero_is_made_another_number_is_left_out_and_padding_is_outside(tmp_path) -> None:
    """A header that was copied from the image's would make every pixel of the mask one of the inside."""
    folder = ward(tmp_path)
    half = np.zeros((20, 12), np.uint8)
    half[:, :6] = 1
    write_dicom(tmp_path / "masks" / "0.dcm", half, PatientID="P0", RescaleIntercept=-1024, RescaleSlope=1)
    padded = np.where(half, half, 255).astype(np.uint8)
    write_dicom(tmp_path / "masks" / "1.dcm", padded, PatientID="P1", PixelPaddingValue=255)
    cohort = prepare(folder, study())
    assert len(cohort.train) == PATIENTS - 1 and RESCALED in held(tmp_path)
    assert len({int(one.sum()) for one in cohort.train.target}) == 1  # that of P1, too, is the half that it was


def test_a_study_of_another_size_makes_masks_of_its_own(tmp_path) -> None:
    """What one study prepared serves no other that has it otherwise."""
    folder = ward(tmp_path)
    for size in (SIZE, SIZE // 2, SIZE):
        one = study(study=f"of_{size}", modalities={"xray": XRAY | {"size": size}, "panel": PANEL})
        assert prepare(folder, one).train.target.shape == (PATIENTS, 1, size, size)
