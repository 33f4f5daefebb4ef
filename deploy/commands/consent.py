"""`wardround site approve|studies|pause|resume|withdraw|purge|receipts|audit`: what was agreed to, and what left."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deploy.commands.groups import at_site, log_head, site

if TYPE_CHECKING:
    from client.consent.approvals import Approvals
    from client.consent.receipts import Receipts
    from client.data.cohort import Cohort
    from client.data.exclusions import Found
    from client.site import SiteFolder
    from common.disk.audit import Audit
    from common.study import Study

_SHOWN = 12  # digits of a digest
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def _study(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("study", metavar="STUDY_DIGEST_PREFIX")(command)


def _state(folder: Path) -> Path:
    from client.site import read_site, state_of

    return state_of(read_site(folder))


def _approvals(folder: Path) -> Approvals:
    from client.consent.approvals import Approvals

    return Approvals(_state(folder))


def _audit(folder: Path) -> Audit:
    from common.disk.audit import AUDIT_FILE, Audit

    log = _state(folder) / AUDIT_FILE
    if not log.exists():
        click.echo(f"Nothing is recorded here yet: there is no {log}.", err=True)
    return Audit(log)


# ---------------------------------------------------------------------------------------------------------- agreeing


@site.command("approve")
@click.argument("study", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@at_site
@_yes
def site_approve(study: Path, folder: Path, yes: bool) -> None:
    """Show in plain words what STUDY (a study.yaml) will do with which data of this site, and ask."""
    from client.consent.approvals import Approvals
    from client.consent.description import describe
    from client.data.sources import sources_here
    from client.site import read_site, state_of
    from client.terms import require_terms
    from common.errors import StudyError
    from common.schema import text_of
    from common.study import parse_study
    from common.study_check import require_playable

    here, text = read_site(folder), text_of(study, StudyError)
    found = parse_study(text, str(study))
    require_playable(found, text=text)
    state = state_of(here)
    require_terms(here.file, found)
    Approvals(state).require_not_withdrawn(found.digest)
    click.echo("\n".join(describe(here, found)))
    _opt_outs_at_approval(here, state, yes=yes)
    cohort = _show_readiness(here, found)
    if not yes and not click.confirm(f"Shall {here.file.site} take part in this study?"):
        click.echo("Not approved. Nothing was changed.")
        raise click.exceptions.Exit(1)
    Approvals(state).approve(found, modalities=tuple(sources_here(here, found)))
    _cut_at_approval(here, state, found, cohort, yes=yes)
    click.echo(f"Approved. To stop: wardround site pause {found.digest[:_SHOWN]} (or withdraw)")


def _show_readiness(here: SiteFolder, study: Study) -> Cohort:
    """Read the data, and say what is there: counts for this terminal alone. CohortError for fewer than policy asks for.

    In a study with privacy this is where a person decides: no request after the approval is refused for what it says.
    """
    from client.consent.readiness import not_counted, readiness, require_enough
    from client.data.losses import LOUD_WORD
    from client.data.prepare import prepare
    from client.round.declaration import of_enough
    from deploy.commands.progress import ProgressLines

    cohort = prepare(here, study, progress=ProgressLines(here.file.site))
    found = readiness(cohort, study)
    click.echo("What is here now; none of these counts leaves this site without noise or outside of a sum")
    for line in found.lines:
        click.secho(f"  {line}", fg="red" if line.startswith(LOUD_WORD) else None)
    smallest = here.file.policy.without_privacy.smallest(simulated=False)
    few = [] if study.private else not_counted(cohort, study, of_enough(cohort, study.names, smallest), smallest)
    for sentence in (*found.warnings, *few):
        click.secho(f"  WARNING: {sentence}", fg="yellow")
    require_enough(cohort, here.file.policy)
    return cohort


def _cut_at_approval(here: SiteFolder, state: Path, study: Study, cohort: Cohort, *, yes: bool) -> None:
    """Ask about a study without privacy that cuts the same patients otherwise than one whose sums are out."""
    from client.exact_sums.cut import cut_of
    from client.exact_sums.cuts import allow, asked_about, told_of
    from client.exact_sums.renumbered import said_of_unknown
    from client.round.declaration import of_enough

    if not study.private and (unknown := said_of_unknown(state, cohort)):
        click.secho(f"  {unknown}", fg="yellow")
    smallest = here.file.policy.without_privacy.smallest(simulated=False)
    cut = cut_of(cohort, of_enough(cohort, study.names, smallest))
    cut = replace(cut, signed=cut.filled(smallest))
    if study.private or smallest == 1:
        return
    told = told_of(state, study.digest, cut)  # before the number: what is opened between the two is asked anew
    number = asked_about(state, study.digest, cut, smallest)
    if not number:
        return
    click.secho(
        f"  ANOTHER SPLIT: a study whose sums are out cuts these patients otherwise, by as few as {number} of a part,\n"
        "  of several, or of a modality there, whom sums of both show apart. If no other hospital's patients move,\n"
        "  the difference of two sums is of these alone: their counts and means.",
        fg="yellow",
    )
    if number < smallest:
        click.secho(
            f"  Where it comes to fewer than {smallest} (policy.without_privacy.smallest_part), no sum is given,\n"
            "  also if a person allows it, and also if more patients come: these stay as few as they are. The way out\n"
            "  is the split, target and modalities of the earlier study, a study with privacy, or a smaller number\n"
            "  there, if so few may be shown.",
            fg="yellow",
        )
    if not yes and click.confirm("Shall it be given all the same?"):
        allow(state, study.digest, cut, told)
        return
    click.secho("  Until a person allows it (site approve, without --yes) this site does no work of it.", fg="yellow")


def _opt_outs_at_approval(here: SiteFolder, state: Path, *, yes: bool) -> None:
    """Show what the list of opt-outs comes to; ask about one that finds nobody or has a line that can be no number."""
    from client.data.accepted import accept, is_accepted, why
    from client.data.exclusions import found_here
    from common.errors import DataError

    if here.file.exclusions is None:
        return
    try:
        found = found_here(here)
    except DataError as problem:
        click.secho(f"  The list of opt-outs: {problem} Until then this site does no work.", fg="yellow")
        return
    click.echo(f"  Opted out: {found.said()}.")
    if kept := _said_of_left_out(state, found):
        click.secho(f"  {kept}", fg="yellow")
    if is_accepted(state, found):
        return
    click.secho(f"  {why(found)}", fg="yellow")
    if not yes and click.confirm("Have you looked at the list, and is it as it should be?"):
        accept(state, found)
        return
    click.secho("  Until it is accepted (wardround site exclusions --accept) this site does no work.", fg="yellow")


@site.command("exclusions")
@click.option("--accept", "accepting", is_flag=True, help="Say that the list is as it should be now.")
@at_site
@_yes
def site_exclusions(accepting: bool, folder: Path, yes: bool) -> None:
    """Show how many of the list of opt-outs are patients here, and which lines are only nearly one, or none.

    --accept also takes off whom earlier lists left out and this one does not name.
    """
    from client.data.accepted import accept, is_accepted, why
    from client.data.exclusions import found_here
    from client.data.left_out import take_off
    from client.data.pseudonym import site_secret
    from client.site import read_site, state_of

    here = read_site(folder)
    state, found = state_of(here), found_here(here)
    if here.file.exclusions is None:
        click.echo("site.yaml names no list of exclusions: nobody opted out.")
        return
    click.echo(f"{here.path(here.file.exclusions)}: {found.said()}.")
    kept, doubt = _said_of_left_out(state, found), "" if is_accepted(state, found) else why(found)
    for words in filter(None, (doubt, kept)):
        click.secho(words, fg="yellow")
    if not accepting and doubt:
        click.echo("If the list is as it should be: wardround site exclusions --accept")
    if not accepting or not (doubt or kept):
        raise click.exceptions.Exit(1 if doubt or kept else 0)
    if not yes:
        click.confirm("Have you looked at the list, and is it as it should be?", abort=True)
    if doubt:
        accept(state, found)
    take_off(state, site_secret(state), found)
    click.echo("Accepted, as the list now is. A changed list is asked about anew.")


def _said_of_left_out(state: Path, found: Found) -> str:
    """What a person should know of those whom earlier lists left out; nothing where this list names them all."""
    from client.data.left_out import said_of, staying_out
    from common.errors import DataError

    try:
        number = staying_out(state, found)
    except DataError as problem:
        return str(problem)
    return said_of(number) if number else ""


@site.command("studies")
@at_site
def site_studies(folder: Path) -> None:
    """The studies that this site approved, paused or withdrew from."""
    from client.consent.approvals import kept_name
    from client.standing import stands

    state, approvals = _state(folder), _approvals(folder).all()
    for digest, approval in approvals.items():
        when = approval.approved or "never"
        click.echo(f"{digest[:_SHOWN]}  {kept_name(state, digest):<20}  approved {when:<20}  {stands(approval)}")
    if not approvals:
        click.echo("No study. Approve one: wardround site approve STUDY.yaml")


def _found(folder: Path, prefix: str) -> tuple[Approvals, str]:
    """The site's approvals, and the one digest among them that begins so."""
    approvals = _approvals(folder)
    return approvals, approvals.find(prefix)


