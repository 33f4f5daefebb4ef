"""Labels: each patient's target and part of the cohort, from the columns that site.yaml names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.data.cache import Entry
from client.data.dicom import find
from client.data.pseudonym import SiteSecret
from client.data.split import Part, part_by_hash, part_by_word
from client.data.swallowed import Numbers
from client.data.tables import map_words, read_table
from client.data.targets import files_of, key_of, sources_of, target_here
from client.site import ColumnSource, ImageSource, SiteFolder
from common.errors import CohortError, DataError, SiteFileError, WardroundError
from common.study import Study

# Counted of a cohort: `client/data/sides.py`
KEEPING = "split: patients with another part in the file than when the study began, who keep that one"


Values = Mapping[str, Any]  # part of the target -> its value, of those that are known
THERE = object()  # the value of a part that is files, until they are read


@dataclass(frozen=True, repr=False)
class Label:
    """`values`: of the target's parts, as the study's task has them; of a class its index."""

    values: Values
    part: Part


def read_labels(folder: SiteFolder, study: Study, counts: Counter[str]) -> tuple[dict[str, Label], frozenset[str]]:
    """Patient -> label, for all who have a usable one; who has not is counted. Beside it who stands in a file of the
    target, and is in no part for want of a target or of a word in the study's split column.

    Raises DataError for a word that is no class of the study, and CohortError as `require_usable`. Not so for a study
    with differential privacy: there that word is a gap, and these patients are as many as they are.
    """
    targets, everybody = _targets(folder, study, counts)
    if study.split.column is None:
        labels = {patient: Label(values, part_by_hash(patient, study.split)) for patient, values in targets.items()}
    else:
        labels = _parts_from_column(folder, study, targets, counts)
    if not study.private:
        require_usable(folder.file.site, labels)  # before hours of decoding
    return labels, everybody - labels.keys()


def with_files(
    labels: Mapping[str, Label], study: Study, entries: Mapping[str, Entry], secret: SiteSecret, counts: Counter[str]
) -> Mapping[str, Label]:
    """Return the labels with the rows of those parts that are files, without whoever has too little of a target then,
    who is counted. The same labels where no part is.

    entries: the prepared rows, by the names of `client.data.targets.files_of`
    """
    files = files_of(study)
    if not files:
        return labels
    rows = {
        part.name: dict(zip(entries[name].pseudonyms, entries[name].rows, strict=True))
        for name, part in files.items()
        if name in entries
    }
    found = dict[str, Label]()
    for patient, label in labels.items():
        own, pseudonym = (
            {part: one for part, one in label.values.items() if one is not THERE},
            secret.pseudonym(patient),
        )
        own |= {part: by_patient[pseudonym] for part, by_patient in rows.items() if pseudonym in by_patient}
        if study.task.target_of(own) is not None:
            found[patient] = Label(own, label.part)
    counts["target: patients whose files of it cannot be used"] += len(labels) - len(found)
    return found


def cases_of(folder: SiteFolder, study: Study) -> int:
    """Return how many patients have a target here, or a part of it, of whatever class; 0 where a file of it cannot be
    read from here.
    """
    return len(patients_of(folder, study))


def patients_of(folder: SiteFolder, study: Study) -> frozenset[str]:
    """Return the numbers of those patients; of all but who is left out of `folder` already."""
    found = set[str]()
    try:
        for source in sources_of(folder.file, study).values():
            if isinstance(source, ImageSource):
                found |= _drawn(folder, source, "target", True)
                continue
            words = _column(folder, source, "target", True, Counter())
            found |= {patient for patient, word in words.items() if word}
    except WardroundError:
        return frozenset()
    return frozenset(found)


def require_usable(site: str, labels: Mapping[str, Label]) -> None:
    """Raise CohortError if these patients cannot serve any study.

    One class among all of them can: a small hospital may have that, and other hospitals have the other class. What it
    may be as well, a mistake in `values`, is said to the person (`client.consent.readiness`).
    """
    if not labels:
        problem = "no patient has both a target and a modality of the study. Check the keys `patient` and `target`"
    elif all(label.part != "train" for label in labels.values()):
        problem = f"none of {len(labels)} patients falls into the training part. Check the study's split, and `split`"
    else:
        return
    raise CohortError(f"Site {site}: {problem} in site.yaml.")


def _targets(folder: SiteFolder, study: Study, counts: Counter[str]) -> tuple[dict[str, Values], frozenset[str]]:
    """Return the values of those who have a target, by patient, and all who stand in a file of it."""
    parts, sources = study.task.parts, target_here(folder, study)
    told, everybody = dict[str, dict[str, Any]](), set[str]()
    for part in parts:
        source = sources.get(part.name)
        if source is None:
            continue
        if isinstance(source, ImageSource):
            words = dict.fromkeys(_drawn(folder, source, key_of(part), study.private), THERE)
        else:
            words = _words(folder, study, source, key_of(part), part.name, counts)
        everybody |= words.keys()
        for patient, value in words.items():
            if value is not None:
                told.setdefault(patient, {})[part.name] = value
    in_files = bool(files_of(study))  # then it is seen when they are read
    found: dict[str, Values] = {
        patient: values for patient, values in told.items() if in_files or study.task.target_of(values) is not None
    }
    if len(parts) > 1:
        counts["target: patients with too little of it"] += len(everybody) - len(found)
    return found, frozenset(everybody)


def _drawn(folder: SiteFolder, source: ImageSource, key: str, gaps: bool) -> frozenset[str]:
    """Return who has a mask, usable or not."""
    images = find(folder.path(source.folder), source.patient_tag, key, lambda *_: None, gaps=gaps)
    return frozenset(images.patients) - folder.excluded


def _words(
    folder: SiteFolder, study: Study, source: ColumnSource, key: str, part: str, counts: Counter[str]
) -> dict[str, Any]:
    """Return patient -> value of one part, None for a gap, of all who stand in its file."""
    words = _column(folder, source, key, study.private, counts)
    found = {patient: study.task.value_of(part, word) if word else None for patient, word in words.items()}
    unknown = sum(found[patient] is None for patient, word in words.items() if word)
    if unknown and not study.private:
        raise DataError(
            f"{folder.path(source.file)}: column {source.column!r}: {unknown} of {len(words)} patients have a target "
            f"that is none of {study.task.expected_of(part)}. Map each word under {key}.values in site.yaml, or "
            f"list it under {key}.missing."
        )
    counts[f"{key}: values that are no class of the study"] += unknown
    counts[f"{key}: patients without a value"] += sum(not word for word in words.values())
    return found


def _parts_from_column(
    folder: SiteFolder, study: Study, targets: Mapping[str, Values], counts: Counter[str]
) -> dict[str, Label]:
    source = folder.file.split
    if source is None:
        raise SiteFileError(
            f"site.yaml of {folder.root}: missing key split. The study splits by its column {study.split.column!r}; "
            "name the file and the column that hold it here."
        )
    words = _column(folder, source, "split", study.private, counts)
    counts["split: patients without a value"] += sum(not words.get(patient) for patient in targets)
    labels = {
        patient: Label(values, part_by_word(words[patient], study.split))
        for patient, values in targets.items()
        if words.get(patient)
    }
    if targets and not labels and not study.private:
        raise CohortError(
            f"{folder.path(source.file)}: column {source.column!r}: has a value for none of the {len(targets)} "
            "patients with a target. Check the keys split.column and split.patient in site.yaml."
        )
    return labels


def _column(folder: SiteFolder, source: ColumnSource, key: str, gaps: bool, counts: Counter[str]) -> dict[str, str]:
    """Patient -> word in the study's vocabulary, "" for a gap. Several rows of a patient must agree.

    gaps: where they do not, that patient has a gap, which is counted, instead of an error
    """
    numbers = Numbers(source.patient or folder.file.patient)
    table = read_table(folder.path(source.file), f"{key}.file", folder.excluded, gaps=gaps, numbers=numbers)
    words = map_words(table.column(source.column, f"{key}.column"), source.values, source.missing)
    rows = table.by_patient(source.patient or folder.file.patient, f"{key}.patient")
    told = {patient: {words[row] for row in numbers} - {""} for patient, numbers in rows.items()}
    torn = {patient for patient, several in told.items() if len(several) > 1}
    if torn and not gaps:
        raise DataError(
            f"{table.path}: column {source.column!r}: {len(torn)} patients have rows that contradict each other. Leave "
            "one value for each patient."
        )
    counts.update(table.counted(key))
    counts[f"{key}: values"] += sum(map(bool, told.values()))
    counts[f"{key}: values that contradict each other"] += len(torn)
    return {patient: "" if patient in torn else next(iter(several), "") for patient, several in told.items()}
