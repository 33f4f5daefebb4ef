"""DICOM folders: which files hold images of whom, in which order. Found by content, whatever the files are called.

Headers only are read here; `client.data.pixels` decodes what was chosen. Nothing of a file that cannot be used is
shown, its name neither: hospitals name files after patients. Skipped files are counted by reason.
"""

from __future__ import annotations

import errno
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.uid import UID

from client.data.case import Identifier
from client.data.identifiers import of_header
from common.errors import DataError, SiteFileError

# PS3.6: Float Pixel Data, Double Float Pixel Data, Pixel Data
_PIXELS = {0x7FE00008, 0x7FE00009, 0x7FE00010}
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_NOT_AN_IMAGE = {"SEG", "RTDOSE"}  # pixels that somebody drew or computed over an image
_NAMED_AS_DICOM = {".dcm", ".dicom", ".ima", ".dic"}
_PREAMBLE = 128
_TAGS = {"PatientID", "AccessionNumber"}
FOLDERS, FILES, CLOSED = "folders", "entries", "that cannot be read"
DEEPEST = 64  # folders below the folder of images: exports have 3 or 4
_BROKEN, _CUT = "with a broken header", "that end before their pixels"


@dataclass(frozen=True, repr=False)
class DicomFile:
    """A file with pixels, and what orders it in its series. `stamp` changes when the file does."""

    path: Path
    series: str
    frames: int
    position: float | None  # along the normal of the image plane, mm
    instance: int | None
    stamp: str


@dataclass(frozen=True, repr=False)
class DicomFolder:
    """Patient -> its files, all series together; who they are; and how many files were left out, by reason.

    below: how many folders and files are in it, and how many of them cannot be read
    """

    folder: Path
    seen: int
    patients: dict[str, list[DicomFile]] = field(default_factory=dict)
    identifiers: dict[str, set[Identifier]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)

    @property
    def closed(self) -> bool:
        """Whether something in it cannot be read: nobody knows whose it is."""
        return any(number for what, number in self.below.items() if what.endswith(CLOSED))

    def __repr__(self) -> str:
        return f"DicomFolder({self.seen} files, {len(self.patients)} patients)"


