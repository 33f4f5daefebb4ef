"""THE GATE: what is left of a case when it may be trained on. Nothing reaches the cache or a tensor around it.

What passes of each kind of data is in `client.data.kinds`: of images frames of numbers, of records and sequences
numbers and places in the study's lists, of notes what two independent looks find nobody in.
"""

from __future__ import annotations

from collections import Counter

from client.data.case import DeidentifiedCase, RawCase
from client.data.kinds.kind import closed
from client.data.pseudonym import SiteSecret
from client.data.targets import files_of, kind_of
from common.study import Study

# A new number makes every site prepare its notes and images again.
GATE_VERSION = 2


def deidentify(raw: RawCase, study: Study, secret: SiteSecret) -> DeidentifiedCase:
    """Let the study's modalities of a case, and files of its target, through, without a note or an image that tells who
    it is.

    DeidentificationError for a part that is not as the study's: a fault of this program.
    """
    counts: Counter[str] = Counter()
    passed = dict[str, object]()
    for name, part in raw.parts.items():
        if name not in study.modalities and name not in files_of(study):
            raise closed(name)
        kind, modality = kind_of(study, name)
        clean = kind.gate(part, modality, f"{kind.section}.{name}", raw.identifiers, counts)
        if clean is not None:
            passed[name] = clean
    return DeidentifiedCase(secret.pseudonym(raw.patient), passed, counts)
