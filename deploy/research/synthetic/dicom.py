"""Films as DICOM files with the header that a hospital's archive would have given them.

Patient's and study's attributes are those of PS3.3 C.7.1.1, C.7.2.1 and C.7.5.1. Everything that identifies is made
up, and is there to be removed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from deploy.research.synthetic.people import Person
from deploy.research.synthetic.plan import COMPUTED_RADIOGRAPHY, DIGITAL_XRAY, SECONDARY_CAPTURE, Scanner

WHITEST = 4095  # of 12 bits
MODALITY = {COMPUTED_RADIOGRAPHY: "CR", DIGITAL_XRAY: "DX", SECONDARY_CAPTURE: "OT"}


def uid(rng: np.random.Generator) -> UID:
    """A UID under 2.25, from a UUID (PS3.5 B.2) that the generator draws: the same seed, the same UID."""
    return UID(f"2.25.{uuid.UUID(bytes=rng.bytes(16), version=4).int}")


@dataclass(frozen=True)
class Archive:
    """Where a hospital's films come from and go to."""

    hospital: str
    scanner: Scanner
    rng: np.random.Generator

    def write(self, path: Path, stored: NDArray[np.uint16], person: Person) -> None:
        """Write one film. `stored` has bone white; a share of the scanner's is inverted and says MONOCHROME1."""
        inverted = bool(self.rng.random() < self.scanner.inverted)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.scanner.sop_class)
        meta.MediaStorageSOPInstanceUID = uid(self.rng)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        _patient(data, person, self.hospital)
        _study(data, person, self.rng)
        _equipment(data, self.scanner, self.rng)
        _pixels(data, WHITEST - stored if inverted else stored, inverted)
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


def _study(data: FileDataset, person: Person, rng: np.random.Generator) -> None:
    taken = time(int(rng.integers(6, 22)), int(rng.integers(60)), int(rng.integers(60)))
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = uid(rng), uid(rng)
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = f"{person.admitted:%Y%m%d}"
    data.StudyTime = f"{taken:%H%M%S}"
    data.AccessionNumber = f"A{int(rng.integers(10**8)):08d}"
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", "1", "1"
    data.ReferringPhysicianName = ""
    data.StudyDescription, data.BodyPartExamined, data.ViewPosition = "CHEST PA", "CHEST", "PA"
    data.PatientOrientation = ["L", "F"]


def _equipment(data: Dataset, scanner: Scanner, rng: np.random.Generator) -> None:
    data.Modality = MODALITY[scanner.sop_class]
    data.Manufacturer, data.ManufacturerModelName = scanner.maker, scanner.model
    data.DeviceSerialNumber = f"{int(rng.integers(100, 104))}"
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
