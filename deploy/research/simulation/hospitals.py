"""The hospital folders of a simulation: which there are, what is odd about them, and what each one's data comes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from client.consent.readiness import Readiness, readiness, require_enough
from client.data.cohort import Cohort
from client.data.labels import patients_of
from client.data.losses import LOUD_WORD, losses, loud
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.site_files import Progress
from client.misspelt import misspelt
from client.site import Policy, read_site
from common.errors import CohortError, RunError, WardroundError
from common.study import Study


def hospitals_in(directory: Path) -> tuple[Path, ...]:
    """The site folders directly below `directory`, by the names of the sites."""
    found = [read_site(path) for path in sorted(directory.glob("*/site.yaml"))]
    if not found:
        raise RunError(f"{directory}: holds no hospital, that is no folder with a site.yaml in it.")
    names = [site.file.site for site in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"{directory}: two folders are the site {', '.join(twice)}; give each site.yaml its own name.")
    return tuple(site.root for site in sorted(found, key=lambda site: site.file.site))


def oddities(study: Study, directory: Path) -> list[str]:
    """Sentences on what would be passed over: folders without a site.yaml, and modalities that the study lacks."""
    found = [
        f"{path}: has no site.yaml, so it is no hospital and takes no part."
        for path in sorted(directory.iterdir())
        if path.is_dir() and not path.name.startswith(".") and not (path / "site.yaml").exists()
    ]
    for folder in hospitals_in(directory):
        file = read_site(folder).file
        meant = {place.partition(".")[2]: one for one, place in misspelt(file, study.names).items()}
        for name in sorted(file.modalities - set(study.names)):
            hint = f" Did you mean {meant[name]}?" if name in meant else ""
            found.append(f"{folder / 'site.yaml'}: {name} is no modality of study {study.study}: not used.{hint}")
    return found


@dataclass(frozen=True)
class Looked:
    """A site's data for a study, or the error that keeps it from taking part.

    signs: of the modalities that it has (`owned`), those with enough training cases to take part with in a simulation
    hospital: tells this folder's state from another's; a keyed hash
    patients: the numbers of all who have a target here, also of who opted out; in_cohort: of those of them who take
        part; opted_out: of those whom this or an earlier list of opt-outs leaves out
    """

    site: str
    error: WardroundError | None = None
    owned: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    taught: tuple[float, ...] = ()  # training cases of each group of the task
    readiness: Readiness = field(default_factory=lambda: Readiness((), ()))
    counts: dict[str, int] = field(default_factory=dict, repr=False)
    hospital: str = ""
    patients: frozenset[str] = field(default=frozenset(), repr=False)
    in_cohort: frozenset[str] = field(default=frozenset(), repr=False)
    opted_out: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def loud(self) -> list[str]:
        """What a report must say: large losses, and what a person should think about."""
        return [*loud(losses(self.counts)), *self.readiness.warnings]

    def tell(self, say: Callable[[str, str | None], None]) -> None:
        """Say every line and warning, with its colour."""
        for line in self.readiness.lines:
            say(line, "red" if line.startswith(LOUD_WORD) else None)
        for sentence in self.readiness.warnings:
            say(f"WARNING: {sentence}", "yellow")


def look(folder: Path, study: Study, progress: Progress | None = None) -> Looked:
    """Read a site's data, or find it in its cache. Never raises for what is wrong with it."""
    name = folder.name
    try:
        site = read_site(folder)
        name = site.file.site
        cohort = prepare(site, study, progress=progress)
        if not study.private:
            require_enough(cohort, site.file.policy)
    except WardroundError as error:
        return Looked(name, error)
    taught = tuple(study.task.counted(np.asarray(cohort.train.target)))
    found = readiness(cohort, study)
    if cohort.opt_outs:
        found = Readiness((*found.lines, f"opted out: {cohort.opt_outs}"), found.warnings)
    signs = cohort.owned if study.private else _filled(cohort, study, site.file.policy)
    secret, patients = site_secret(site.path(site.file.state)), patients_of(site, study)
    return Looked(
        name,
        None,
        cohort.owned,
        signs,
        taught,
        found,
        dict(cohort.counts),
        secret.digest("hospital", name.encode()),
        patients,
        in_cohort=frozenset(one for one in patients if secret.pseudonym(one) in cohort.sides),
        opted_out=frozenset(
            one for one in patients if (under := secret.pseudonym(one)) not in cohort.sides and under not in cohort.out
        ),
    )


def _filled(cohort: Cohort, study: Study, policy: Policy) -> tuple[str, ...]:
    """The modalities of which there are `policy.without_privacy.smallest_part` training cases."""
    least = policy.without_privacy.smallest(simulated=True)
    cases = dict(zip(study.names, np.asarray(cohort.train.present).sum(axis=0).tolist(), strict=True))
    return tuple(name for name in cohort.owned if cases[name] >= least)


def untrained(seen: Sequence[Looked], study: Study) -> list[str]:
    """Sentences on the modalities that too few of these sites have for a run to train them."""
    least = study.secure_sum.colluding + 2 if study.secure_sum.enabled else 1
    found = []
    for name in study.names:
        having = [one.site for one in seen if name in one.signs]
        if len(having) < least:
            who = f"{len(having)} of {len(seen)} sites" + (f" ({', '.join(having)})" if having else "")
            found.append(
                f"{name}: NOT TRAINED. {who} would take part with it, and {least} are needed for a sum to hide each of "
                "them. A run leaves it out of training, scores and model."
            )
    return found


def require_all(seen: Sequence[Looked]) -> None:
    """Raise one error that names every site that cannot take part. Its class is the first one's."""
    bad = [found for found in seen if found.error is not None]
    if not bad:
        return
    words = [str(found.error) for found in bad]
    first = bad[0].error
    assert first is not None
    if len(bad) > 1:
        words = [f"{len(bad)} of {len(seen)} sites cannot take part:", *(f"  {one.site}: {one.error}" for one in bad)]
    raise type(first)("\n".join(words))


def require_two_classes(seen: Sequence[Looked], study: Study) -> None:
    """Raise CohortError where all sites together have training cases of one class: nothing can be learned from it."""
    counts = np.sum([found.taught for found in seen if found.taught], axis=0)
    if why := study.task.unteachable(counts):
        raise CohortError(
            f"The training cases of all {len(seen)} sites are {why}: "
            "nothing can be learned from them. Look at target.column and target.values in each site.yaml."
        )
