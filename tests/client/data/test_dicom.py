"""DICOM: what is an image, whose, in which order, and which numbers; and that odd files are counted, not fatal."""

from __future__ import annotations

import csv
import logging
import shutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import MediaStorageDirectoryStorage

from client.data.dicom import find, stack
from client.data.pixels import prepare_image, read_image
from common.errors import DataError, SiteFileError
from common.modalities.image import ImageModality
from tests.support.hospital import write_dicom

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "dicom"
RAMP = np.tile(np.linspace(0, 4000, 16), (16, 1)).astype(np.uint16)


def modality(**changes: Any) -> ImageModality:
    return ImageModality(**({"kind": "image", "size": 16} | changes))


def image(folder: Path, wanted: ImageModality, patient: str = "A") -> np.ndarray:
    """The prepared image of a patient in a folder."""
    raw = read_image(stack(find(folder, "PatientID", "images.x").patients[patient]), wanted, Counter())
    assert raw is not None
    return prepare_image(raw.frames, wanted)


def one(folder: Path, pixels: np.ndarray, wanted: ImageModality, **attributes: Any) -> np.ndarray:
    shutil.rmtree(folder, ignore_errors=True)
    write_dicom(folder / "a.dcm", pixels, PatientID="A", **attributes)
    return image(folder, wanted)


def test_files_are_found_by_content(tmp_path: Path) -> None:
    write_dicom(tmp_path / "deep" / "er" / "no_extension", RAMP, PatientID="A")
    write_dicom(tmp_path / "picture.jpg", RAMP, PatientID=" B ")
    (tmp_path / "fake.dcm").write_bytes(b"this is not DICOM at all" * 20)
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("nor is this")
    write_dicom(tmp_path / "nobody.dcm", RAMP, PatientID="")
    write_dicom(tmp_path / "mask.dcm", RAMP, PatientID="A", Modality="SEG")
    listing = write_dicom(tmp_path / "DICOMDIR", RAMP, PatientID="A")
    listing.SOPClassUID = MediaStorageDirectoryStorage
    listing.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    report = write_dicom(tmp_path / "report.dcm", RAMP, PatientID="A")
    del report.PixelData
    report.save_as(tmp_path / "report.dcm")
    hollow = write_dicom(tmp_path / "hollow.dcm", RAMP, PatientID="A")
    hollow.PixelData = b""
    hollow.save_as(tmp_path / "hollow.dcm")
    found = find(tmp_path, "PatientID", "images.x")
    assert {patient: len(files) for patient, files in found.patients.items()} == {"A": 1, "B": 1}
    assert found.seen == 10
    assert found.skipped == {
        "not DICOM": 3,
        "without PatientID": 1,
        "segmentations or doses, not images": 1,
        "directories (DICOMDIR)": 1,
        "that end before their pixels": 2,
    }


