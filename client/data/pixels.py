"""Pixels: chosen slices of a stack -> frames of numbers -> one array (slices, size, size) in [0, 1], air dark.

Clauses are those of DICOM PS3.3. Overlays are never read, and bits above Bits Stored (where old files hide overlays
with text) are cleared by the decoder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from client.data.case import Frame, RawImage
from client.data.dicom import DicomFile, quiet
from common.modalities.image import ImageModality

Pixels = NDArray[np.float32]

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def read_image(files: Sequence[DicomFile], modality: ImageModality, skipped: Counter[str]) -> RawImage | None:
    """Decode as many slices as the study wants, evenly along the stack; None if no file of the stack can be decoded.

    A file that cannot be decoded is counted and left out, and the choice is made again among the others.
    """
    quiet()
    left = list(files)
    while left:
        chosen = list(_evenly(left, modality.slices))
        read: dict[tuple[int, int], tuple[Frame, Dataset]] = {}
        broken: set[int] = set()
        for number, frame in dict.fromkeys(chosen):
            try:
                read[number, frame] = _decode(left[number], frame)
            except Exception as problem:  # decoders raise anything, and their words may quote the file
                broken.add(number)
                skipped[_reason(left[number], problem)] += 1
                break
        if not broken:
            pairs = [read[place] for place in chosen]
            return RawImage(tuple(frame for frame, _ in pairs), tuple(header for _, header in pairs))
        left = [file for number, file in enumerate(left) if number not in broken]
    return None


def _reason(file: DicomFile, problem: Exception) -> str:
    """Why a file cannot be decoded, in words that hold nothing of it."""
    try:
        syntax = read_file_meta_info(file.path).TransferSyntaxUID
        if not get_decoder(syntax).is_available:
            return f"compressed as {syntax.name}, for which no decoder is installed"
    except Exception as unknown:  # no transfer syntax, or one that pydicom does not know
        problem = unknown
    return f"that cannot be decoded ({type(problem).__name__})"


def _evenly(files: Sequence[DicomFile], slices: int) -> Iterator[tuple[int, int]]:
    """(file, frame) at the middles of `slices` equal parts of the stack; a short stack repeats its images."""
    ends = list(accumulate(file.frames for file in files))
    for part in range(slices):
        place = (2 * part + 1) * ends[-1] // (2 * slices)
        number = bisect_right(ends, place)
        yield number, place - (ends[number - 1] if number else 0)


def _decode(file: DicomFile, frame: int) -> tuple[Frame, Dataset]:
    """One frame as numbers, and the header it came with. Raises whatever the decoder does."""
    data = pydicom.dcmread(file.path, force=True)
    if "TransferSyntaxUID" not in data.file_meta:  # then it is uncompressed, or nobody can tell
        if not data.original_encoding[1]:
            raise ValueError("big endian without a transfer syntax")
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    bits = int(data.get("BitsStored") or 0)
    if bits and int(data.get("HighBit", bits - 1)) != bits - 1:
        raise ValueError("stored bits do not end at bit 0")
    stored = pixel_array(data, index=frame)
    data = _without_pixels(data)
    return (_colour(stored, data) if _is_colour(stored, data) else _grey(stored, data, frame)), data


def _without_pixels(data: Dataset) -> Dataset:
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in data:
            delattr(data, keyword)
    return data


def _is_colour(stored: NDArray[Any], data: Dataset) -> bool:
    return stored.ndim == 3 or data.get("PhotometricInterpretation") == "PALETTE COLOR"


def _colour(stored: NDArray[Any], data: Dataset) -> Frame:
    if stored.ndim == 2:
        stored = apply_color_lut(stored, data)
    bits = (
        8 * stored.dtype.itemsize if data.get("PhotometricInterpretation") == "PALETTE COLOR" else int(data.BitsStored)
    )
    luminance = stored[..., :3].astype(np.float32) @ _LUMINANCE
    return Frame(luminance, None, 0.0, float(2**bits - 1), False)


def _grey(stored: NDArray[Any], data: Dataset, frame: int) -> Frame:
    attributes = _value_attributes(data, frame)
    low, high = _stored_range(stored, data)
    ends = _modality_values(np.array([low, high], dtype=stored.dtype), attributes)
    return Frame(
        values=_modality_values(stored, attributes).astype(np.float32),
        padded=_padded(stored, data),
        low=float(ends.min()),
        high=float(ends.max()),
        inverted=data.get("PhotometricInterpretation") == "MONOCHROME1",
    )


def _modality_values(stored: NDArray[Any], attributes: Dataset) -> NDArray[np.float64]:
    """The Modality LUT Module (C.11.1): a table, or slope and intercept; empty ones mean none."""
    if attributes.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, attributes), dtype=np.float64)
    slope, intercept = attributes.get("RescaleSlope"), attributes.get("RescaleIntercept")
    return stored.astype(np.float64) * float(1 if slope in (None, "") else slope) + float(intercept or 0)


def _value_attributes(data: Dataset, frame: int) -> Dataset:
    """Where the rescale of this frame stands: its own functional group, the shared one, or the file (C.7.6.16.2.9)."""
    groups = [
        *list(data.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1],
        *list(data.get("SharedFunctionalGroupsSequence") or [])[:1],
    ]
    for group in groups:
        inside = group.get("PixelValueTransformationSequence")
        if inside:
            found: Dataset = inside[0]
            return found
    return data


def _stored_range(stored: NDArray[Any], data: Dataset) -> tuple[float, float]:
    """What the stored bits can say; of floating pixels, what they do say."""
    if stored.dtype.kind == "f":
        finite = stored[np.isfinite(stored)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    bits = int(data.BitsStored)
    if int(data.get("PixelRepresentation") or 0):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return 0, 2**bits - 1


def _padded(stored: NDArray[Any], data: Dataset) -> NDArray[np.bool_] | None:
    """Pixel Padding Value, or the range from it to its limit (C.7.5.1.1.2)."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return None
    limit = data.get("PixelPaddingRangeLimit", value)
    low, high = sorted((_as_stored(int(value), stored), _as_stored(int(limit), stored)))
    padded: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padded if padded.any() and not padded.all() else None


