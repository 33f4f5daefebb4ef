"""`wardround site up|agent|connector`, `coordinator up`, `run`, `status`, `stop`, `resume`: what runs, and for long."""

from __future__ import annotations

import difflib
import os
import signal
import time
from pathlib import Path

import click

from common.errors import RunError
from deploy.commands.groups import Stopped, at_site, coordinator, log_head, run_name, site

_at = click.option(
    "--at", "folder", type=click.Path(path_type=Path), default="consortium", show_default=True,
    help="The coordinator's folder.",
)  # fmt: skip


@site.command("up")
@at_site
def site_up(folder: Path) -> None:
    """Run this site: agent and connector, each started again when it ends. Under systemd use the two units instead."""
    from deploy.daemons.processes import up

    up(folder)


@site.command("agent")
@at_site
def site_agent(folder: Path) -> None:
    """Run the agent alone: it sees patients, needs no network, and listens on the site's Unix socket."""
    from deploy.daemons.processes import agent

    agent(folder)


@site.command("connector")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="The connector's own folder: node.key, ca.crt, coordinator.yaml.")  # fmt: skip
@click.option("--socket", type=click.Path(path_type=Path), required=True, help="The agent's socket.")
def site_connector(folder: Path, socket: Path) -> None:
    """Run the connector alone: it is on the network, and sees no patient. HTTPS_PROXY is honoured."""
    from deploy.daemons.processes import connector

    connector(folder, socket)


@site.command("check")
@at_site
def site_check(folder: Path) -> None:
    """Look at everything that the first round needs, and send nothing: keys, disk, coordinator, clock, data, a step."""
    from client.preflight import preflight
    from client.site import read_site
    from deploy.commands.progress import ProgressLines

    bad, progress = 0, ProgressLines("study")
    for check in preflight(read_site(folder), progress):
        sign, colour = {True: ("ok", "green"), False: ("NO", "red"), None: ("--", "yellow")}[check.well]
        click.echo(f"{click.style(sign, fg=colour)}  {check.what:<20} {check.sentence}")
        bad += check.well is False
    if bad:
        raise RunError(f"{bad} of the checks failed: mend these before the first round.")


