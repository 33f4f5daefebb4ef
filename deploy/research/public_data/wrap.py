"""Public pictures as DICOM files that say what they are: wrapped, eight bits, no patient behind them."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from common.errors import DataError

_NAMESPACE = uuid.UUID("6f1c3a52-7d0b-5c7e-9a43-2b8d5f60e1c4")  # of this module's UIDs; any constant would do


def wrap(picture: Path, target: Path, *, patient: str, series: str, number: int, modality: str, what: str) -> None:
    """Write the grey 8-bit `picture` as Secondary Capture (PS3.3 A.8), slice `number` of the patient's `series`.

    Not as the SOP class of the scanner: its mandatory attributes (echo times, positions) are not known any more.
    UIDs follow from the names, so that the same pictures give the same bytes. Raises DataError if it is no picture.
    """
    try:
        with Image.open(picture) as opened:
            pixels = np.asarray(opened.convert("L"), dtype=np.uint8)
    except OSError:
        raise DataError(f"{picture}: cannot be read as a picture. Download the data set again.") from None
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(patient, series, str(number))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(target), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(patient), _uid(patient, series)
    data.PatientID, data.PatientName, data.PatientIdentityRemoved = patient, "", "YES"
    data.DeidentificationMethod = "public data set, de-identified by its publisher"
    data.Modality, data.SeriesDescription, data.ConversionType = modality, series, "WSD"
    data.InstanceNumber = str(number)
    data.ImageComments = f"Wrapped from an 8-bit PNG of a public data set ({what}); not the scanner's own values."
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)  # an even number of bytes (PS3.5 7.1.1)
    data.save_as(target, enforce_file_format=True)


def _uid(*names: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(names)).int}")