def _tell(approvals: Approvals, digest: str) -> None:
    from client.standing import stands

    short, now = digest[:_SHOWN], stands(approvals.all()[digest])
    way_back = f" To go on: wardround site resume {short}" if now == "paused" else ""
    click.echo(f"Study {short}: {now}.{way_back}")


@site.command("pause")
@_study
@at_site
def site_pause(study: str, folder: Path) -> None:
    """Refuse a study's requests from the next one on, until `resume`."""
    approvals, digest = _found(folder, study)
    approvals.pause(digest)
    _tell(approvals, digest)


@site.command("resume")
@_study
@at_site
def site_resume(study: str, folder: Path) -> None:
    """End a pause."""
    approvals, digest = _found(folder, study)
    approvals.resume(digest)
    _tell(approvals, digest)


@site.command("withdraw")
@_study
@at_site
@_yes
def site_withdraw(study: str, folder: Path, yes: bool) -> None:
    """Never again take part in a study. What left before cannot be called back.

    With the whole digest also of a study that was never approved here.
    """
    whole = re.fullmatch("[0-9a-f]{64}", study)
    approvals, digest = (_approvals(folder), study) if whole else _found(folder, study)
    if not yes:
        click.confirm(f"Withdraw from study {digest[:_SHOWN]} for good?", abort=True)
    approvals.withdraw(digest)
    click.echo(f"Withdrawn. To delete what was prepared for it: wardround site purge {digest[:_SHOWN]}")


