"""Images: DICOM files of a folder, by patient.

Frames of numbers and the technical attributes of `Frame` pass the gate; every other attribute of the header, private
ones included, stays behind (DICOM PS3.15 Annex E keeps less than a tenth of them; here it is a list of what passes, not
of what does not). An image that says BurnedInAnnotation YES is refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np

from client.data.case import Frame, Identifier, RawImage
from client.data.dicom import DicomFolder, listing, lost, no_image, stack
from client.data.kinds.kind import DataKind, Row, closed
from client.data.pixels import prepare_image, read_image
from client.data.site_files import SiteFiles
from client.site import ImageSource, SiteFolder
from common.errors import DataError, DeidentificationError, WardroundError
from common.modalities.image import ImageModality

BURNED_IN = "images refused for burned-in annotation"


class ImageKind(DataKind[ImageSource, ImageModality, RawImage, tuple[Frame, ...]]):
    section, patient_key = "images", "patient_tag"

    def __init__(self, name: str, source: ImageSource, modality: ImageModality, files: SiteFiles) -> None:
        super().__init__(name, source, modality, files)
        self._skipped = Counter[str]()

    @classmethod
    def fingerprint(cls, folder: SiteFolder, name: str, source: ImageSource) -> bytes:
        """Of names, sizes and times of the files, and of how many cannot be read."""
        files, below = listing(folder.path(source.folder), f"{cls.section}.{name}")
        return hashlib.sha256(repr((files, sorted(below.items()))).encode()).digest()

    @classmethod
    def gate(
        cls, raw: RawImage, modality: ImageModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> tuple[Frame, ...] | None:
        """The frames, or none if the files say that text is burned into their pixels (PS3.3 C.7.6.1.1.7)."""
        if not isinstance(raw, RawImage):
            raise closed(key)
        if any(str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES" for header in raw.headers):
            counts[f"{key}: {BURNED_IN}"] += 1
            return None
        return raw.frames or None

    @classmethod
    def row(cls, clean: tuple[Frame, ...], modality: ImageModality, tool: Any) -> Row | None:
        pixels = prepare_image(clean, modality)
        kept = modality.layout
        return np.rint(pixels * 255.0).astype(np.uint8) if kept.stored == "uint8" else pixels.astype(kept.stored)

    @property
    def _images(self) -> DicomFolder:
        return self.files.dicom(self.source, self.key)

    def open(self) -> None:
        _ = self._images

    def patients(self) -> set[str]:
        return set(self._images.patients)

    def read(self, patient: str) -> RawImage | None:
        files = self._images.patients.get(patient)
        return None if files is None else read_image(stack(files), self.modality, self._skipped)

    def stamp(self, patient: str) -> str:
        """Names, sizes and times of its files."""
        return "\n".join(file.stamp for file in stack(self._images.patients.get(patient, [])))

    def lost(self) -> Counter[str]:
        """All images, and those that are lost; files that are no images."""
        images, key = self._images, self.key
        told = Counter({f"{key}: images {reason}": number for reason, number in self._skipped.items()})
        told[f"{key}: images"] = sum(map(len, images.patients.values()))
        if images.closed:
            told.update({f"{key}: {what}": number for what, number in images.below.items()})
        for reason, number in images.skipped.items():
            told[f"{key}: {'images' if lost(reason) else 'files'} {reason}"] += number
            told[f"{key}: images"] += number if lost(reason) else 0
        return told

    def lost_of(self, there: int, having: int) -> dict[str, int]:
        return {f"{self.key}: patients without an image that can be used": there - having}

    def unusable(self) -> WardroundError:
        if self._skipped:
            images = self._images
            return DataError(no_image(images.folder, images.seen, images.skipped + self._skipped, self.key))
        return DeidentificationError(
            f"site.yaml of {self.files.folder.root}: {self.key}: every image says that text is burned into it. Have it "
            "removed and BurnedInAnnotation set to NO; or remove the key."
        )
