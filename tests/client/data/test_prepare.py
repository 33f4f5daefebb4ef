"""A whole hospital's folder -> its cohort: the right patient's values in the right row, and nobody's name anywhere."""

from __future__ import annotations

import csv
import hashlib
import hmac
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.cohort import Cohort
from client.data.losses import left_out, losses
from client.data.prepare import prepare
from client.data.scrub import scrub
from client.data.statistics import statistic_sums
from client.site import SiteFolder, read_site
from common.modalities.tokenizers import HashTokenizer
from common.models.batch import Batch
from common.statistics import normaliser_from_sums, patient_sensitivity, statistic_segments
from common.study import Study
from common.summand import Layout
from tests.support.hospital import hospital, person, study_of, write_csv, write_dicom, write_site

PATIENTS = 24


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> SiteFolder:
    return hospital(tmp_path_factory.mktemp("north"), PATIENTS)


@pytest.fixture(scope="module")
def cohort(north: SiteFolder) -> Cohort:
    return prepare(north, study_of())


def order(patients: list[str], key: str = "wardround") -> list[str]:
    """The documented order of cases, computed here on its own."""

    def rank(patient: str) -> bytes:
        return hmac.new(key.encode(), b"split\0" + patient.encode(), hashlib.sha256).digest()[:8]

    return sorted(patients, key=rank)


def whole(cohort: Cohort) -> Batch:
    """All cases in the order of the hash: test, validation and training follow each other along it."""
    return Batch.join([cohort.test, cohort.validation, cohort.train])


def table(folder: SiteFolder, name: str) -> dict[str, dict[str, str]]:
    with (folder.root / name).open(encoding="utf-8") as file:
        return {row["patient_id"]: row for row in csv.DictReader(file)}


def test_every_row_holds_its_own_patient(north: SiteFolder, cohort: Cohort) -> None:
    records, genes = table(north, "records.csv"), table(north, "genes.csv")
    batch, patients = whole(cohort), order(list(records))
    assert len(batch) == PATIENTS and cohort.owned == ("xray", "labs", "report", "genes")
    for row, patient in enumerate(patients):
        source = records[patient]
        assert batch.target[row] == ["alive", "dead"].index(source["outcome"])
        gap = source["CRP (mg/l)"] == "?"
        crp = 0.0 if gap else float(source["CRP (mg/l)"])
        sex = [1.0, 0.0] if source["sex"] == "W" else [0.0, 1.0]
        expected = [crp, float(source["pulse"]), *sex, float(gap), 0.0, 0.0]
        np.testing.assert_allclose(batch.inputs["labs"][row].numpy(), expected, rtol=1e-6)
        values = [float(genes[patient][gene]) for gene in ("TP53", "EGFR", "PTEN")]
        np.testing.assert_allclose(batch.inputs["genes"][row].numpy(), [values, [0.0] * 3], rtol=1e-6)


def test_presence_is_what_the_hospital_has_and_absence_is_zero(cohort: Cohort, north: SiteFolder) -> None:
    batch, patients = whole(cohort), order([person(n).patient for n in range(PATIENTS)])
    numbers = {person(n).patient: n for n in range(PATIENTS)}
    for row, patient in enumerate(patients):
        number = numbers[patient]
        assert batch.present[row].tolist() == [number % 3 != 2, True, number % 4 != 3, True]
    for place, name in enumerate(("xray", "labs", "report", "genes")):
        rows = batch.inputs[name].flatten(1)
        assert torch.equal(rows.any(dim=1), batch.present[:, place])
        assert torch.all(torch.isfinite(rows.float()))


def test_tensors_are_as_the_contract_says(cohort: Cohort) -> None:
    for part in (cohort.train, cohort.validation, cohort.test):
        size = len(part)
        assert {name: (value.dtype, tuple(value.shape)) for name, value in part.inputs.items()} == {
            "xray": (torch.float32, (size, 1, 16, 16)),
            "labs": (torch.float32, (size, 7)),
            "report": (torch.int64, (size, 24)),
            "genes": (torch.float32, (size, 2, 3)),
        }
        assert part.present.dtype == torch.bool and part.target.dtype == torch.int64
        assert part.inputs["xray"].min() >= 0 and part.inputs["xray"].max() <= 1


