"""`wardround site prepare`: a study's data made ready before its first round."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.commands.groups import at_site, site


@site.command("prepare")
@click.argument("study", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--everybody", is_flag=True, help="Patients without a target too. No round takes them.")
@at_site
def site_prepare(study: Path, everybody: bool, folder: Path) -> None:
    """Read what STUDY (a study.yaml) needs of this site's data, and keep it prepared: the first round starts at once.

    Nothing leaves this site, and nothing is approved. --everybody prepares all patients of the study's files, for a use
    that needs no target; no command of this release has one.
    """
    from client.consent.readiness import readiness
    from client.data.everybody import prepare_everybody
    from client.data.losses import told
    from client.data.prepare import prepare
    from client.site import read_site, state_of
    from common.study import read_study
    from common.study_check import require_playable
    from deploy.commands.progress import ProgressLines

    here, found = read_site(folder), read_study(study)
    require_playable(found)
    state_of(here)
    progress = ProgressLines(here.file.site)
    if everybody:
        cases = prepare_everybody(here, found, progress=progress)
        with_target = len(cases) - cases.without_target
        click.echo(
            f"{len(cases):,} patients are prepared: {with_target:,} with a target, {cases.without_target:,} without"
        )
        counts = cases.counts
    else:
        cohort = prepare(here, found, progress=progress)
        click.echo(f"Prepared. {readiness(cohort, found).lines[0]}")
        counts = cohort.counts
    for line in told(counts):
        click.echo(f"  {line}")