def quiet() -> None:
    """Keep pydicom's warnings and log lines off: they quote the values that surprised them."""
    warnings.filterwarnings("ignore", module=r"pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def listing(folder: Path, key: str) -> tuple[list[tuple[str, int, int]], Counter[str]]:
    """(path in the folder, size, mtime_ns) of every file, in the order of their paths, links not followed; and how many
    folders and files are below, and how many of them cannot be read. SiteFileError for the folder itself.
    """
    if not folder.is_dir():
        raise SiteFileError(f"{folder}: no such folder. Check site.yaml, key {key}.folder.")
    folders = Counter[str]()
    try:
        found = list(_walk(folder, folders))
    except OSError as problem:
        raise SiteFileError(
            f"{folder}: cannot be read ({problem.strerror}). Check site.yaml, key {key}.folder, and its permissions."
        ) from None
    return sorted((os.path.relpath(path, folder), stat.st_size, stat.st_mtime_ns) for path, stat in found), folders


def _walk(folder: Path, folders: Counter[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Files with their sizes. Folders below are one patient's: those that cannot be read, or lie deeper than any export
    has them, are counted. OSError for this one.
    """
    with os.scandir(folder) as entries:
        left = [(entry, 1) for entry in entries]
    while left:
        entry, depth = left.pop()
        kind = FILES
        try:
            if entry.is_dir(follow_symlinks=False):
                kind = FOLDERS
                left += [(below, depth + 1) for below in _below(entry, depth)]
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, entry.stat()
        except OSError:
            folders[f"{kind} {CLOSED}"] += 1
        folders[kind] += 1


def _below(entry: os.DirEntry[str], depth: int) -> list[os.DirEntry[str]]:
    if depth >= DEEPEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    with os.scandir(entry.path) as entries:
        return list(entries)


def find(
    folder: Path,
    tag: Literal["PatientID", "AccessionNumber"],
    key: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    gaps: bool = False,
) -> DicomFolder:
    """Read the headers of all files under `folder`. Raises DataError if none of them holds an image of a patient, and
    that is no gap.
    """
    quiet()
    files, below = listing(folder, key)
    found = DicomFolder(folder, len(files), below=below)
    for number, (name, size, changed) in enumerate(files):
        reason = _add(found, folder / name, f"{name}\0{size}\0{changed}", tag)
        if reason:
            found.skipped[reason] += 1
        progress(number + 1, len(files))
    if not found.patients and not gaps:
        raise DataError(no_image(folder, found.seen, found.skipped, key))
    return found


def no_image(folder: Path, seen: int, skipped: Counter[str], key: str) -> str:
    """The sentence for a folder without one usable image."""
    what = "; ".join(f"{number} {reason}" for reason, number in sorted(skipped.items())) or "it is empty"
    return (
        f"{folder}: {seen} files, and not one is a DICOM image that can be read ({what}). Check site.yaml, key {key}; "
        "of compressed images, JPEG-LS and lossless JPEG have no decoder here: export them uncompressed."
    )


def _add(found: DicomFolder, path: Path, stamp: str, tag: str) -> str | None:
    """Put a file where it belongs, or say why not."""
    try:
        header, has_pixels = _header(path)
    except OSError:
        found.below[f"{FILES} {CLOSED}"] += 1
        return None
    if header is None:
        return "not DICOM"
    try:
        return _add_header(found, header, path, stamp=stamp, tag=tag, has_pixels=has_pixels)
    except Exception:  # pydicom parses late, and a broken value can raise anything
        return _BROKEN


def _add_header(
    found: DicomFolder, header: Dataset, path: Path, *, stamp: str, tag: str, has_pixels: bool
) -> str | None:
    if header.get("SOPClassUID") == _MEDIA_STORAGE_DIRECTORY or "DirectoryRecordSequence" in header:
        return "directories (DICOMDIR)"
    if not has_pixels:
        return _CUT if _is_image(header) else "without pixels"
    if header.get("Modality") in _NOT_AN_IMAGE:
        return "segmentations or doses, not images"
    patient = str(header.get(tag) or "").strip()
    if not patient:
        return f"without {tag}"
    file = DicomFile(
        path=path,
        series=str(header.get("SeriesInstanceUID") or ""),
        frames=max(1, int(header.get("NumberOfFrames") or 1)),
        position=_position(header),
        instance=_whole(header.get("InstanceNumber")),
        stamp=stamp,
    )
    found.patients.setdefault(patient, []).append(file)
    found.identifiers.setdefault(patient, set()).update(of_header(header))
    return None


def _is_image(header: Dataset) -> bool:
    """Whether the file says that it is of a kind that has pixels (PS3.4 B.5, by the names of its storage classes)."""
    meta = getattr(header, "file_meta", Dataset())
    kind = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""
    return "Image Storage" in UID(str(kind)).name


def lost(reason: str) -> bool:
    """Whether a file left out for this reason is an image that cannot be used; other files are no loss."""
    return reason in (_BROKEN, _CUT) or reason.removeprefix("without ") in _TAGS


def _header(path: Path) -> tuple[FileDataset | None, bool]:
    """The attributes before the pixels, and whether there are pixels; None for a file that is not DICOM.

    OSError for one that may not be opened.
    """
    ends: list[bool] = []

    def at_pixels(tag: Any, vr: str | None, length: int) -> bool:
        if int(tag) in _PIXELS:
            ends.append(length != 0)
        return int(tag) in _PIXELS

    try:
        opened = path.open("rb")
    except FileNotFoundError:  # deleted since it was listed
        return None, False
    try:
        with opened as file:
            preamble = file.read(_PREAMBLE + 4)[_PREAMBLE:] == b"DICM"
            if not preamble and path.suffix.lower() not in _NAMED_AS_DICOM:
                return None, False
            file.seek(0)
            header = read_partial(file, stop_when=at_pixels, force=not preamble)
            known = preamble or "SOPClassUID" in header or "Rows" in header
    except Exception:
        return None, False
    return (header if known else None), any(ends)


def _position(header: Dataset) -> float | None:
    """Place along the normal of the image plane (PS3.3 C.7.6.2.1.1); else Slice Location; else None."""
    try:
        x, y, z = (float(value) for value in header.ImagePositionPatient)
        r1, r2, r3, c1, c2, c3 = (float(value) for value in header.ImageOrientationPatient)
    except (AttributeError, TypeError, ValueError):
        return _real(header.get("SliceLocation"))
    return x * (r2 * c3 - r3 * c2) + y * (r3 * c1 - r1 * c3) + z * (r1 * c2 - r2 * c1)


def _real(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    real = _real(value)
    return None if real is None else int(real)


def stack(files: list[DicomFile]) -> list[DicomFile]:
    """The patient's series with most images, in order of place, or of Instance Number where places are not all told."""
    series: dict[str, list[DicomFile]] = {}
    for file in files:
        series.setdefault(file.series, []).append(file)
    if not series:
        return []
    largest = min(series.items(), key=lambda item: (-sum(file.frames for file in item[1]), item[0]))[1]
    placed = all(file.position is not None for file in largest)
    return sorted(
        largest, key=lambda file: (file.position or 0.0 if placed else 0.0, file.instance or 0, file.path.as_posix())
    )
