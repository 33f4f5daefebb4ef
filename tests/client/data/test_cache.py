"""The cache: whole or not there, whoever kills it, whoever damages it, whoever else is at it."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client.data import cache as cache_module
from client.data import pixels, rows
from client.data.cache import Cache, EntryName
from client.data.cohort import Cohort
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.site import SiteFolder, read_site
from common.errors import DataError
from tests.support.hospital import hospital, person, study_of, write_csv, write_dicom, write_site
from tests.support.warm import called

NAME = EntryName("xray", "r" * 64, "k" * 64)


def fill(cache: Cache, name: EntryName = NAME, rows: int = 5) -> None:
    with cache.writer(name, (2, 3), np.uint8) as writer:
        for number in range(rows):
            writer.add(f"p{number}", f"s{number}", np.full((2, 3), number, np.uint8))


def same(one: Cohort, other: Cohort) -> bool:
    pairs = ((one.train, other.train), (one.validation, other.validation), (one.test, other.test))
    return one.version == other.version and all(
        torch.equal(a.present, b.present)
        and torch.equal(a.target, b.target)
        and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
        for a, b in pairs
    )


@pytest.fixture
def north(tmp_path: Path) -> SiteFolder:
    return hospital(tmp_path / "north")


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    files: list[Path] = []
    real = pixels._decode

    def counted(file: Any, frame: int) -> Any:
        files.append(file.path)
        return real(file, frame)

    monkeypatch.setattr(pixels, "_decode", counted)
    return files


# ----------------------------------------------------------------------------------------------------- the entry itself


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    with cache.locked():
        assert cache.load(NAME) is None
        fill(cache)
        entry = cache.load(NAME)
    assert entry is not None and entry.pseudonyms == ("p0", "p1", "p2", "p3", "p4") and entry.stamps[1] == "s1"
    np.testing.assert_array_equal(entry.rows[:, 0, 0], range(5))
    assert "p0" not in repr(entry)


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    with cache.locked(), pytest.raises(KeyError), cache.writer(NAME, (2, 3), np.uint8) as writer:
        writer.add("p", "s", np.zeros((2, 3), np.uint8))
        raise KeyError
    assert [path.name for path in (tmp_path / "c" / "xray").iterdir()] == []


@pytest.mark.parametrize("part", ["rows.bin", "index.json", "checksum"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "delete"])
def test_a_damaged_entry_is_not_trusted(tmp_path: Path, part: str, damage: str) -> None:
    cache = Cache(tmp_path / "c")
    with cache.locked():
        fill(cache)
        path = tmp_path / "c" / NAME.folder / part
        content = bytearray(path.read_bytes())
        if damage == "delete":
            path.unlink()
        else:
            content[len(content) // 2] ^= 1
            path.write_bytes(
                {"flip": bytes(content), "cut": path.read_bytes()[:-1], "grow": path.read_bytes() + b"0"}[damage]
            )
        assert cache.load(NAME) is None and cache.earlier(NAME) is None
        assert not (tmp_path / "c" / NAME.folder).exists()
        fill(cache)
        assert cache.load(NAME) is not None


def test_a_new_entry_replaces_those_of_its_recipe_only(tmp_path: Path) -> None:
    """A patient who left the sources leaves the cache; another study's way of preparing stays."""
    cache = Cache(tmp_path / "c")
    newer, other = EntryName("xray", NAME.recipe, "n" * 64), EntryName("xray", "q" * 64, "k" * 64)
    with cache.locked():
        fill(cache)
        fill(cache, other)
        fill(cache, newer, rows=2)
        assert cache.load(NAME) is None
        assert cache.load(newer) is not None and cache.load(other) is not None


def test_one_prepares_and_the_others_wait(tmp_path: Path) -> None:
    cache, order = Cache(tmp_path / "c"), []

    def second() -> None:
        with Cache(tmp_path / "c").locked():
            order.append("second")

    with cache.locked():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


# ----------------------------------------------------------------------------------------------------- a whole hospital