def test_the_image_is_the_patients(tmp_path: Path) -> None:
    folder = hospital(tmp_path, 8)
    for number in range(8):
        corner = np.zeros((16, 16), np.uint16)
        corner[number, number] = 4000  # each its own pixel
        write_dicom(
            tmp_path / "images" / f"new{number}", corner, PatientID=person(number).patient, SeriesInstanceUID="0.1"
        )
    for path in tmp_path.glob("images/*/IM0001"):
        path.unlink()
    batch = whole(
        prepare(folder, study_of({"modalities": {"xray": {"kind": "image", "size": 16, "intensity": "range"}}}))
    )
    for row, patient in enumerate(order([person(n).patient for n in range(8)])):
        number = [person(n).patient for n in range(8)].index(patient)
        assert int(batch.inputs["xray"][row].flatten().argmax()) == number * 16 + number
        assert batch.inputs["xray"][row].max() == pytest.approx(4000 / 65535, abs=1e-4)


def test_no_identifier_in_the_cache_or_the_tokens(cohort: Cohort, north: SiteFolder) -> None:
    """Not as text, not in another encoding, not as the hash of a word."""
    content = b"\0".join(
        path.read_bytes()
        for path in (north.root / "state").rglob("*")
        if path.is_file() and path.name != "pseudonym.key"
    )
    tokens = set(whole(cohort).inputs["report"].flatten().tolist())
    tokenizer = HashTokenizer(2048)
    harmless = (
        "pain left right was seen on by aged went home tel bp crp name date id phone email age 2021 12 120 80 5 born"
    )
    allowed = {tokenizer.encode(word, 2)[1] for word in [*harmless.split(), *"[](),./:+-", *(f"[{kind}]" for kind in (
        "name", "date", "id", "phone", "email", "age", "place"))]}  # fmt: skip
    for number in range(PATIENTS):
        for secret in [*person(number).secrets, "Sandermann", "Ulrike"]:
            for form in (secret, secret.upper(), secret.lower()):
                for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                    assert form.encode(encoding) not in content
            planted = {tokenizer.encode(word, 2)[1] for word in secret.lower().split() if len(word) > 2}
            assert not (planted - allowed) & tokens, secret
    assert tokens <= allowed | {0, 1}


def test_what_the_hospital_wrote_would_have_been_found(north: SiteFolder) -> None:
    """The search above can fail: without the gate the tokens would show."""
    note = next(iter(table(north, "notes.csv").values()))["text"]
    raw = set(HashTokenizer(2048).encode(note, 200)) - set(HashTokenizer(2048).encode(scrub(note, [])[0], 200))
    assert raw


def test_a_cohort_prints_counts_only(cohort: Cohort) -> None:
    assert repr(cohort) == str(cohort)
    assert repr(cohort).startswith("Cohort(north, train=") and "tensor" not in repr(cohort)
    assert not any(secret in str(cohort.counts) for number in range(PATIENTS) for secret in person(number).secrets)


def test_what_was_left_out_is_counted(tmp_path: Path) -> None:
    hospital(tmp_path, 12)
    rows = list(table(read_site(tmp_path), "records.csv").values())
    rows[0]["outcome"], rows[1]["outcome"] = "?", ""
    rows.append({**dict.fromkeys(rows[0], ""), "patient_id": "stranger", "outcome": "dead"})
    write_csv(tmp_path / "records.csv", rows)
    write_dicom(
        tmp_path / "images" / "burned",
        np.eye(16, dtype=np.uint16),
        PatientID=person(2).patient,
        BurnedInAnnotation="YES",
    )
    (tmp_path / "images" / "readme.txt").write_text("x")
    cohort = prepare(read_site(tmp_path), study_of())
    assert len(whole(cohort)) == 10
    assert [loss.text for loss in losses(cohort.counts)] == [
        "images.xray: 1 of 7 patients without an image that can be used",
        "images.xray: 1 of 9 images refused for burned-in annotation",
    ]
    assert [words for words in left_out(cohort.counts) if "replaced" not in words] == [
        "images.xray: 1 files not DICOM",
        "1 patient without any modality of the study",
        "target: 2 patients without a value",
    ]


