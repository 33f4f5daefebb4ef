"""What a run says of modalities, and parts of the cohort, that too few sites have for a sum to hide each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.plan import least_owners
from common.study import Study
from server.run.trained import Scored

NO_SCORE = Scored()


def left_out_in_words(
    study: Study,
    untrained: Sequence[str],
    uncounted: Sequence[str],
    partly: Mapping[str, tuple[int, int]] | None = None,
    scored: Scored = NO_SCORE,
) -> list[str]:
    """Return one sentence for each modality that is not trained, or in some rounds alone (`partly`: in how many, and of
    how many), or that scores were taken without, and for each part that is not counted.
    """
    least = least_owners(study)
    return [
        *(_untrained(name, least, at_start=name in scored.at_start) for name in untrained),
        *(
            f"The modality {name} was trained in {trained} of {rounds} rounds alone: in the others fewer than {least} "
            "sites took part with it, and it was absent."
            for name, (trained, rounds) in (partly or {}).items()
        ),
        *_scored_without(study, scored, least),
        *(
            f"The {part} patients are NEITHER SCORED NOR COUNTED: fewer than {least} sites have enough of them "
            "(policy.without_privacy.smallest_part of each site), and their sum would show a site."
            for part in uncounted
        ),
    ]


def _untrained(name: str, least: int, *, at_start: bool) -> str:
    where = "training and in the model" if at_start else "training, in every score and in the model"
    more = " A score of this model was taken with it nevertheless, with its encoder at its start." if at_start else ""
    return (
        f"The modality {name} is NOT trained: fewer than {least} sites take part with it, and their sum would show a "
        f"site. It is absent in {where}; who has nothing else is left out at its site, which counts it.{more}"
    )


def _scored_without(study: Study, scored: Scored, least: int) -> list[str]:
    why = f"fewer than {least} of the sites in that sum have it, and it was absent there"
    compared = "" if study.private else " It was compared with the scores of others all the same."
    if not study.private and study.schema >= 1:
        compared = " Where scores choose the model, it is held against none that was taken with others."
    return [
        *(
            f"The test score was taken WITHOUT the modality {name}, which the model uses: {why}."
            for name in scored.test_without
        ),
        *(
            f"The validation score of {_rounds(rounds)} was taken without the modality {name}: {why}.{compared}"
            for name, rounds in scored.without.items()
        ),
    ]


def _rounds(rounds: Sequence[int]) -> str:
    if len(rounds) == 1:
        return f"the model of round {rounds[0]}"
    if len(rounds) > 8:
        return f"the models of {len(rounds)} rounds, from {rounds[0]} to {rounds[-1]},"
    return f"the models of rounds {', '.join(map(str, rounds[:-1]))} and {rounds[-1]}"


def changed_in_words(study: Study, gone: Sequence[str], back: Sequence[str]) -> list[str]:
    """Return one sentence for each modality that a round's sum is without, as the one before was not, or has again."""
    least = least_owners(study)
    return [
        *(
            f"The modality {name} is in no sum from this round on: fewer than {least} of the sites that took part have "
            "it, and their sum would show a site. It is absent here, and is neither trained nor scored until more of "
            "them are back."
            for name in gone
        ),
        *(f"The modality {name} is in the sums again." for name in back),
    ]