def test_a_second_time_nothing_is_decoded_and_all_is_the_same(
    north: SiteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(north, study_of())
    files = decoded(monkeypatch)
    assert same(first, prepare(north, study_of())) and not files
    other_training = study_of({"rounds": 7, "training": {"local_steps": 3}, "split": {"test": 0.5}})
    assert len(prepare(north, other_training).test) != len(first.test) and not files


def test_what_changes_the_rows_prepares_again(north: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_of()
    prepare(north, study)
    files = decoded(monkeypatch)
    modalities = {name: {"kind": "image", "size": 8} if name == "xray" else {"kind": "note", "max_tokens": 8}
                  for name in ("xray", "report")}  # fmt: skip
    smaller = prepare(north, study_of({"modalities": modalities}))
    assert smaller.train.inputs["xray"].shape[-1] == 8 and smaller.train.inputs["report"].shape[1] == 8
    assert len(files) == 11
    monkeypatch.setattr(rows, "PIPELINE_VERSION", 10**6)
    prepare(north, study)
    assert len(files) == 22


def test_only_new_patients_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "north"
    before = prepare(hospital(root, 10), study_of())
    files = decoded(monkeypatch)
    hospital(tmp_path / "larger", 13)
    for part in ("records.csv", "genes.csv", "notes.csv", "patients.csv"):
        (root / part).write_bytes((tmp_path / "larger" / part).read_bytes())
    newest = person(12)
    write_dicom(root / "images" / "late", np.eye(16, dtype=np.uint16) * 900, PatientID=newest.patient)
    grown = prepare(read_site(root), study_of())
    assert [path.name for path in files] == ["late"]
    assert len(grown.train) + len(grown.validation) + len(grown.test) == 13
    assert grown.version != before.version


def test_a_changed_image_is_decoded_again(north: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(north, study_of())
    files = decoded(monkeypatch)
    path = sorted(north.root.glob("images/*/IM0001"))[3]
    patient = next(person(n) for n in range(16) if f"_{n}" == path.parent.name[-len(f"_{n}") :])
    write_dicom(path, np.eye(16, dtype=np.uint16) * 900, PatientID=patient.patient)
    after = prepare(north, study_of())
    assert files == [path] and not same(before, after)


def test_a_patient_taken_out_of_the_target_leaves_the_cache(north: SiteFolder) -> None:
    prepare(north, study_of())
    gone = site_secret(north.root / "state").pseudonym(person(4).patient)
    indices = list((north.root / "state" / "cache").glob("*/*/index.json"))
    assert all(gone in path.read_text() for path in indices if path.parts[-3] == "labs")
    lines = (north.root / "records.csv").read_text().splitlines()
    (north.root / "records.csv").write_text("\n".join(line for line in lines if person(4).patient not in line))
    prepare(north, study_of())
    for path in (north.root / "state" / "cache").glob("*/*/index.json"):
        assert gone not in path.read_text()


def test_a_corrupted_cache_is_rebuilt_to_the_same_cohort(north: SiteFolder) -> None:
    first = prepare(north, study_of())
    for path in (north.root / "state" / "cache").glob("*/*/rows.bin"):
        content = bytearray(path.read_bytes())
        content[0] ^= 255
        path.write_bytes(content)
    assert same(first, prepare(north, study_of()))


def test_folders_are_for_their_owner_only(north: SiteFolder) -> None:
    (north.root / "state").mkdir(mode=0o755)
    prepare(north, study_of())
    for path in [north.root / "state", *(north.root / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_the_cache_may_lie_elsewhere(north: SiteFolder, tmp_path: Path) -> None:
    prepare(north, study_of(), cache=tmp_path / "fast" / "disk")
    assert list((tmp_path / "fast" / "disk").glob("*/*/rows.bin"))
    assert not (north.root / "state" / "cache").exists()


def dies(root: Path, at: tuple[str, int]) -> None:
    """Prepare, and end with SIGKILL at this report of progress."""

    def progress(what: str, done: int, total: int) -> None:
        if (what, done) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    prepare(read_site(root), study_of(), progress=progress)


@pytest.mark.parametrize(
    ("what", "done"), [("xray: reading headers", 3), ("preparing cases", 1), ("preparing cases", 15)]
)
def test_killed_at_any_moment_leaves_nothing_half_written(north: SiteFolder, what: str, done: int) -> None:
    assert called(dies, north.root, (what, done)) == -signal.SIGKILL
    cache = north.root / "state" / "cache"
    assert not [path for path in cache.glob("*/*") if not path.name.startswith(".")]
    after = prepare(north, study_of())
    assert not list(cache.glob("*/.*"))
    fresh = hospital(north.root.parent / "copy")
    (fresh.root / "state").mkdir(mode=0o700)
    (fresh.root / "state" / "pseudonym.key").write_bytes((north.root / "state" / "pseudonym.key").read_bytes())
    again = prepare(fresh, study_of())
    assert torch.equal(after.train.inputs["xray"], again.train.inputs["xray"])


def _prepare(root: Path, answers: Any) -> None:
    answers.put(prepare(read_site(root), study_of()).version)


def test_two_processes_at_once_agree(north: SiteFolder) -> None:
    """Also on the secret, which both find missing."""
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    several = [context.Process(target=_prepare, args=(north.root, answers)) for _ in range(2)]
    for process in several:
        process.start()
    versions = {answers.get(timeout=60) for _ in several}
    for process in several:
        process.join()
    assert len(versions) == 1


def test_a_full_disk_is_said_in_words_and_leaves_nothing(north: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(north.root / "Quispe"))

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "to_disk", full)
        with pytest.raises(DataError, match=r"No space left.*state") as caught:
            prepare(north, study_of())
    assert "Quispe" not in str(caught.value)
    assert not list((north.root / "state" / "cache").glob("*/*"))
    prepare(north, study_of())


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def test_notes_are_scrubbed_again_when_more_is_known_of_who_patients_are(north: SiteFolder) -> None:
    """From a new identity column, a changed cell of one, or the header of an image."""
    notes = [{"patient_id": person(n).patient, "text": "zwilling drilling vierling"} for n in range(16)]
    write_csv(north.root / "notes.csv", notes)

    def words() -> int:
        report = prepare(read_site(north.root), study_of()).train.inputs["report"]
        return len(set(report[report[:, 1] != 0].flatten().tolist()))  # start, padding, and each word or token

    write_site(north.root, {"identity": None})
    assert words() == 5
    rewrite(north.root / "patients.csv", "post.example", "zwilling")
    write_site(north.root, {"identity": [{"file": "patients.csv", "columns": ["name"]}]})
    assert words() == 5
    for n in range(16):
        rewrite(north.root / "patients.csv", f"{person(n).given} {person(n).family}", "Zwilling Drilling")
    write_site(north.root, {"identity": [{"file": "patients.csv", "columns": ["birth"]}]})
    assert words() == 5
    write_site(north.root, {"identity": [{"file": "patients.csv", "columns": ["name"]}]})
    assert words() == 4  # [NAME] vierling
    for n in range(16):
        write_dicom(north.root / "images" / f"{n}", np.eye(16, dtype=np.uint16), PatientID=person(n).patient,
                    PatientName="Vierling")  # fmt: skip
    assert words() == 3


def test_who_makes_the_secret_second_keeps_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site_secret(tmp_path)
    key = (tmp_path / "pseudonym.key").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda path: False)  # as a process sees it that looked a moment ago
        site_secret(tmp_path)
    assert (tmp_path / "pseudonym.key").read_bytes() == key
    assert [path.name for path in tmp_path.iterdir()] == ["pseudonym.key"]


def test_the_version_changes_with_a_target_alone(north: SiteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(north, study_of())
    files = decoded(monkeypatch)
    rewrite(north.root / "records.csv", f"{person(1).patient},dead", f"{person(1).patient},alive")
    assert prepare(north, study_of()).version != before.version and not files


def test_a_damaged_secret_is_named(north: SiteFolder) -> None:
    prepare(north, study_of())
    (north.root / "state" / "pseudonym.key").write_bytes(b"short")
    with pytest.raises(DataError, match=r"pseudonym\.key: is damaged"):
        prepare(north, study_of())


def test_another_secret_shares_nothing_with_the_first(north: SiteFolder) -> None:
    first = prepare(north, study_of())
    (north.root / "state" / "pseudonym.key").unlink()
    second = prepare(north, study_of())
    assert first.version != second.version
    assert torch.equal(first.train.target, second.train.target)  # and still the same patients, in the same order
    assert torch.equal(first.test.inputs["xray"], second.test.inputs["xray"])


def test_a_table_of_one_more_gap_is_prepared_again(north: SiteFolder) -> None:
    before = prepare(north, study_of())
    rows = [{"patient_id": person(n).patient, "TP53": 1, "EGFR": "NA", "PTEN": 3} for n in range(16)]
    write_csv(north.root / "genes.csv", rows)
    after = prepare(north, study_of())
    assert after.train.inputs["genes"][0].tolist() == [[1, 0, 3], [0, 1, 0]]
    assert before.train.inputs["genes"][0].tolist() != [[1, 0, 3], [0, 1, 0]]


def test_a_deletion_that_was_killed_leaves_nothing_that_lasts(tmp_path, monkeypatch) -> None:
    store = Cache(tmp_path / "cache")
    with store.locked():
        fill(store)

    def killed(folder: Path) -> None:
        (folder / "index.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            store.purge()
    with store.locked():  # whoever comes next
        assert not list((tmp_path / "cache").rglob("rows.bin"))
