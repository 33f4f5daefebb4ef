"""What a run says of modalities, and parts of the cohort, that too few sites have for a sum to hide each of them."""

from __future__ import annotations

from collections.abc import Sequence

from common.study import Study


def left_out_in_words(study: Study, untrained: Sequence[str], uncounted: Sequence[str]) -> list[str]:
    """Return one sentence for each modality that is not trained, and for each part that is not counted."""
    least = study.secure_sum.colluding + 2 if study.secure_sum.enabled else 1
    return [
        *(
            f"The modality {name} is NOT trained: fewer than {least} sites take part with it, and their sum would show "
            "a site. It is absent in training, in every score and in the model; who has nothing else is left "
            "out at its site, which counts it."
            for name in untrained
        ),
        *(
            f"The {part} patients are NEITHER SCORED NOR COUNTED: fewer than {least} sites have enough of them "
            "(policy.without_privacy.smallest_part of each site), and their sum would show a site."
            for part in uncounted
        ),
    ]
