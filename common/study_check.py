"""What is wrong with a study beyond its file, as far as it can be known without any site.

`wardround study check`, each hospital's approval and the coordinator's run ask the same, so that no hospital approves
what no run can play. Pretrained models are each site's own files: a network is looked at without them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from common.errors import StudyError, WardroundError
from common.file_mistakes import lines_of, with_line
from common.modalities import Modality
from common.models.network import MultimodalNetwork, build_network
from common.parameters import Parameters
from common.plan import least_sites, threshold_of
from common.privacy.plan import plan_privacy
from common.secure_sum.packing import packed_size
from common.strategies import require_strategy
from common.study import Study

COPIES = 3  # of the parameters, in float32, that a site holds at least: the model, its gradient, what it sends


@dataclass(frozen=True)
class Size:
    """How large a study's model is: trained parameters, bytes that one site sends of them in a round, and bytes of
    memory that they take at a site at least, without images, batches and activations.
    """

    parameters: int
    sent: int
    memory: int


def require_playable(study: Study, sites: int | None = None, text: str = "") -> None:
    """Refuse a study that no run can play, with everything that is wrong: the error itself where it is one, else a
    StudyError that lists them.

    sites: how many there are, where that is known. text: of the study's file, whose lines are named then
    """
    lines = lines_of(text)
    found = [type(problem)(with_line(str(problem), lines)) for problem in problems(study, sites)]
    if len(found) == 1:
        raise found[0]
    if found:
        raise StudyError("\n".join(["no run can play this study:", *(f"  {problem}" for problem in found)]))


def problems(study: Study, sites: int | None = None) -> list[WardroundError]:
    """Return each reason for which no run can play this study, an error of the class that it belongs to; none of them
    where all is in order. `sites`: as in `require_playable`.
    """
    checks = (lambda: require_strategy(study.server), lambda: plan_privacy(study))
    return [*_failing(checks), *_flaws(study), *_of_network(study), *_of_sum(study, sites)]


def _failing(checks: Iterator[Callable[[], object]] | tuple[Callable[[], object], ...]) -> Iterator[WardroundError]:
    for check in checks:
        try:
            check()
        except WardroundError as problem:
            yield problem


def _flaws(study: Study) -> Iterator[WardroundError]:
    for name, modality in study.modalities.items():
        yield from (StudyError(f"modalities.{name}{place}: {words}") for place, words in modality.flaws())


def _of_network(study: Study) -> list[WardroundError]:
    """Of each modality by itself, for a network names the first alone; or of all together."""
    whole = [*_failing((lambda: _network(study, study.modalities),))]
    if not whole:
        return []
    asked = {study.task.sees, *(part.beside for part in study.task.parts)} - {None}  # by the task, with whichever else
    each = ((lambda name=name: _network(study, _with(study, {name, *asked}))) for name in study.names)
    return [*{str(problem): problem for problem in _failing(each)}.values()] or whole


def _with(study: Study, names: Collection[str | None]) -> dict[str, Modality]:
    return {name: modality for name, modality in study.modalities.items() if name in names}


def _network(study: Study, modalities: Mapping[str, Modality]) -> MultimodalNetwork:
    return build_network(replace(study, modalities={name: one.without_file() for name, one in modalities.items()}))


def _of_sum(study: Study, sites: int | None) -> list[WardroundError]:
    if not study.secure_sum.enabled:
        return []
    c, t, least = study.secure_sum.colluding, study.secure_sum.threshold, least_sites(study)
    found: list[WardroundError] = []
    if t is not None and t < c + 2:
        found.append(StudyError(f"secure_sum.threshold: {t} is unsafe; with {c} that may collude use {c + 2} or more."))
    if sites is not None and sites < least:
        found.append(
            StudyError(
                f"secure_sum: {sites} sites, but a sum needs {least} (with {c} that may collude). "
                "Invite more sites; a secure sum starts at three."
            )
        )
    return found or [*_failing((lambda: threshold_of(study, least if sites is None else sites),))]


def size_of(study: Study) -> Size:
    """Return how large the study's model is. Raises StudyError where it cannot be built."""
    count = Parameters.of(_network(study, study.modalities)).length
    bits = study.secure_sum.bits if study.secure_sum.enabled else 32
    return Size(count, packed_size(count, bits), 4 * COPIES * count)
