"""Notes: free text. It is scrubbed by the rules of `client.data.scrub`, then looked through once more by other means: a
note in which `client.data.second_look` still finds its patient is left out, as if the patient had none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from client.data.case import Identifier
from client.data.kinds.image import ImageKind
from client.data.kinds.kind import Row, closed, content
from client.data.kinds.table import TableKind
from client.data.notes import LONGEST, LONGEST_IDENTIFIER, MOST_IDENTIFIERS, read_notes
from client.data.scrub import scrub
from client.data.second_look import residue
from client.site import NoteSource, SiteFolder
from common.errors import DeidentificationError, WardroundError
from common.modalities.note import NoteModality
from common.modalities.tokenizers import Tokenizer, pretrained_folder, tokenizer_for

LEFT_OUT = "notes left out, in which the second look still found an identifier of the patient's, of the kind"


class NoteKind(TableKind[NoteSource, NoteModality, str, str]):
    section, scrubs = "notes", True

    @classmethod
    def fingerprint(cls, folder: SiteFolder, name: str, source: NoteSource) -> bytes:
        """Of the file's content, and of all that says who patients are: what is scrubbed depends on it."""
        state = hashlib.sha256()
        for other, image in sorted(folder.file.images.items()):
            state.update(ImageKind.fingerprint(folder, other, image))
        state.update(content(folder.path(source.file), f"{cls.section}.{name}.file"))
        for place, one in enumerate(folder.file.identity):
            state.update(content(folder.path(one.file), f"identity.{place}.file"))
        return state.digest()

    @classmethod
    def gate(
        cls, raw: str, modality: NoteModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> str | None:
        """The scrubbed note; nothing of it where the second look still finds its patient in it, which is counted.

        Counted and not raised: a refusal of the whole site would tell the coordinator of one patient's note.
        """
        if not isinstance(raw, str):
            raise closed(key)
        known = frozenset(known)
        clean, found = scrub(raw, known)
        left = residue(clean, known)
        if left:
            counts[f"{key}: {LEFT_OUT} [{'], ['.join(sorted(left))}]"] += 1
            return None
        for kind, number in found.items():
            counts[f"{key}: [{kind}] replaced"] += number
        return clean or None

    @classmethod
    def row(cls, clean: str, modality: NoteModality, tool: Tokenizer) -> Row | None:
        return np.array(tool.encode(clean, modality.max_tokens), dtype=modality.layout.stored)

    @classmethod
    def tool(cls, modality: NoteModality, models: Path) -> Tokenizer:
        return tokenizer_for(modality.encoder, models)

    @classmethod
    def files_of_tool(cls, modality: NoteModality, models: Path) -> list[tuple[str, int, int]]:
        if modality.encoder.source != "folder":
            return []
        folder = pretrained_folder(modality.encoder, models)
        stats = {path.name: path.stat() for path in folder.iterdir() if path.is_file()}
        return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats.items())

    def values(self) -> Mapping[str, str]:
        """Return the notes by patient. In a private study those of patients alone whom a file names (`_is_named`), for
        nobody else is sought in a note, whatever can be read of others.
        """
        table = self.table
        every = read_notes(table, self.source, self.files.patient(self.source.patient), self.key)
        found = {patient: note for patient, note in every.items() if self._is_short(patient, note)}
        table.counts["patients"] += len(every) - len(found) if table.gaps else len(every) * (len(found) < len(every))
        if not table.gaps:
            return self._with_headers(found)
        reason = (
            "whom `identity` does not have, or does not name"
            if self.files.who
            else "of whom no header of an image was read"
        )
        named = {patient: note for patient, note in found.items() if self._is_named(patient)}
        table.counts["patients"] += len(found)
        table.counts[f"patients {reason}"] += len(found) - len(named)
        return named

    def _is_short(self, patient: str, note: str) -> bool:
        """Whether the gate looks through a note in a bounded time; what is longer is counted, and not cut."""
        table = self.table
        sizes = [len(one.text) for one in self.files.identifiers.get(patient, ())]
        table.counts[f"patients with notes of more than {LONGEST:,} signs"] += len(note) > LONGEST
        known = max(sizes, default=0) <= LONGEST_IDENTIFIER and sum(sizes) <= MOST_IDENTIFIERS
        table.counts["patients with names or numbers in `identity` or headers that are too long"] += not known
        return known and len(note) <= LONGEST

    def _is_named(self, patient: str) -> bool:
        """Whether each file of `identity` has the patient, and one of them a name; where no file is named, whether
        a header of an image does. Nobody is, and all have notes, where site.yaml names neither.
        """
        if self.files.who:
            known = self.files.of_identity.get(patient, ())
            has_name = any(one.kind == "NAME" and any(map(str.isalpha, one.text)) for one in known)
            return has_name and all(patient in rows for _, rows in self.files.who)
        return not self.files.headers or any(patient in images.identifiers for images in self.files.headers.values())

    def _with_headers(self, notes: dict[str, str]) -> dict[str, str]:
        """Return the notes without those of patients of whom no header was read in a folder of images that cannot be
        read whole: it may have said who they are. Without privacy only, for one patient's folder decides about others.
        """
        torn = [images for images in self.files.headers.values() if images.closed]
        if not torn:
            return notes
        kept = {patient: note for patient, note in notes.items() if all(patient in one.identifiers for one in torn)}
        counts = self.table.counts
        counts["patients"] += len(notes) - len(kept)
        counts["patients of whom no header was read, where images cannot be"] += len(notes) - len(kept)
        return kept

    def unusable(self) -> WardroundError:
        return DeidentificationError(
            f"site.yaml of {self.files.folder.root}: {self.key}: in every note an identifier of its own patient still "
            "stood after scrubbing, so all were left out. Remove the key and report this fault."
        )
