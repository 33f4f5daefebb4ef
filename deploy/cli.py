"""The command line: `wardround …`. Each subcommand imports its side only when it is called."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

# Before anything else is imported: nothing that wardround starts may phone home, download, or import from the folder
# that it happens to be started in; and a worker has one thread, because several on shared cores are slower, not faster.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONSAFEPATH": "1",
    "OMP_NUM_THREADS": "1",
}
os.environ.update({**QUIET, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")})

import click  # noqa: E402

from common.errors import WardroundError  # noqa: E402
from deploy.commands import consent, consortium, daemons, enrolment, groups, sets, standing  # noqa: E402, F401
from deploy.commands.groups import INTERRUPTED, Stopped  # noqa: E402

if TYPE_CHECKING:
    from common.study import Study

INTERNAL = 70
OF_FILES = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOTDIR}


def main() -> None:
    """Run the command line; every failure ends in a sentence and an exit code that tells its kind."""
    try:
        sys.exit(commands(standalone_mode=False))  # None, or the code of a click.exceptions.Exit
    except WardroundError as error:
        click.secho(f"wardround: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        # Click raises the same for Ctrl-C, which it names as the cause, and for a question without a yes.
        asked = isinstance(error, click.Abort) and error.__cause__ is None
        Stopped("It was not agreed to, and nothing was changed." if asked else "").show()
        sys.exit(INTERRUPTED)
    except Exception as error:
        click.secho(f"wardround: {_unforeseen(error)}", fg="red", err=True)
        sys.exit(INTERNAL)


def _unforeseen(error: Exception) -> str:
    """The text of a foreign exception, and the path in it, may quote a patient's data: its kind and place are shown."""
    if isinstance(error, OSError) and error.errno in OF_FILES:
        return (
            f"a file or folder cannot be used ({os.strerror(error.errno)}), in {_place_of(error)}. Is the disk full, "
            "or is it another user's? Run wardround as the user whose folder it is."
        )
    return (
        f"internal error, {type(error).__name__} at {_place_of(error)}. This is a fault of the program: please report "
        "this line. Its text is withheld because it could quote patients' data."
    )


def _place_of(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}, line {place.lineno}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wardround")
def commands() -> None:
    """Federated learning across hospital sites: multimodal models, differential privacy, secure sums."""


for group in (groups.consortium, groups.coordinator, groups.site):
    commands.add_command(group)
for command in daemons.STUDIES:
    commands.add_command(command)


# ------------------------------------------------------------------------------------------------------ a first look


@commands.command()
@click.option("--run", "name", default="demo", show_default=True, callback=groups.run_name,
              help="Name of the run: runs/NAME.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Seed of the synthetic hospitals.")
def demo(name: str, seed: int) -> None:
    """Make four synthetic hospitals, run the whole study over them, and write the report.

    Where runs/NAME is there already it stays, and the new run is NAME-2, NAME-3 and so on.
    """
    from deploy.research.synthetic.generate import generate

    folder = _free(Path("runs") / name)
    if folder.name != name:
        click.echo(f"runs/{name} is there already and stays as it is; this run is {folder}.")
    folder.mkdir(parents=True)
    click.echo("Making four synthetic hospitals …")
    generate(folder / "hospitals", sites=4, seed=seed)
    _simulate(folder / "hospitals" / "study.yaml", folder / "hospitals", folder)


def _free(folder: Path) -> Path:
    """This folder, or the first of NAME-2, NAME-3, … that is not there."""
    number = 2
    free = folder
    while free.exists():
        free, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return free


@commands.command()
@click.argument("study", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--hospitals", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
              help="Folder that holds the site folders.")  # fmt: skip
@click.option("--run", "name", default=None, callback=groups.run_name,
              help="Name of the run, runs/NAME; the study's name if not given.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue this run after it was stopped.")
@click.option("--workers", type=click.IntRange(1), default=None, help="Worker processes; one a core if not given.")
@click.option("--lose", multiple=True, metavar="SITE:SUM:LEG", help="Let a site vanish in a leg of a sum; repeatable.")
@click.option("--no-compare", is_flag=True, help="Do not train pooled and single-site models to compare with.")
def simulate(
    study: Path,
    hospitals: Path,
    name: str | None,
    resume: bool,
    workers: int | None,
    lose: tuple[str, ...],
    no_compare: bool,
) -> None:
    """Run STUDY over hospital folders on this machine and write runs/NAME/report.html."""
    from common.study import read_study

    folder = Path("runs") / (name or read_study(study).study)
    _simulate(study, hospitals, folder, resume=resume, workers=workers, lose=lose, compare=not no_compare)


