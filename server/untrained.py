"""What a run says of modalities that it does not train, because too few sites have them."""

from __future__ import annotations

from collections.abc import Sequence

from common.study import Study


def untrained_in_words(study: Study, untrained: Sequence[str]) -> list[str]:
    """Return one sentence for each modality that this run does not train."""
    least = study.secure_sum.colluding + 2 if study.secure_sum.enabled else 1
    return [
        f"The modality {name} is NOT trained: fewer than {least} sites take part with it, and their sum would show a "
        "site. It is absent in training, in every score and in the model; patients who have nothing else are left out "
        "at their sites, which count them."
        for name in untrained
    ]
