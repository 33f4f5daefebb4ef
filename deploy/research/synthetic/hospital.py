"""One made-up hospital, and the files that it exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.tasks import Task
from deploy.research.folders import write_table
from deploy.research.synthetic.dicom import Archive
from deploy.research.synthetic.files import write_site
from deploy.research.synthetic.films import exposed, film
from deploy.research.synthetic.notes import Writer
from deploy.research.synthetic.patients import Patients, generator, patients
from deploy.research.synthetic.plan import SitePlan
from deploy.research.synthetic.strength import Strength
from deploy.research.synthetic.tables import gene_columns, record_columns
from deploy.research.synthetic.targets import USUAL, target_columns

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True)
class Hospital:
    """The hospital number `index` of those drawn from `seed`."""

    plan: SitePlan
    strength: Strength
    seed: int
    index: int
    task: Task = USUAL

    @cached_property
    def patients(self) -> Patients:
        return patients(self.plan, self.strength, self.seed, self.index)

    def write(self, folder: Path, progress: Progress | None = None) -> None:
        """Write the folder. A modality that the hospital lacks altogether has no file."""
        folder.mkdir()
        write_site(folder / "site.yaml", self.plan, self.task)
        self._records(folder / "records.csv")
        if self.plan.present["genes"]:
            self._genes(folder / "genes.csv")
        if self.plan.present["note"]:
            self._notes(folder / "notes.csv")
        if self.plan.present["image"]:
            self._images(folder / "images", progress)
        if progress:
            progress(self.plan.name, len(self.patients), len(self.patients))

    def _generator(self, purpose: str) -> np.random.Generator:
        return generator(self.seed, self.index, purpose)

    def _records(self, path: Path) -> None:
        words, drawn = self.plan.dialect, self.patients
        columns = record_columns(self._generator("record"), self.plan, drawn, self.strength)
        named = [words.columns.get(name, name) for name in columns]
        targets = target_columns(self.task, words, drawn, self._generator("targets"))
        who = [
            [person.number, person.name, f"{person.born:{words.date}}", person.phone, person.email, person.relative]
            for person in drawn.people
        ]
        cells = zip(*columns.values(), *targets.values(), strict=True)
        rows = ([*left, *right] for left, right in zip(who, cells, strict=True))
        write_table(path, [words.patient, *words.identity, *named, *targets], rows)

    def _genes(self, path: Path) -> None:
        words, drawn = self.plan.dialect, self.patients
        columns = gene_columns(self._generator("genes"), self.plan, drawn, self.strength)
        rows = zip((person.number for person in drawn.people), *columns.values(), strict=True)
        header = [words.tables["genes"], *(words.gene.format(gene=gene) for gene in columns)]
        write_table(path, header, (row for row, here in zip(rows, drawn.present["genes"], strict=True) if here))

    def _notes(self, path: Path) -> None:
        words, drawn = self.plan.dialect, self.patients
        writer = Writer(self._generator("notes"), self.strength.phrase_slope, words, self.plan.style)
        rows = []
        for person, x, here in zip(drawn.people, drawn.latent["note"], drawn.present["note"], strict=True):
            text = writer.note(person, float(x))
            if here:
                rows.append([person.number, f"{person.admitted:{words.date}}", text])
        write_table(path, [words.tables["notes"], "date", "text"], rows)

    def _images(self, folder: Path, progress: Progress | None) -> None:
        rng, scanner, drawn = self._generator("images"), self.plan.scanner, self.patients
        archive = Archive(self.plan.name, scanner, rng)
        for number, person in enumerate(drawn.people):
            if drawn.present["image"][number]:
                path = folder / f"{person.admitted:%Y}" / f"IM{number:06d}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                brightness = film(
                    rng, float(drawn.latent["image"][number]), (scanner.rows, scanner.columns), self.strength
                )
                archive.write(path, exposed(rng, brightness, scanner), person)
            if progress and number % 20 == 0:
                progress(self.plan.name, number, len(drawn))
