"""`wardround demo|simulate|hospitals|example|report`: what researchers run on one machine."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.commands.groups import Stopped, run_name


@click.command()
@click.option("--run", "name", default="demo", show_default=True, callback=run_name,
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


@click.command()
@click.argument("study", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--hospitals", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
              help="Folder that holds the site folders.")  # fmt: skip
@click.option("--run", "name", default=None, callback=run_name,
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
    from deploy.research.simulation.over import is_over
    from deploy.research.simulation.simulate import Simulation, simulate
    from server.report.page import write
    from server.run.checkpoint import CHECKPOINT_FILE

    study = read_study(path)
    if resume and is_over(folder, study, compare=compare):
        click.echo(
            f"{folder}: this run is over, and nothing is asked of any site. Its report: {folder / 'report.html'}"
        )
        click.echo("To run the study again, give the run another name: --run NAME, without --resume.")
        return
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
        saved = (folder / CHECKPOINT_FILE).exists()
        again = f"wardround simulate {path} --hospitals {hospitals} --run {folder.name}"
        again += (" --resume" if saved else "") + ("" if compare else " --no-compare")
        what = "What was saved stays, and goes on with:" if saved else "No sum was opened yet; start it again with:"
        raise Stopped(f"{what}\n  {again}") from None
    page = write(evidence, folder)
    display.verdict(evidence, page)


def _say_opt_outs(hospitals: Path) -> None:
    from client.data.exclusions import found_here
    from client.site import read_site
    from deploy.research.simulation.hospitals import hospitals_in

    for site in map(read_site, hospitals_in(hospitals)):
        if site.file.exclusions is not None:
            click.echo(f"{site.file.site}: opted out: {found_here(site).said()}")


@click.group()
def hospitals() -> None:
    """Synthetic hospitals, to try a study before asking a real one."""


@hospitals.command("new")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--sites", type=click.IntRange(3, 50), default=4, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(0.05, 20), default=1.0, show_default=True, help="Times the patients.")
@click.option("--task-of", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=None, metavar="STUDY",
              help="Let what is predicted be as in this study.yaml.")  # fmt: skip
def hospitals_new(directory: Path, sites: int, seed: int, scale: float, task_of: Path | None) -> None:
    """Make DIRECTORY with one folder a hospital (DICOM images, records, notes, genes) and a study.yaml."""
    from common.study import read_study
    from deploy.research.synthetic.generate import generate
    from deploy.research.synthetic.targets import USUAL

    task = read_study(task_of).task if task_of else USUAL
    made = generate(directory, sites=sites, seed=seed, scale=scale, task=task)
    click.echo(f"{len(made)} hospitals in {directory}. Run a study over them:")
    click.echo(f"  wardround simulate {directory / 'study.yaml'} --hospitals {directory}")


@click.group()
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


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
def report(run: Path) -> None:
    """Write the page of RUN (a folder runs/NAME) again from its report.json."""
    from server.report.evidence import read_evidence
    from server.report.page import write

    click.echo(f"{write(read_evidence(run / 'report.json'), run)}")


RESEARCH = (demo, simulate, hospitals, example, report)