def test_a_site_without_a_modality_takes_part(tmp_path: Path) -> None:
    hospital(tmp_path, 8)
    cohort = prepare(write_site(tmp_path, {"notes": None, "images": None}), study_of())
    assert cohort.owned == ("labs", "genes")
    assert not cohort.train.present[:, [0, 2]].any() and cohort.train.inputs["xray"].shape[1:] == (1, 16, 16)
    assert not cohort.train.inputs["report"].any()


def test_rows_of_gaps_only_are_no_modality(tmp_path: Path) -> None:
    hospital(tmp_path, 6)
    rows = [{"patient_id": person(n).patient, "TP53": "", "EGFR": "NA", "PTEN": 2.5 if n else "?"} for n in range(6)]
    write_csv(tmp_path / "genes.csv", rows)
    batch = whole(prepare(read_site(tmp_path), study_of()))
    assert int(batch.present[:, 3].sum()) == 5
    assert batch.inputs["genes"][batch.present[:, 3]][0].tolist() == [[0, 0, 2.5], [1, 1, 0]]


def test_values_are_clipped_to_the_studys_range(tmp_path: Path) -> None:
    hospital(tmp_path, 6)
    rows = [{"patient_id": person(n).patient, "TP53": 99, "EGFR": -99, "PTEN": 1} for n in range(6)]
    write_csv(tmp_path / "genes.csv", rows)
    batch = prepare(read_site(tmp_path), study_of()).train
    assert batch.inputs["genes"][0, 0].tolist() == [10, -10, 1]


def test_the_patients_own_number_is_sought_in_notes_without_any_identity_file(tmp_path: Path) -> None:
    hospital(tmp_path, 6)
    notes = [
        {"patient_id": person(n).patient, "text": f"see {person(n).patient[4:6]} {person(n).patient[6:]}"}
        for n in range(6)
    ]
    write_csv(tmp_path / "notes.csv", notes)
    target = [{"patient_id": person(n).patient[4:], "outcome": ["alive", "dead"][n % 2]} for n in range(6)]
    write_csv(tmp_path / "target.csv", target)
    for name in ("notes.csv", "records.csv", "genes.csv"):
        path = tmp_path / name
        path.write_text(path.read_text().replace("MRN-", ""))
    site = write_site(
        tmp_path, {"identity": None, "images": None, "target": {"file": "target.csv", "column": "outcome"}}
    )
    ids = whole(prepare(site, study_of())).inputs["report"]
    assert torch.equal(ids, torch.tensor([HashTokenizer(2048).encode("see [ID]", 24)] * 6))


def test_one_hots_may_leave_out_the_first_category(tmp_path: Path) -> None:
    hospital(tmp_path, 6)
    record = {"kind": "record", "categorical": {"sex": ["f", "m"]}, "drop_first": True}
    folder = read_site(tmp_path)
    batch = whole(prepare(folder, study_of({"modalities": {"labs": record}})))
    sexes = [table(folder, "records.csv")[patient]["sex"] for patient in order([person(n).patient for n in range(6)])]
    assert batch.inputs["labs"].tolist() == [[float(sex == "M"), 0.0] for sex in sexes]


def test_a_gap_does_not_contradict_a_target(tmp_path: Path) -> None:
    hospital(tmp_path, 6)
    rows = [
        {"patient_id": person(n).patient, "outcome": word} for n in range(6) for word in (["alive", "dead"][n % 2], "?")
    ]
    write_csv(tmp_path / "target.csv", rows)
    site = write_site(tmp_path, {"target": {"file": "target.csv", "column": "outcome"}})
    assert sorted(whole(prepare(site, study_of())).target.tolist()) == [0, 0, 0, 1, 1, 1]