@coordinator.command("up")
@_at
@click.option("--bind", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104
def coordinator_up(folder: Path, bind: str) -> None:
    """Run the server that sites connect to, until it is stopped."""
    from deploy.daemons.processes import coordinator as serve

    serve(folder, bind)


@coordinator.command("audit")
@click.option("--head", default=None, metavar="HASH", callback=log_head,
              help="A head that was kept elsewhere: finds a cut end too.")  # fmt: skip
@_at
def coordinator_audit(head: str | None, folder: Path) -> None:
    """Verify the coordinator's own log (admissions, runs, rounds), and say where its chain is broken."""
    from common.disk.audit import AUDIT_FILE
    from common.errors import AuditError
    from server.consortium.consortium import Consortium

    verdict = Consortium.read(folder).audit.verify(head)
    click.echo(f"{verdict.count} lines are as they were written.")
    if verdict.broken is not None:
        raise AuditError(f"{folder / 'state' / AUDIT_FILE}, {verdict.broken}.")
    click.echo(f"Head: {verdict.head}")


# ------------------------------------------------------------------------------------------------------------- studies


_deadline = click.option(
    "--deadline", type=click.FloatRange(1), default=3600.0, show_default=True,
    help="Seconds for the work of one round.",
)  # fmt: skip
_wait = click.option(
    "--wait", type=click.FloatRange(0), default=600.0, show_default=True,
    help="Seconds to wait for enough sites to be connected, at the start and again in a round.",
)  # fmt: skip
_box = click.option(
    "--time-box", type=click.FloatRange(0), default=0.0, show_default=True,
    help="Seconds after which a site stops training in a round and hands over what it has; 0 for never. "
    "Sites of a study with privacy do all steps, and so do all sites of one without where a site waits for lost sites: "
    "set --deadline so that they can.",
)  # fmt: skip
_name = click.option("--run", "name", default=None, callback=run_name, help="Name of the run; the study's, by default.")


@click.command("run")
@click.argument("study", type=click.Path(path_type=Path))
@_at
@_name
@click.option("--site", "sites", multiple=True, help="Exactly these sites; all of the consortium, if not given.")
@click.option("--models", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None,
              help="Pretrained weights that the study names.")  # fmt: skip
@_deadline
@_wait
@_box
def run(
    study: Path, folder: Path, name: str | None, sites: tuple[str, ...], models: Path | None, deadline: float,
    wait: float, time_box: float,
) -> None:  # fmt: skip
    """Run STUDY over the consortium's sites. The server must be up, and the sites must have approved the study."""
    from common.study import read_study

    found = read_study(study)
    _play(found, folder, name or found.study, sites, models, deadline, wait, time_box, resume=False)


@click.command("resume")
@click.argument("name", callback=run_name)
@_at
@click.option("--site", "sites", multiple=True, help="Exactly these sites; all of the consortium, if not given.")
@click.option("--models", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None)
@_deadline
@_wait
@_box
def resume(
    name: str, folder: Path, sites: tuple[str, ...], models: Path | None, deadline: float, wait: float, time_box: float
) -> None:
    """Go on with the run NAME, from the last round that was saved."""
    from common.study import read_study

    kept = _folder_of(name, folder) / "study.yaml"
    _play(read_study(kept), folder, name, sites, models, deadline, wait, time_box, resume=True)


def _play(
    study: object, folder: Path, name: str, sites: tuple[str, ...], models: Path | None, deadline: float, wait: float,
    time_box: float, *, resume: bool,
) -> None:  # fmt: skip
    from common.study import Study
    from server.consortium.consortium import Consortium
    from server.run.deployed import Deployment, deploy

    assert isinstance(study, Study)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `wardround stop` ends a run as Ctrl-C does
    plan = Deployment(
        study,
        Consortium.read(folder),
        name,
        sites,
        resume=resume,
        models=models,
        seconds=deadline,
        wait=wait,
        time_box=time_box,
    )
    began = time.monotonic()
    try:
        deploy(plan, lambda text: click.echo(f"{time.monotonic() - began:7.1f} s  {text}"))
    except KeyboardInterrupt:
        raise Stopped(f"What was saved stays: `wardround resume {name} --at {folder}` goes on.") from None
    click.echo(f"Done. The report: {plan.folder / 'report.html'}")


def _folder_of(run: str, folder: Path) -> Path:
    """The run's folder. RunError, with the names of those that are there, if there is none."""
    from server.consortium.consortium import Consortium
    from server.consortium.folder import CONSORTIUM_FILE

    simulated = _simulated(run)
    if simulated is not None and not (folder / CONSORTIUM_FILE).exists():
        raise RunError(
            f"{simulated} is a simulation's, and {folder} holds no consortium. To go on with it: `wardround simulate "
            f"STUDY --hospitals FOLDER --run {run} --resume`; to end it as it is: `wardround finish {run}`."
        )
    runs = Consortium.read(folder).runs
    there = sorted(path.parent.name for path in runs.glob("*/study.yaml"))
    if run not in there:
        also = f" {simulated} is a simulation's, not the consortium's." if simulated is not None else ""
        raise RunError(f"{runs}: has no run {run!r}. It has: {', '.join(there) or 'none yet'}.{also}")
    return runs / run


def _simulated(run: str) -> Path | None:
    """The folder of the simulated run of this name, below the folder where one stands; None if there is none."""
    place = Path("runs") / run
    return place if (place / "study.yaml").exists() else None


@click.command("status")
@click.argument("name", required=False, callback=run_name)
@_at
def status(name: str | None, folder: Path) -> None:
    """What is true of the run NAME, or of the newest one, and of each of its sites."""
    from common.schedule import title
    from server.report.text import duration
    from server.run.checkpoint import CHECKPOINT_FILE
    from server.run.run_folder import results_in
    from server.run.watch import LOOK_SECONDS, STATUS_FILE, read_status

    run = _folder_of(name, folder) if name else _newest(folder)
    told = read_status(run / STATUS_FILE)
    done = f"done: {title(told.round, told.rounds)}" if told.round >= 0 else "nothing done yet"
    if told.ended and not (run / CHECKPOINT_FILE).exists():
        gone = f"{done}. Its checkpoint is gone, so it cannot go on, and no other report can be made of it; what its "
        gone += "sites were charged stays in their ledgers"
        nothing = "nothing was begun: its name may be given to another run, or its folder deleted"
        done = gone if told.round >= 0 or told.asked or results_in(run) else nothing
    head = f"finished after round {told.finished} of {told.rounds}, with a model and a report; why it had ended: "
    since = f" It was resumed since, without another sum: {told.ended}" if told.ended and told.before else ""
    why = (f"{told.reason.rstrip('.')}.{since}" if since else told.reason) if told.ended else told.doing
    click.echo(f"{run.name}: {head if told.ended and told.finished >= 0 else ''}{why}")
    age = max(0.0, time.time() - told.written)
    looked = max(0.0, time.time() - told.seen)
    sites = f"; the sites as of {duration(looked)} ago" if looked > age + 2 * LOOK_SECONDS and told.sites else ""
    click.echo(f"  {done}; as of {duration(age)} ago{sites}")
    for place, item in sorted(told.sites.items()):
        steps = f" (step {item.done} of {item.total})" if item.total else ""
        since = f", for {duration(item.seconds)}" if item.seconds else ""
        seen = "no sign of life yet" if item.seen is None else f"last sign of life {duration(item.seen + looked)} ago"
        click.echo(f"  {place:<20} {item.state}{steps}{since}; {seen}")


def _newest(folder: Path) -> Path:
    from server.consortium.consortium import Consortium
    from server.run.watch import STATUS_FILE

    runs = Consortium.read(folder).runs
    found = sorted(runs.glob(f"*/{STATUS_FILE}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunError(f"{runs}: there is no run yet. Start one: wardround run STUDY.yaml")
    return found[-1].parent


@click.command("stop")
@click.argument("name", callback=run_name)
@_at
def stop(name: str, folder: Path) -> None:
    """Stop the run NAME. What is saved stays: `wardround resume NAME` goes on."""
    from deploy.daemons.processes import process_of_run
    from server.run.watch import STATUS_FILE

    process = process_of_run(_folder_of(name, folder) / STATUS_FILE)
    try:
        os.kill(process, signal.SIGTERM)
    except OSError as problem:
        raise RunError(f"Process {process} of the run cannot be stopped ({problem.strerror}).") from None
    click.echo(f"{name}: told to stop.")


@click.command("finish")
@click.argument("name", metavar="NAME_OR_FOLDER")
@_at
@click.option("--models", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None,
              help="Pretrained weights that the study names.")  # fmt: skip
def finish(name: str, folder: Path, models: Path | None) -> None:
    """Make a model and a report of a run that cannot go on.

    NAME is a run of the consortium or, where that has none of this name, a simulation's in runs/NAME; or give its
    folder.
    """
    from server.run.finish import finish as made

    there = _to_finish(name, folder)
    evidence = made(there, models=models)
    click.echo(evidence.warnings[-1])
    click.echo(f"The model: {there / 'model.safetensors'}; the report: {there / 'report.html'}")


def _to_finish(name: str, folder: Path) -> Path:
    """The run's folder: as given, or the consortium's run of this name, or the simulation's."""
    from server.consortium.consortium import Consortium
    from server.consortium.folder import CONSORTIUM_FILE

    if Path(name).is_dir():
        return Path(name)
    consortium = Consortium.read(folder).runs if (folder / CONSORTIUM_FILE).exists() else None
    if consortium is not None and (consortium / name / "study.yaml").exists():
        return consortium / name
    if simulated := _simulated(name):
        return simulated
    raise RunError(_no_run(name, [Path("runs"), *([] if consortium is None else [consortium])]))


def _no_run(name: str, folders: list[Path]) -> str:
    """What there is instead of a run of this name, the nearest first."""
    there = {path.parent.name: path.parent for runs in folders for path in sorted(runs.glob("*/study.yaml"))}
    near = difflib.get_close_matches(name, there, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    has = f"There {'is' if len(there) == 1 else 'are'} {', '.join(map(str, there.values()))}" if there else ""
    none = f"There is no run in {' or '.join(f'{runs}/' for runs in folders)}; give the run's own folder"
    return f"There is no run {name!r}.{meant} {has or none}."


STUDIES = (run, resume, status, stop, finish)