def _simulate(
    path: Path,
    hospitals: Path,
    folder: Path,
    *,
    resume: bool = False,
    workers: int | None = None,
    lose: tuple[str, ...] = (),
    compare: bool = True,
) -> None:
    from common.study import read_study
    from deploy.research.simulation.display import Display
    from deploy.research.simulation.faults import Loss
    from deploy.research.simulation.hospitals import hospitals_in, oddities
    from deploy.research.simulation.simulate import Simulation, simulate
    from server.report.page import write

    study = read_study(path)
    for sentence in oddities(study, hospitals):
        click.secho(sentence, fg="yellow")
    _say_opt_outs(hospitals)
    plan = Simulation(
        study,
        hospitals_in(hospitals),
        folder,
        losses=tuple(Loss.parse(text) for text in lose),
        resume=resume,
        compare=compare,
        **({"workers": workers} if workers else {}),
    )
    try:
        with Display(plan.study, len(plan.hospitals)) as display:
            _, evidence = simulate(plan, display, display.watch, display.found)
    except KeyboardInterrupt:
        again = f"wardround simulate {path} --hospitals {hospitals} --run {folder.name} --resume"
        again += "" if compare else " --no-compare"
        raise Stopped(f"What was saved stays, and goes on with:\n  {again}") from None
    page = write(evidence, folder)
    display.verdict(evidence, page)


def _say_opt_outs(hospitals: Path) -> None:
    from client.data.exclusions import found_here
    from client.site import read_site
    from deploy.research.simulation.hospitals import hospitals_in

    for site in map(read_site, hospitals_in(hospitals)):
        if site.file.exclusions is not None:
            click.echo(f"{site.file.site}: opted out: {found_here(site).said()}")


@commands.group()
def hospitals() -> None:
    """Synthetic hospitals, to try a study before asking a real one."""


@hospitals.command("new")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--sites", type=click.IntRange(3, 50), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(0.05, 20), default=1.0, show_default=True, help="Times the patients.")
def hospitals_new(directory: Path, sites: int, seed: int, scale: float) -> None:
    """Make DIRECTORY with one folder a hospital (DICOM images, records, notes, genes) and a study.yaml."""
    from deploy.research.synthetic.generate import generate

    made = generate(directory, sites=sites, seed=seed, scale=scale)
    click.echo(f"{len(made)} hospitals in {directory}. Run a study over them:")
    click.echo(f"  wardround simulate {directory / 'study.yaml'} --hospitals {directory}")


@commands.group()
def study() -> None:
    """Study files."""


@study.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--hospitals", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None,
              help="Also read the data of the site folders in here.")  # fmt: skip
def study_check(path: Path, hospitals: Path | None) -> None:
    """Check a study.yaml, and show its digest and what its privacy plan comes to."""
    from common.privacy.plan import plan_privacy
    from common.study import read_study
    from deploy.research.simulation.hospitals import hospitals_in
    from server.run.playable import require_playable

    found = read_study(path)
    require_playable(found)
    sites = len(hospitals_in(hospitals)) if hospitals is not None else 0
    plan = plan_privacy(found)
    click.echo(f"{path}: in order. Digest {found.digest}")
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
        _say_too_few(found, sites)
        _check_hospitals(found, hospitals)
    else:
        _say_refused_by_default(found)


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
    from server.run.playable import require_playable

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


@commands.group()
def example() -> None:
    """Public medical data as hospital folders with a study."""


_from = click.option("--from", "source", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
                     help="Folder with the downloaded data.")  # fmt: skip
_out = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to make.")


@example.command("heart")
@_from
@_out
def example_heart(source: Path, out: Path) -> None:
    """UCI heart disease: four hospitals, tabular, as FLamby's Fed-Heart-Disease."""
    from deploy.research.public_data.heart import heart

    heart(source, out)
    _say_example(out)


@example.command("lgg")
@_from
@_out
@click.option("--fold", type=click.IntRange(0, 4), default=0, show_default=True, help="Which fifth is the test part.")
def example_lgg(source: Path, out: Path, fold: int) -> None:
    """TCGA lower-grade glioma: death within 36 months from MRI, clinic, mutations, chromosome arms and RNA."""
    from deploy.research.public_data.lgg import lgg

    lgg(source, out, fold=fold)
    _say_example(out)


def _say_example(out: Path) -> None:
    click.echo(f"Made {out}. Run it:\n  wardround simulate {out / 'study.yaml'} --hospitals {out}")


@commands.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run: Path) -> None:
    """Write the page of RUN (a folder runs/NAME) again from its report.json."""
    from server.report.evidence import read_evidence
    from server.report.page import write

    click.echo(f"{write(read_evidence(run / 'report.json'), run)}")


if __name__ == "__main__":
    main()