def test_the_studys_column_can_split(tmp_path: Path) -> None:
    hospital(tmp_path, 9)
    folds = [{"patient_id": person(n).patient, "fold": ["a", "b", "c", "?"][n % 4]} for n in range(8)]
    write_csv(tmp_path / "folds.csv", folds)
    site = write_site(tmp_path, {"split": {"file": "folds.csv", "column": "fold", "values": {"c": "held out"}}})
    study = study_of({"split": {"column": "fold", "test_values": ["held out"], "validation_values": ["b"]}})
    cohort = prepare(site, study)
    assert [len(cohort.train), len(cohort.validation), len(cohort.test)] == [2, 2, 2]
    assert cohort.counts["split: patients without a value"] == 3


def test_a_multiclass_target_and_an_image_stack(tmp_path: Path) -> None:
    hospital(tmp_path, 9)
    rows = list(table(read_site(tmp_path), "records.csv").values())
    for number, row in enumerate(rows):
        row["outcome"] = "ABC"[number % 3]
    write_csv(tmp_path / "records.csv", rows)
    study = study_of({"task": {"kind": "multiclass", "classes": ["C", "B", "A"]},
                      "modalities": {"xray": {"kind": "image", "size": 8, "slices": 3}}})  # fmt: skip
    batch = whole(prepare(read_site(tmp_path), study))
    assert batch.inputs["xray"].shape == (6, 3, 8, 8) and sorted(batch.target.tolist()) == [1, 1, 1, 2, 2, 2]


def test_a_pretrained_models_tokenizer_is_used(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    hospital(tmp_path, 6)
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "pain", "left", "right"])}
    BertTokenizer(vocab=words).save_pretrained(str(tmp_path / "models" / "tiny"))
    (tmp_path / "models" / "tiny" / "config.json").write_text('{"model_type": "bert"}')
    note = {"kind": "note", "max_tokens": 64, "encoder": {"source": "folder", "folder": "tiny"}}
    cohort = prepare(read_site(tmp_path), study_of({"modalities": {"report": note}}))
    ids = cohort.train.inputs["report"]
    assert torch.all(ids[:, 0] == 2) and ids.max() < len(words)
    assert torch.any(ids == words["pain"])


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(hospital(tmp_path, 6), study_of(), progress=lambda *step: told.append(step))
    assert ("preparing cases", 6, 6) in told and ("xray: reading headers", 4, 4) in told


