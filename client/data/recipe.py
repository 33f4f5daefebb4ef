"""What of a study decides a modality's rows, and with them who of the patients with a target is in the study at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from common.study import ImageModality, Modality, NoteModality, RecordModality, Study


@dataclass(frozen=True)
class Rules:
    """By what a study takes a patient who has a target.

    by_column: its split is a column's word; who has none is in no part
    recipes: modality -> digest of what decides whether a patient has it (`membership_of`). It is compared beside the
        name, by which site.yaml names the files
    """

    by_column: bool = False
    recipes: Mapping[str, str] = field(default_factory=dict)

    def recipe(self, name: str) -> tuple[str, str | None]:
        return name, self.recipes.get(name)

    def would_take(self, used: Iterable[str], own: Rules, having: Iterable[str]) -> bool:
        """Return whether a study with these rules, of which these modalities are used, takes a patient whom another
        one (`own`) took with the modalities of `having`, if it reads the same data.
        """
        theirs = {self.recipe(name) for name in used}
        return (own.by_column or not self.by_column) and any(own.recipe(name) in theirs for name in having)


def rules_of(study: Study) -> Rules:
    """Return by what this study takes a patient."""
    recipes = {
        name: hashlib.sha256(repr(membership_of(modality)).encode()).hexdigest()[:16]
        for name, modality in study.modalities.items()
    }
    return Rules(study.split.column is not None, recipes)


def recipe_of(modality: Modality) -> object:
    """What of the study changes the rows of a modality; its encoder does not, save for a note's tokenizer."""
    if isinstance(modality, ImageModality):
        return ["image", modality.size, modality.slices, modality.intensity, modality.window]
    if isinstance(modality, RecordModality):
        bounds = [(name, column.low, column.high) for name, column in modality.numeric.items()]
        return ["record", bounds, list(modality.categorical.items()), modality.drop_first]
    if isinstance(modality, NoteModality):
        encoder = modality.encoder
        return ["note", modality.max_tokens, encoder.source, encoder.folder, encoder.tokenizer, encoder.vocabulary]
    return ["sequence", modality.genes, modality.low, modality.high]


def membership_of(modality: Modality) -> object:
    """What of the study decides which patients have a modality, if all read the same data.

    A table gives no row of a patient who has gaps only, in whatever order the columns stand; a word that is no category
    is an error, not a gap. How many slices of a stack are read decides which file can have text burned in.
    """
    if isinstance(modality, ImageModality):
        return ["image", modality.slices]
    if isinstance(modality, RecordModality):
        return ["record", sorted(modality.columns)]
    if isinstance(modality, NoteModality):
        return ["note"]
    return ["sequence", sorted(modality.genes)]
