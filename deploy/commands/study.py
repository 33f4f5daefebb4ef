"""`wardround study check`: what can be known of a study before any hospital is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from common.study import Study


@click.group()
def study() -> None:
    """Study files."""


@study.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--sites", type=click.IntRange(1), default=None, help="How many hospitals are to take part.")
@click.option("--hospitals", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None,
              help="Also read the data of the site folders in here.")  # fmt: skip
def study_check(path: Path, sites: int | None, hospitals: Path | None) -> None:
    """Check a study.yaml, and show its digest, the size of its model and what its privacy plan comes to.

    Whatever is wrong with it is named at once, each mistake with its line where the file has it.
    """
    from common.privacy.plan import plan_privacy
    from deploy.research.simulation.hospitals import hospitals_in

    found = _in_order(path, sites)
    plan = plan_privacy(found)
    click.echo(f"{path}: in order. Digest {found.digest}")
    _say_size(found)
    if plan is None:
        click.secho("  privacy: NONE. The model may remember single patients.", fg="yellow")
    else:
        click.echo(
            f"  privacy: epsilon {plan.epsilon:g}, delta {plan.delta:g} a patient at each site over the whole run;"
        )
        click.echo(f"           noise multiplier {plan.noise_multiplier:.3f}, sample rate {plan.sample_rate:g}")
    if not found.secure_sum.enabled:
        click.secho("  secure sum: OFF. The coordinator sees every site's update.", fg="yellow")
    if hospitals is not None:
        _say_too_few(found, len(hospitals_in(hospitals)))
        _check_hospitals(found, hospitals)
    else:
        _say_refused_by_default(found)


def _in_order(path: Path, sites: int | None) -> Study:
    """The study, or all that is wrong with its file, and with what it asks for, in one error."""
    from common.errors import StudyError
    from common.file_mistakes import lines_of, listed, with_line
    from common.schema import text_of
    from common.study import study_in_part
    from common.study_check import problems, require_playable

    text = text_of(path, StudyError)
    found, mistakes = study_in_part(text, str(path))
    if mistakes or found is None:
        more = problems(found, sites) if found is not None else []
        raise StudyError(listed(str(path), [*mistakes, *(with_line(str(one), lines_of(text)) for one in more)]))
    require_playable(found, sites, text)
    return found


def _say_size(study: Study) -> None:
    from common.plan import least_sites
    from common.study_check import size_of
    from server.report.text import size

    model, t = size_of(study), study.secure_sum.threshold
    click.echo(
        f"  model: {model.parameters:,} parameters; a site sends at least {size(model.sent)} in a round, and needs "
        f"{size(model.memory)} of memory for them beside its data"
    )
    if study.secure_sum.enabled:
        most = f" to {2 * t - study.secure_sum.colluding - 1}" if t else " or more"
        click.echo(f"  secure sum: over {least_sites(study)}{most} sites")


def _say_refused_by_default(study: Study) -> None:
    """What each deployed hospital has to allow before it can approve: better asked for before the study is sent."""
    from client.site import Policy
    from client.terms import objections_of

    if sentences := objections_of(Policy(), study):
        click.secho("  A deployed hospital refuses it, unless `policy` in its site.yaml says otherwise:", fg="yellow")
    for sentence in sentences:
        click.secho(f"    {sentence}", fg="yellow")


def _say_too_few(study: Study, sites: int) -> None:
    """No reason to refuse: a hospital looks at its own folder alone."""
    from common.errors import WardroundError
    from common.study_check import require_playable

    try:
        require_playable(study, sites)
    except WardroundError as error:
        click.secho(f"  No run can be over these {sites} sites alone. {error}", fg="yellow")


def _check_hospitals(study: Study, hospitals: Path) -> None:
    """Look at every site, and name all that cannot take part at the end, with what is wrong at each."""
    from client.site import read_site
    from client.terms import objections
    from deploy.commands.progress import ProgressLines
    from deploy.research.simulation.hospitals import (
        hospitals_in,
        look,
        oddities,
        require_all,
        require_two_classes,
        untrained,
    )

    for sentence in oddities(study, hospitals):
        click.secho(f"  {sentence}", fg="yellow")
    for folder in hospitals_in(hospitals):
        site = read_site(folder).file
        for sentence in objections(site, study, simulated=True):
            click.secho(f"  {site.site}: {sentence}", fg="yellow")
    seen = [look(folder, study, ProgressLines(folder.name)) for folder in hospitals_in(hospitals)]
    for found in seen:
        if found.error is not None:
            click.secho(f"  {found.site}: NO. {found.error}", fg="red")
            continue
        click.echo(f"  {found.site}: has {', '.join(found.owned)}")
        found.tell(lambda line, colour: click.secho(f"    {line}", fg=colour))
    require_all(seen)
    for sentence in untrained(seen, study):
        click.secho(f"  {sentence}", fg="yellow")
    require_two_classes(seen, study)