@pytest.mark.soak
def test_a_thousand_prepared_patients_load_within_a_second(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [{"patient_id": f"P{n:05}", "outcome": ["alive", "dead"][n % 2], **dict(zip(("TP53", "EGFR", "PTEN"),
            rng.normal(size=3).round(3), strict=True))} for n in range(1000)]  # fmt: skip
    write_csv(tmp_path / "records.csv", rows)
    for number in range(1000):
        write_dicom(
            tmp_path / "images" / f"{number}", rng.integers(0, 255, (32, 32), np.uint8), PatientID=f"P{number:05}"
        )
    site = write_site(
        tmp_path, {"records": None, "notes": None, "identity": None, "sequences": {"genes": {"file": "records.csv"}}}
    )
    study = study_of({"modalities": {"xray": {"kind": "image", "size": 128}, "genes": study_dict("genes")}})
    first = prepare(site, study)
    started = time.process_time()
    second = prepare(site, study)
    assert time.process_time() - started < 1.0
    assert second.version == first.version and len(whole(second)) == 1000


def study_dict(name: str) -> dict[str, object]:
    from tests.support.hospital import STUDY

    found: dict[str, object] = STUDY["modalities"][name]
    return found


# ---------------------------------------------------------------------------------------------------------- statistics


def test_statistics_are_those_of_the_training_part(cohort: Cohort) -> None:
    study = study_of()
    sums = statistic_sums(study, cohort)
    Layout(statistic_segments(study)).join(sums)  # every segment, each of its length
    assert sums["cases"].tolist() == [len(cohort.train), len(cohort.validation), len(cohort.test)]
    assert sums["present"].tolist() == whole(cohort).present.sum(dim=0).tolist()
    assert sums["classes"].tolist() == [int((cohort.train.target == k).sum()) for k in range(2)]
    labs = cohort.train.inputs["labs"].numpy().astype(np.float64)
    known = labs[:, 4] == 0
    mean, sd = normaliser_from_sums(study, sums)["labs"]
    np.testing.assert_allclose(mean, [labs[known, 0].mean(), labs[:, 1].mean()])
    np.testing.assert_allclose(sd, [labs[known, 0].std(ddof=1), labs[:, 1].std(ddof=1)])
    assert all(np.all(np.abs(sums[part.name]) <= part.bound) for part in statistic_segments(study))


def test_who_lacks_a_modality_adds_nothing_to_its_moments(cohort: Cohort) -> None:
    study, train = study_of(), cohort.train
    present = train.present.clone()
    present[0, 1] = False
    inputs = train.inputs | {"labs": train.inputs["labs"].clone()}
    inputs["labs"][0] = 0.0
    fewer = statistic_sums(study, replace(cohort, train=Batch(inputs, present, train.target)))
    counts = statistic_sums(study, cohort)["moments/labs"][::3] - fewer["moments/labs"][::3]
    assert counts.tolist() == (1.0 - train.inputs["labs"][0, 4:6]).tolist()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_one_patient_changes_no_more_than_the_sensitivity(data: st.DataObject) -> None:
    """Whatever that patient's values are, present or not, in whichever part."""
    study = study_of()
    others = some_batch(study, data, 3)
    one = some_batch(study, data, 1)
    empty = one.rows([])
    part = data.draw(st.sampled_from(["train", "validation", "test"]))
    parts = {"train": others, "validation": empty, "test": empty}
    more = parts | {part: Batch.join([parts[part], one])}
    with_one = Layout(statistic_segments(study)).join(statistic_sums(study, Cohort("a", (), **more, version="")))
    without = Layout(statistic_segments(study)).join(statistic_sums(study, Cohort("a", (), **parts, version="")))
    assert np.linalg.norm(with_one - without) <= patient_sensitivity(study) + 1e-9


def some_batch(study: Study, data: st.DataObject, size: int) -> Batch:
    shapes = {"xray": (1, 2, 2), "labs": (7,), "genes": (2, 3)}
    inputs = {}
    for name, shape in shapes.items():
        number = size * int(np.prod(shape))
        values = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=number, max_size=number))
        inputs[name] = torch.tensor(values).reshape(size, *shape)
    inputs["labs"][:, 4:] = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3)))
    inputs["genes"][:, 1] = float(data.draw(st.booleans()))
    inputs["report"] = torch.zeros(size, 24, dtype=torch.int64)
    present = torch.tensor([data.draw(st.lists(st.booleans(), min_size=4, max_size=4)) for _ in range(size)])
    return Batch(
        {name: inputs[name] for name in study.names},
        present,
        torch.tensor([data.draw(st.integers(0, 1)) for _ in range(size)]),
    )


def test_the_largest_change_is_reached() -> None:
    """The bound is not a loose guess: a patient at the upper end of every range reaches it."""
    study = study_of()
    labs = torch.tensor([[300.0, 220.0, 1, 0, 0, 0, 0]])
    genes = torch.tensor([[[10.0] * 3, [0.0] * 3]])
    one = Batch(
        {
            "xray": torch.zeros(1, 1, 16, 16),
            "labs": labs,
            "report": torch.zeros(1, 24, dtype=torch.int64),
            "genes": genes,
        },
        torch.ones(1, 4, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )
    sums = statistic_sums(study, Cohort("a", (), train=one, validation=one.rows([]), test=one.rows([]), version=""))
    change = np.linalg.norm(Layout(statistic_segments(study)).join(sums))
    assert change == pytest.approx(patient_sensitivity(study))
