"""Films as DICOM files with the header that a hospital's archive would have given them.

Patient's and study's attributes are those of PS3.3 C.7.1.1, C.7.2.1 and C.7.5.1. Everything that identifies is made
up, and is there to be removed.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from deploy.hospitals.people import Person
from deploy.hospitals.plan import Scanner

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def uid(rng: np.random.Generator) -> str:
    """A UID under 2.25, from a UUID (PS3.5 B.2) that the generator draws: the same seed, the same UID."""
    return f"2.25.{uuid.UUID(bytes=rng.bytes(16), version=4).int}"


def write_film(
    path: Path, stored: NDArray[np.uint16], person: Person, scanner: Scanner, hospital: str, rng: np.random.Generator
) -> None:
    """Write one film. `stored` has bone white; a share of the scanner's films is inverted and says MONOCHROME1."""
    inverted = bool(rng.random() < scanner.inverted)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = scanner.sop_class
    meta.MediaStorageSOPInstanceUID = uid(rng)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    _patient(data, person, hospital)
    _study(data, person, scanner, meta, rng)
    _pixels(data, 4095 - stored if inverted else stored, inverted)
    data.save_as(path, enforce_file_format=True)


def _patient(data: Dataset, person: Person, hospital: str) -> None:
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName = f"{person.last}^{person.first}"
    data.PatientID = person.number
    data.PatientBirthDate = f"{person.born:%Y%m%d}"
    data.PatientSex = "F" if person.female else "M"
    data.PatientAge = f"{person.age:03d}Y"
    data.PatientTelephoneNumbers = person.phone
    data.ResponsiblePerson = f"{person.relative_last}^{person.relative_first}"
    data.InstitutionName = hospital.replace("_", " ").title()


def _study(data: Dataset, person: Person, scanner: Scanner, meta: FileMetaDataset, rng: np.random.Generator) -> None:
    taken = timedelta(seconds=int(rng.integers(6 * 3600, 22 * 3600)))
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(rng), uid(rng)
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = f"{person.admitted:%Y%m%d}"
    data.StudyTime = str(taken).replace(":", "").rjust(6, "0")
    data.AccessionNumber = f"A{int(rng.integers(10**8)):08d}"
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", "1", "1"
    data.ReferringPhysicianName = ""
    data.Modality = {SECONDARY_CAPTURE: "OT"}.get(
        scanner.sop_class, "DX" if scanner.sop_class.endswith("1.1.1") else "CR"
    )
    data.Manufacturer, data.ManufacturerModelName = scanner.maker, scanner.model
    data.DeviceSerialNumber = f"{int(rng.integers(100, 104))}"
    data.StudyDescription, data.BodyPartExamined, data.ViewPosition = "CHEST PA", "CHEST", "PA"
    data.PatientOrientation = ["L", "F"]
    if scanner.sop_class == SECONDARY_CAPTURE:
        data.ConversionType = "DF"  # digitized film
    else:
        data.KVP = f"{int(rng.integers(110, 126))}"
    data.BurnedInAnnotation = "NO"


def _pixels(data: Dataset, stored: NDArray[np.uint16], inverted: bool) -> None:
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.Rows, data.Columns = stored.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    low, high = np.percentile(stored, (1, 99))
    data.WindowCenter, data.WindowWidth = str(round((low + high) / 2)), str(round(max(high - low, 1)))
    data.PixelData = stored.astype("<u2").tobytes()
