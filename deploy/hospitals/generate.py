"""Made-up hospitals, each a folder as a hospital would export it, and the study that they agree on.

    DIR/study.yaml                  the study
    DIR/<site>/site.yaml            where the hospital's data is
    DIR/<site>/records.csv          a row a patient: who they are, the outcome, the bedside record; with gaps
    DIR/<site>/notes.csv            a row a note, with names, dates, numbers and addresses in it
    DIR/<site>/genes.csv            a row a patient: log2 expression
    DIR/<site>/images/**/*.dcm      chest films
    DIR/truth.csv, identifiers.json for tests only: see deploy/hospitals/truth.py

All is drawn from the seed: the same seed gives the same bytes. The folder appears whole or not at all.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common.errors import RunError
from deploy.hospitals.dicom import write_film
from deploy.hospitals.files import site_text, study_text
from deploy.hospitals.films import exposed, film
from deploy.hospitals.notes import note
from deploy.hospitals.patients import Patients, generator, patients
from deploy.hospitals.plan import SitePlan, plans
from deploy.hospitals.strength import Strength
from deploy.hospitals.tables import gene_columns, record_columns
from deploy.hospitals.truth import IDENTIFIERS, TRUTH, write_identifiers, write_truth

Progress = Callable[[str, int, int], None]  # what, done, total


def generate(
    directory: Path,
    *,
    sites: int = 4,
    seed: int = 0,
    strength: Strength | None = None,
    scale: float = 1.0,
    progress: Progress | None = None,
) -> list[Path]:
    """Make `sites` hospitals under `directory` and return their folders. Raises RunError if it is not empty.

    scale: multiplies the number of patients
    """
    strength = strength or Strength()
    planned = plans(sites, scale)
    whole = Whole(directory)
    with whole as folder:
        drawn = {}
        for index, plan in enumerate(planned):
            drawn[plan.name] = _hospital(folder / plan.name, plan, strength, seed, index, progress)
        (folder / "study.yaml").write_text(study_text(sites), encoding="utf-8")
        write_truth(folder / TRUTH, drawn, strength)
        write_identifiers(folder / IDENTIFIERS, drawn, planned)
    return [directory / plan.name for plan in planned]


class Whole:
    """A folder that appears under its name only when it is complete: written beside it first, then renamed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise RunError(f"{directory}: is not an empty folder. Choose a new one, or remove it first.")

    def __enter__(self) -> Path:
        parent = self.directory.resolve().parent
        parent.mkdir(parents=True, exist_ok=True)
        self.unfinished = Path(tempfile.mkdtemp(prefix=f".{self.directory.name}-", dir=parent))
        return self.unfinished

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            return
        self.unfinished.chmod(0o755)  # mkdtemp's 0700 is for the unfinished
        if self.directory.exists():
            self.directory.rmdir()
        self.unfinished.rename(self.directory)


def _hospital(
    folder: Path, plan: SitePlan, strength: Strength, seed: int, index: int, progress: Progress | None
) -> Patients:
    folder.mkdir()
    drawn = patients(plan, strength, seed, index)
    (folder / "site.yaml").write_text(site_text(plan), encoding="utf-8")
    _records(
        folder / "records.csv", plan, drawn, record_columns(generator(seed, index, "record"), plan, drawn, strength)
    )
    if plan.present["genes"]:
        _genes(folder / "genes.csv", plan, drawn, gene_columns(generator(seed, index, "genes"), plan, drawn, strength))
    if plan.present["note"]:
        _notes(folder / "notes.csv", plan, drawn, strength, seed, index)
    if plan.present["image"]:
        _images(folder / "images", plan, drawn, strength, seed, index, progress)
    if progress:
        progress(plan.name, len(drawn), len(drawn))
    return drawn


def _records(path: Path, plan: SitePlan, drawn: Patients, columns: dict[str, list[str]]) -> None:
    words = plan.dialect
    header = [words.patient, *words.identity, *(words.columns.get(name, name) for name in columns), words.outcome]
    outcome = [
        words.outcomes[int(y)] if told else words.gap for y, told in zip(drawn.label, drawn.labelled, strict=True)
    ]
    who = [
        [person.number, person.name, f"{person.born:{words.date}}", person.phone, person.email, person.relative]
        for person in drawn.people
    ]
    cells = zip(*columns.values(), outcome, strict=True)
    _table(path, header, ([*left, *right] for left, right in zip(who, cells, strict=True)))


def _genes(path: Path, plan: SitePlan, drawn: Patients, columns: dict[str, list[str]]) -> None:
    words = plan.dialect
    header = [words.tables["genes"], *(words.gene.format(gene=gene) for gene in columns)]
    rows = zip((person.number for person in drawn.people), *columns.values(), strict=True)
    _table(path, header, (row for row, here in zip(rows, drawn.present["genes"], strict=True) if here))


def _notes(path: Path, plan: SitePlan, drawn: Patients, strength: Strength, seed: int, index: int) -> None:
    rng, words = generator(seed, index, "notes"), plan.dialect
    rows = []
    for person, x, here in zip(drawn.people, drawn.latent["note"], drawn.present["note"], strict=True):
        text = note(rng, float(x), strength.phrase_slope, person, words, plan.style)
        if here:
            rows.append([person.number, f"{person.admitted:{words.date}}", text])
    _table(path, [words.tables["notes"], "date", "text"], rows)


def _images(
    folder: Path, plan: SitePlan, drawn: Patients, strength: Strength, seed: int, index: int, progress: Progress | None
) -> None:
    rng, scanner = generator(seed, index, "images"), plan.scanner
    for number, person in enumerate(drawn.people):
        if drawn.present["image"][number]:
            path = folder / f"{person.admitted:%Y}" / f"IM{number:06d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            latent = float(drawn.latent["image"][number])
            stored = exposed(rng, film(rng, latent, scanner.rows, scanner.columns, strength), scanner)
            write_film(path, stored, person, scanner, plan.name, rng)
        if progress and number % 20 == 0:
            progress(plan.name, number, len(drawn))


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
