"""What kinds that are read from one row a patient of a table share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TypeVar

from client.data.kinds.kind import Clean, DataKind, Modality, Raw, content, gaps_only
from client.data.tables import Table
from client.site import NoteSource, SiteFolder, TableSource
from common.errors import WardroundError

Source = TypeVar("Source", TableSource, NoteSource)


class TableKind(DataKind[Source, Modality, Raw, Clean]):
    """Base of them."""

    @classmethod
    def fingerprint(cls, folder: SiteFolder, name: str, source: Source) -> bytes:
        """Of the file's content."""
        return hashlib.sha256(content(folder.path(source.file), f"{cls.section}.{name}.file")).digest()

    @cached_property
    def table(self) -> Table:
        return self.files.table(self.source.file, f"{self.key}.file", self.source.patient)

    @abstractmethod
    def values(self) -> Mapping[str, Raw]:
        """Return the values by patient."""

    @cached_property
    def _values(self) -> Mapping[str, Raw]:
        return self.values()

    def open(self) -> None:
        _ = self._values

    def patients(self) -> set[str]:
        return set(self._values)

    def read(self, patient: str) -> Raw | None:
        return self._values.get(patient)

    def lost(self) -> Counter[str]:
        return Counter(self.table.counted(self.key))

    def unusable(self) -> WardroundError:
        return gaps_only(self.files.folder.root, self.key)


def columns_in(source: TableSource, names: Sequence[str]) -> list[str]:
    """Return the file's names of the study's columns."""
    return [source.columns.get(name, name) for name in names]
