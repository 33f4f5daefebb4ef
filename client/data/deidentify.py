"""THE GATE: what is left of a case when it may be trained on. Nothing reaches the cache or a tensor around it.

images     frames of numbers and the technical attributes of `Frame`; every other attribute of the header, private ones
           included, stays behind (DICOM PS3.15 Annex E keeps less than a tenth of them; here it is a list of what
           passes, not of what does not). An image that says BurnedInAnnotation YES is refused.
records    the study's columns, as numbers and places in the study's lists: no text passes
sequences  the study's genes, as numbers
notes      scrubbed by the rules of `client.data.scrub`, then looked through once more by other means: a note in
           which `client.data.second_look` still finds its patient is left out, as if the patient had none
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from client.data.case import DeidentifiedCase, Frame, Gaps, RawCase, RawImage, RecordValues
from client.data.pseudonym import SiteSecret
from client.data.scrub import scrub
from client.data.second_look import residue
from common.errors import DeidentificationError
from common.modalities.record import RecordModality
from common.modalities.sequence import SequenceModality
from common.study import Study

# A new number makes every site prepare its notes and images again.
GATE_VERSION = 2
BURNED_IN = "images refused for burned-in annotation"
LEFT_OUT = "notes left out, in which the second look still found an identifier of the patient's, of the kind"


def deidentify(raw: RawCase, study: Study, secret: SiteSecret) -> DeidentifiedCase:
    """Let the study's modalities of a case through, without a note or an image that would tell who it is.

    DeidentificationError for a record or sequence that is not as the study's: a fault of this program.
    """
    counts: Counter[str] = Counter()
    images = {name: _frames(image, f"images.{name}", counts) for name, image in raw.images.items()}
    notes = {name: _note(text, raw, f"notes.{name}", counts) for name, text in raw.notes.items()}
    return DeidentifiedCase(
        pseudonym=secret.pseudonym(raw.patient),
        images={name: frames for name, frames in images.items() if frames},
        records={name: _record(values, study, name) for name, values in raw.records.items()},
        notes={name: note for name, note in notes.items() if note},
        sequences={name: _genes(values, study, name) for name, values in raw.sequences.items()},
        counts=counts,
    )


def _frames(image: RawImage, key: str, counts: Counter[str]) -> tuple[Frame, ...]:
    """The frames, or none if the files say that text is burned into their pixels (PS3.3 C.7.6.1.1.7)."""
    if any(str(header.get("BurnedInAnnotation") or "").strip().upper() == "YES" for header in image.headers):
        counts[f"{key}: {BURNED_IN}"] += 1
        return ()
    return image.frames


def _record(values: RecordValues, study: Study, name: str) -> RecordValues:
    modality = study.modalities[name]
    if not isinstance(modality, RecordModality):
        raise _closed(name)
    lists = [len(categories) for categories in modality.categorical.values()]
    numeric, categorical = np.asarray(values.numeric, np.float64), np.asarray(values.categorical, np.int64)
    if numeric.shape != (len(modality.numeric),) or categorical.shape != (len(lists),):
        raise _closed(name)
    if np.any(categorical < -1) or np.any(categorical >= np.array(lists, dtype=np.int64)):
        raise _closed(name)
    return RecordValues(numeric, categorical)


def _genes(values: Gaps, study: Study, name: str) -> Gaps:
    modality = study.modalities[name]
    genes = np.asarray(values, np.float64)
    if not isinstance(modality, SequenceModality) or genes.shape != (len(modality.genes),):
        raise _closed(name)
    return genes


def _note(text: str, raw: RawCase, key: str, counts: Counter[str]) -> str:
    """The scrubbed note; nothing of it where the second look still finds its patient in it, which is counted.

    Counted and not raised: a refusal of the whole site would tell the coordinator of one patient's note.
    """
    clean, found = scrub(text, raw.identifiers)
    left = residue(clean, raw.identifiers)
    if left:
        counts[f"{key}: {LEFT_OUT} [{'], ['.join(sorted(left))}]"] += 1
        return ""
    for kind, number in found.items():
        counts[f"{key}: [{kind}] replaced"] += number
    return clean


def _closed(name: str) -> DeidentificationError:
    return DeidentificationError(f"{name}: holds something that the study has no column or category for.")