@site.command("purge")
@_study
@at_site
@_yes
def site_purge(study: str, folder: Path, yes: bool) -> None:
    """Delete a study's prepared data and its file. The privacy ledger and the audit log stay."""
    approvals, digest = _found(folder, study)
    if not yes:
        click.confirm(f"Delete what was prepared for study {digest[:_SHOWN]}, and its approval?", abort=True)
    entries = approvals.purge(digest)
    click.echo(f"Deleted {entries} prepared modalities and the stored study. Ledger and audit log are kept.")


# -------------------------------------------------------------------------------------------------------- looking back


@site.command("receipts")
@click.option("--today", is_flag=True, help="Of this day only.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), default=None, metavar="YYYY-MM-DD", help="From this day on."
)
@at_site
def site_receipts(today: bool, since: datetime | None, folder: Path) -> None:
    """What left this site, when, and how many bytes of each kind."""
    from client.consent.receipts import receipts

    if today and since is not None:
        raise click.UsageError("Give --today or --since, not both.")
    start = date.today() if today else since.date() if since else None
    _show(receipts(_audit(folder).events(), start))


def said_of_refusals(number: int) -> str:
    return "1 request was refused." if number == 1 else f"{number:,} requests were refused."


def _show(found: Receipts) -> None:
    if found.lines:
        click.echo("day         from     until     study         kind      answers            bytes")
    for line in found.lines:
        click.echo(
            f"{line.day}  {line.first:%H:%M:%S} {line.last:%H:%M:%S}  {line.study[:_SHOWN]}  {line.kind:<8} "
            f"{line.answers:>8,} {line.bytes:>16,}"
        )
    click.echo(f"{found.bytes:,} bytes left; {said_of_refusals(found.refusals)}")
    if found.epsilon is not None:
        click.echo(f"Privacy spent by now, of the patients who spent most: epsilon {found.epsilon:.3f}.")


@site.command("audit")
@click.option("--head", default=None, metavar="HASH", callback=log_head,
              help="A head that was kept elsewhere: finds a cut end too.")  # fmt: skip
@at_site
def site_audit(head: str | None, folder: Path) -> None:
    """Verify the audit log's chain, and say where it is broken."""
    from common.disk.audit import AUDIT_FILE
    from common.errors import AuditError

    verdict = _audit(folder).verify(head)
    click.echo(f"{verdict.count} lines are as they were written, by {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}.")
    if verdict.broken is not None:
        raise AuditError(f"{_state(folder) / AUDIT_FILE}, {verdict.broken}.")
    if verdict.unfinished:
        click.echo(f"A crash cut off {verdict.unfinished} bytes of a last line; the next event takes them away.")
    click.echo(f"Head: {verdict.head}")
    click.echo("Keep the head in another place: wardround site audit --head HASH then finds a cut end too.")
