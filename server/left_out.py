"""What a run says of modalities, and parts of the cohort, that too few sites have for a sum to hide each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.study import Study


def left_out_in_words(
    study: Study,
    untrained: Sequence[str],
    uncounted: Sequence[str],
    partly: Mapping[str, tuple[int, int]] | None = None,
) -> list[str]:
    """Return one sentence for each modality that is not trained, or in some rounds alone (`partly`: in how many, and of
    how many), and for each part that is not counted.
    """
    least = _least(study)
    return [
        *(
            f"The modality {name} is NOT trained: fewer than {least} sites take part with it, and their sum would show "
            "a site. It is absent in training, in every score and in the model; who has nothing else is left "
            "out at its site, which counts it."
            for name in untrained
        ),
        *(
            f"The modality {name} was trained in {trained} of {rounds} rounds alone: in the others fewer than {least} "
            "sites took part with it, and it was absent."
            for name, (trained, rounds) in (partly or {}).items()
        ),
        *(
            f"The {part} patients are NEITHER SCORED NOR COUNTED: fewer than {least} sites have enough of them "
            "(policy.without_privacy.smallest_part of each site), and their sum would show a site."
            for part in uncounted
        ),
    ]


def changed_in_words(study: Study, gone: Sequence[str], back: Sequence[str]) -> list[str]:
    """Return one sentence for each modality that a round does not train, as the one before did, or trains again."""
    least = _least(study)
    return [
        *(
            f"The modality {name} is in no sum from this round on: fewer than {least} of the sites that took part have "
            "it, and their sum would show a site. It is absent here, and is not trained until more of them are back."
            for name in gone
        ),
        *(f"The modality {name} is trained again." for name in back),
    ]


def _least(study: Study) -> int:
    return study.secure_sum.colluding + 2 if study.secure_sum.enabled else 1