def test_a_file_without_preamble_is_read_if_its_name_says_so(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm", RAMP, PatientID="A")
    content = (tmp_path / "a.dcm").read_bytes()
    headless = content[132 + 12 + int.from_bytes(content[140:144], "little") :]
    (tmp_path / "a.dcm").write_bytes(headless)
    (tmp_path / "b").write_bytes(headless)
    found = find(tmp_path, "PatientID", "images.x")
    assert [file.path.name for file in found.patients["A"]] == ["a.dcm"]
    whole = one(tmp_path / "other", RAMP, modality())
    np.testing.assert_array_equal(image(tmp_path, modality()), whole)


@pytest.mark.parametrize("make", ["absent", "empty", "text"])
def test_a_folder_without_images_names_itself_and_the_way_out(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "images"
    if make != "absent":
        folder.mkdir()
    if make == "text":
        for number in range(3):
            (folder / f"smith_{number}.txt").write_text("no image")
    kind, words = {
        "absent": (SiteFileError, "no such folder"),
        "empty": (DataError, "0 files"),
        "text": (DataError, "3 files.*3 not DICOM"),
    }[make]
    with pytest.raises(kind, match=words) as caught:
        find(folder, "PatientID", "images.x")
    assert "images.x" in str(caught.value) and str(folder) in str(caught.value)
    assert "smith" not in str(caught.value)


def test_accession_number_can_name_the_patient(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a", RAMP, PatientID="A", AccessionNumber="X1")
    assert list(find(tmp_path, "AccessionNumber", "images.x").patients) == ["X1"]


# ------------------------------------------------------------------------------------------------------------- numbers


def test_monochrome1_is_inverted_monochrome2(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4096, (16, 16)).astype(np.uint16)
    for wanted in (modality(), modality(intensity="range"), modality(intensity="window", window=(1000, 2000))):
        bright = one(tmp_path / "i", pixels, wanted, BitsStored=12)
        dark = one(tmp_path / "i", pixels, wanted, BitsStored=12, PhotometricInterpretation="MONOCHROME1")
        np.testing.assert_allclose(dark, 1 - bright, atol=1e-6)
        turned = one(tmp_path / "i", 4095 - pixels, modality(), BitsStored=12, PhotometricInterpretation="MONOCHROME1")
        np.testing.assert_allclose(turned, one(tmp_path / "i", pixels, modality(), BitsStored=12), atol=1e-6)


def test_window_is_in_modality_units(tmp_path: Path) -> None:
    hounsfield = np.array([[-1000, 0, 40, 240, 1000]] * 5)
    got = one(
        tmp_path / "i",
        (hounsfield + 1024).astype(np.uint16),
        modality(size=8, intensity="window", window=(40, 400)),
        RescaleSlope=1,
        RescaleIntercept=-1024,
    )
    halves = (hounsfield * 2).astype(np.int16)
    wanted = modality(size=8, intensity="window", window=(40, 400))
    np.testing.assert_allclose(
        got, one(tmp_path / "i", halves, wanted, RescaleSlope=0.5, RescaleIntercept=0), atol=1e-6
    )
    flat = np.full((8, 8), 1064, np.uint16)
    got = one(tmp_path / "i", flat, wanted, RescaleSlope=1, RescaleIntercept=-1024)
    np.testing.assert_allclose(got, 0.5, atol=1e-6)


def test_range_is_that_of_the_stored_bits(tmp_path: Path) -> None:
    wanted = modality(size=8, intensity="range")
    full = np.full((8, 8), 2048, np.uint16)
    assert one(tmp_path / "i", full, wanted, BitsStored=12)[0, 0, 0] == pytest.approx(2048 / 4095)
    signed = np.full((8, 8), -100, np.int16)
    assert one(tmp_path / "i", signed, wanted, BitsStored=12)[0, 0, 0] == pytest.approx((2048 - 100) / 4095)
    scaled = one(tmp_path / "i", full, wanted, BitsStored=12, RescaleSlope=-2, RescaleIntercept=7)
    assert scaled[0, 0, 0] == pytest.approx(1 - 2048 / 4095, abs=1e-6)


def test_bits_above_the_stored_ones_are_not_image(tmp_path: Path) -> None:
    """Where old files hide overlays, with text in them."""
    overlay = RAMP | np.where(np.arange(16) % 2, 0x8000, 0).astype(np.uint16)
    got = one(tmp_path / "i", overlay, modality(), BitsStored=12)
    np.testing.assert_array_equal(got, one(tmp_path / "i", RAMP, modality(), BitsStored=12))


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 1] = 200
    got = one(tmp_path / "i", colour, modality(size=8, intensity="range"))
    np.testing.assert_allclose(got, 0.587 * 200 / 255, atol=1e-4)


@pytest.mark.parametrize(
    "padding", [{"PixelPaddingValue": 63536 - 65536}, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1900}]
)
def test_padding_is_neither_seen_nor_scaled_by(tmp_path: Path, padding: dict[str, int]) -> None:
    rng = np.random.default_rng(1)
    tissue = rng.integers(0, 100, (16, 16)).astype(np.int16)
    padded = tissue.copy()
    padded[:, :4] = -2000
    got = one(tmp_path / "i", padded, modality(), **padding)[0]
    assert np.all(got[:, :4] == 0)
    alone = one(tmp_path / "i", np.ascontiguousarray(tissue[:, 4:]), modality(size=16))[0]
    np.testing.assert_allclose(got[:, 4:], alone[:, 2:14], atol=1e-6)
    inverted = one(tmp_path / "i", padded, modality(), PhotometricInterpretation="MONOCHROME1", **padding)[0]
    assert np.all(inverted[:, :4] == 0)  # black around the image in either polarity


def test_padding_given_as_unsigned_bits_is_understood(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(16, dtype=np.int16), (16, 1))
    pixels[:, :4] = -2000
    data = write_dicom(tmp_path / "a.dcm", pixels, PatientID="A")
    data.add_new(0x00280120, "US", 65536 - 2000)
    data.save_as(tmp_path / "a.dcm")
    got = image(tmp_path, modality())[0]
    assert np.all(got[:, :5] == 0) and np.all(got[:, 6:] > 0)


def test_pixels_that_do_not_end_at_bit_0_are_not_guessed_at(tmp_path: Path) -> None:
    data = write_dicom(tmp_path / "a.dcm", RAMP << 4, PatientID="A", BitsStored=12)
    data.HighBit = 15
    data.save_as(tmp_path / "a.dcm")
    skipped: Counter[str] = Counter()
    assert read_image(stack(find(tmp_path, "PatientID", "images.x").patients["A"]), modality(), skipped) is None
    assert sum(skipped.values()) == 1


def test_resize_keeps_the_shape_and_does_not_alias(tmp_path: Path) -> None:
    bars = np.zeros((64, 128), np.uint8)
    bars[:, ::2] = 255  # finer than the small image can show: must become grey, not stripes
    got = one(tmp_path / "i", bars, modality(size=16, intensity="range"))[0]
    assert np.all(got[:4] == 0) and np.all(got[12:] == 0)
    np.testing.assert_allclose(got[4:12, 1:15], 0.5, atol=0.03)
    tall = one(tmp_path / "i", np.full((40, 3), 7, np.uint8), modality(size=16, intensity="range"))[0]
    assert np.count_nonzero(tall.sum(axis=0)) == 1


def test_one_grey_all_over_is_black_not_nan(tmp_path: Path) -> None:
    assert not one(tmp_path / "i", np.full((8, 8), 900, np.uint16), modality()).any()


# -------------------------------------------------------------------------------------------------------------- stacks


def level(value: int) -> np.ndarray:
    return np.full((8, 8), value, np.uint8)


def test_a_stack_is_ordered_in_space_whatever_files_are_called(tmp_path: Path) -> None:
    for name, (z, value) in {"c": (-5.0, 10), "a": (5.0, 30), "b": (0.0, 20), "d": (10.0, 40)}.items():
        write_dicom(
            tmp_path / name, level(value), PatientID="A", InstanceNumber=value % 7,
            ImagePositionPatient=[0, 0, z], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        )  # fmt: skip
    got = image(tmp_path, modality(size=8, slices=4, intensity="range"))
    np.testing.assert_allclose(got[:, 0, 0] * 255, [10, 20, 30, 40])
    two = image(tmp_path, modality(size=8, slices=2, intensity="range"))
    np.testing.assert_allclose(two[:, 0, 0] * 255, [20, 40])


def test_order_is_along_the_normal_also_of_a_sagittal_stack(tmp_path: Path) -> None:
    for name, (x, value) in {"a": (9.0, 20), "b": (-9.0, 10)}.items():
        write_dicom(
            tmp_path / name, level(value), PatientID="A", InstanceNumber=1,
            ImagePositionPatient=[x, 0, 0], ImageOrientationPatient=[0, 1, 0, 0, 0, 1],
        )  # fmt: skip
    got = image(tmp_path, modality(size=8, slices=2, intensity="range"))
    np.testing.assert_allclose(got[:, 0, 0] * 255, [10, 20])


def test_without_places_the_instance_number_orders(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write_dicom(tmp_path / f"{9 - number}", level(number), PatientID="A", InstanceNumber=number)
    got = image(tmp_path, modality(size=8, slices=3, intensity="range"))
    np.testing.assert_allclose(got[:, 0, 0] * 255, [1, 2, 3])


def test_the_largest_series_is_taken_alone(tmp_path: Path) -> None:
    write_dicom(tmp_path / "scout", level(200), PatientID="A", SeriesInstanceUID="1.1")
    for number in (1, 2):
        write_dicom(
            tmp_path / f"s{number}", level(number), PatientID="A", SeriesInstanceUID="1.2", InstanceNumber=number
        )
    got = image(tmp_path, modality(size=8, slices=3, intensity="range"))
    assert set(np.rint(got[:, 0, 0] * 255)) == {1, 2}


def test_frames_are_slices(tmp_path: Path) -> None:
    write_dicom(tmp_path / "m", np.stack([level(value) for value in range(0, 100, 10)]), PatientID="A")
    got = image(tmp_path, modality(size=8, slices=5, intensity="range"))
    np.testing.assert_allclose(got[:, 0, 0] * 255, [10, 30, 50, 70, 90])
    assert image(tmp_path, modality(size=8, slices=12, intensity="range")).shape == (12, 8, 8)


def test_a_frame_may_have_a_rescale_of_its_own(tmp_path: Path) -> None:
    def group(slope: float) -> Dataset:
        inside, outside = Dataset(), Dataset()
        inside.RescaleSlope, inside.RescaleIntercept, inside.RescaleType = slope, 0, "US"
        outside.PixelValueTransformationSequence = DicomSequence([inside])
        return outside

    write_dicom(
        tmp_path / "m", np.stack([level(10), level(10)]), PatientID="A",
        PerFrameFunctionalGroupsSequence=DicomSequence([group(1), group(3)]),
    )  # fmt: skip
    got = image(tmp_path, modality(size=8, slices=2, intensity="window", window=(50, 100)))
    np.testing.assert_allclose(got[:, 0, 0], [0.1, 0.3], atol=1e-6)


def test_a_broken_slice_is_left_out_and_counted(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write_dicom(tmp_path / f"{number}", level(number), PatientID="A", InstanceNumber=number)
    content = (tmp_path / "2").read_bytes()
    (tmp_path / "2").write_bytes(content[:-40])
    skipped: Counter[str] = Counter()
    files = stack(find(tmp_path, "PatientID", "images.x").patients["A"])
    wanted = modality(size=8, slices=3, intensity="range")
    raw = read_image(files, wanted, skipped)
    assert raw is not None and sum(skipped.values()) == 1
    assert set(np.rint(prepare_image(raw.frames, wanted)[:, 0, 0] * 255)) == {1, 3}
    assert read_image(files[1:2], wanted, skipped) is None


def test_absurd_numbers_of_frames_cost_nothing(tmp_path: Path) -> None:
    write_dicom(tmp_path / "m", level(1), PatientID="A", NumberOfFrames=2_000_000_000)
    skipped: Counter[str] = Counter()
    assert read_image(stack(find(tmp_path, "PatientID", "images.x").patients["A"]), modality(slices=3), skipped) is None
    assert sum(skipped.values()) == 1


# ---------------------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not REAL.is_dir(), reason="the collection of real DICOM files is not beside the repository")
def test_real_files_are_read_or_counted_and_nothing_else(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with (REAL / "index.csv").open() as file:
        index = {row["file"]: row for row in csv.DictReader(file)}
    found = find(REAL, "PatientID", "images.x")
    files = [file for several in found.patients.values() for file in several]
    assert len(files) + sum(found.skipped.values()) == found.seen == len(index) + 1
    assert found.skipped["not DICOM"] == 1  # the index itself
    skipped: Counter[str] = Counter()
    wanted = [modality(), modality(slices=2, intensity="range"), modality(intensity="window", window=(40, 400))]
    for file in files:
        for one_way in wanted:
            raw = read_image([file], one_way, skipped)
            facts = index[file.path.name]
            if raw is None:
                continue
            assert facts["decodable"] == "True"
            got = prepare_image(raw.frames, one_way)
            assert got.shape == (one_way.slices, 16, 16)
            assert np.all(np.isfinite(got)) and got.min() >= 0 and got.max() <= 1
    plain = {"Explicit VR Little Endian", "Implicit VR Little Endian", "Explicit VR Big Endian", "RLE Lossless",
             "Deflated Explicit VR Little Endian", "JPEG Baseline (Process 1)",
             "JPEG 2000 Image Compression"}  # fmt: skip
    for file in files:
        facts = index[file.path.name]
        if facts["decodable"] == "True" and facts["ts_name"] in plain:
            assert read_image([file], modality(), skipped) is not None, facts["ts_name"]
    assert not recwarn.list and not caplog.records  # pydicom's words quote the values that surprised it
    assert logging.getLogger("pydicom").level > logging.CRITICAL


@pytest.mark.skipif(not REAL.is_dir(), reason="the collection of real DICOM files is not beside the repository")
def test_real_files_alone_never_crash_with_a_foreign_error(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number, file in enumerate(sorted(REAL.glob("*.dcm"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            shutil.copy(file, folder / "x")
            for tag in ("PatientID", "AccessionNumber"):
                try:
                    found = find(folder, tag, "images.x")
                except DataError as refusal:
                    assert "1 files" in str(refusal) and "images.x" in str(refusal)
                    continue
                for several in found.patients.values():
                    read_image(stack(several), modality(size=8), Counter())