def _as_stored(value: int, stored: NDArray[Any]) -> int:
    """Files often give a signed image's padding as unsigned bits: 63536 for -2000."""
    bits = 8 * stored.dtype.itemsize
    return value - 2**bits if stored.dtype.kind == "i" and value >= 2 ** (bits - 1) else value


def prepare_image(frames: Sequence[Frame], modality: ImageModality) -> Pixels:
    """(slices, size, size) float32 in [0, 1]: scaled as the study says, resized with its shape kept, centred on 0."""
    scaled = _scaled(frames, modality)
    return np.stack([fitted(image, modality.size) for image in scaled])


def _scaled(frames: Sequence[Frame], modality: ImageModality) -> list[Pixels]:
    if modality.intensity == "percentile":
        inside = np.concatenate([_inside(frame) for frame in frames])
        low, high = (float(value) for value in np.percentile(inside, [1.0, 99.0]))
        return [_scale(frame, low, high) for frame in frames]
    if modality.window is not None:
        centre, width = modality.window  # the LINEAR_EXACT function, C.11.2.1.3.2
        return [_scale(frame, centre - width / 2, centre + width / 2) for frame in frames]
    return [_scale(frame, frame.low, frame.high) for frame in frames]


def _inside(frame: Frame) -> Pixels:
    inside = frame.values if frame.padded is None else frame.values[~frame.padded]
    finite: Pixels = inside[np.isfinite(inside)]
    return finite if finite.size else np.zeros(1, dtype=np.float32)


def _scale(frame: Frame, low: float, high: float) -> Pixels:
    if high > low:
        image = np.clip((np.nan_to_num(frame.values, nan=low) - low) / (high - low), 0.0, 1.0)
        image = 1.0 - image if frame.inverted else image
    else:
        image = np.zeros(frame.values.shape)  # one grey all over says nothing
    if frame.padded is not None:
        image = np.where(frame.padded, 0.0, image)
    grey: Pixels = image.astype(np.float32)
    return grey


def fitted(image: Pixels, size: int) -> Pixels:
    """Antialiased resize of the longer side to `size`, zeros around."""
    rows, columns = image.shape
    scale = size / max(rows, columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    small = Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR)
    fitted = np.zeros((size, size), dtype=np.float32)
    top, left = (size - height) // 2, (size - width) // 2
    fitted[top : top + height, left : left + width] = np.clip(np.asarray(small), 0.0, 1.0)
    return fitted
