"""What a site can find out before its first round, and tells nobody: each check is a sentence, and whether it is well.

Certificates, the coordinator's answer, the clock, the disk, the accelerator, the data of every approved study, and one
training step on a few cases.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import numpy as np
import torch

from client.consent.approvals import Approvals, approved_study
from client.consent.readiness import readiness, require_enough
from client.data.accepted import require_accepted
from client.data.cohort import Cohort
from client.data.exclusions import found_here
from client.data.left_out import said_of as left_out_said
from client.data.left_out import staying_out
from client.data.losses import LOUD_WORD
from client.data.prepare import prepare
from client.data.site_files import Progress
from client.exact_sums.cuts_file import require_whole
from client.exact_sums.renumbered import said_of_unknown
from client.exact_sums.sums_made import records_of
from client.ledger.accounts import judged_at, ledger_of
from client.ledger.forecast import said_of
from client.membership.identity import SiteIdentity
from client.relay import require_short
from client.site import SiteFolder, state_of
from client.terms import require_terms
from client.training.local import train_locally
from common.errors import WardroundError
from common.identity.authority import in_last_year, require_in_force, term
from common.identity.enrolment import Coordinator
from common.models.network import build_network, set_normaliser
from common.parameters import flatten
from common.privacy.plan import plan_privacy
from common.statistics import normaliser_from_sums, statistic_segments
from common.study import Study

FREE_BYTES = 5 << 30  # a prepared cohort, messages of a round
CLOCK_SECONDS = 300.0  # Flower's signatures carry the time; more is corrected, and worth a look
CASES = 8
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """One finding. `well` is None for what could not be looked at from here."""

    what: str
    well: bool | None
    sentence: str


def preflight(site: SiteFolder, progress: Progress | None = None) -> Iterator[Check]:
    """Every check of this site, one after the other, as they are done. `progress`: of reading the data."""
    connector = site.path(site.file.connector)
    yield _checked("identity", lambda: _identity(site))
    yield _checked("disk", lambda: _disk(site.path(site.file.state)))
    yield _checked("ledger and records", lambda: _records(state_of(site)))
    yield _checked("socket", lambda: _socket(site.path(site.file.socket)))
    yield _checked("accelerator", lambda: _accelerator(site.file.device))
    yield from _coordinator(connector)
    if site.file.exclusions is not None:
        yield _checked("opt-outs", lambda: _opt_outs(site))
    yield from _studies(site, progress)


def _checked(what: str, look: Callable[[], tuple[bool | None, str]]) -> Check:
    """A check that raises one of our own errors is not well, and says why; the text of any other stays unsaid."""
    try:
        return Check(what, *look())
    except WardroundError as error:
        return Check(what, False, str(error))
    except Exception as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        return Check(what, False, f"failed ({reason})")


def _identity(site: SiteFolder) -> tuple[bool, str]:
    identity = SiteIdentity.read(site.file.site, site.path(site.file.state) / "identity")
    return True, f"{identity.name}, one of {len(identity.roster.sites)} sites of {identity.roster.consortium}"


def _disk(state: Path) -> tuple[bool, str]:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(state).free
    with tempfile.TemporaryFile(dir=state) as file:
        file.write(bytes(1 << 20))
    enough = free >= FREE_BYTES
    return enough, f"{free / 1e9:.1f} GB free" + ("" if enough else f", {FREE_BYTES / 1e9:.0f} GB are wise")


def _records(state: Path) -> tuple[bool, str]:
    """Those without which the agent refuses: each raises its own error where it lacks what the audit log has."""
    charged = len(ledger_of(state).entries())
    records_of(state).kept()
    require_whole(state)
    return True, f"as the audit log has them; {charged} charges"


def _socket(path: Path) -> tuple[bool, str]:
    require_short(path)
    return True, "its path is short enough"


def _accelerator(wish: str) -> tuple[bool | None, str]:
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return True, f"{torch.cuda.get_device_name()}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    if wish == "cuda":
        return False, "device: cuda in site.yaml, but no CUDA device answers"
    return None, "none; training uses the processor"


def _opt_outs(site: SiteFolder) -> tuple[bool | None, str]:
    found = found_here(site)
    state = state_of(site)
    require_accepted(state, found)
    number = staying_out(state, found)
    said = found.said() + (f". {left_out_said(number)}" if number else "")
    return None if found.near or found.to_be_accepted or number else True, said


def _coordinator(connector: Path) -> Iterator[Check]:
    try:
        authority = (connector / "ca.crt").read_bytes()
        told = Coordinator.read(connector / "coordinator.yaml")
    except PermissionError:
        yield Check("coordinator", None, f"{connector} is another user's: run this check as that user as well")
        return
    except (WardroundError, OSError):
        yield Check("coordinator", False, "this site has joined no consortium. Run `wardround site join KIT`")
        return
    yield _checked("authority", lambda: _authority(authority))
    yield from _answers(told, authority)


def _authority(pem: bytes) -> tuple[bool | None, str]:
    text, now = pem.decode(errors="replace"), datetime.now(UTC)
    require_in_force(text, now)
    return None if in_last_year(text, now) else True, term(text, now)


def _answers(told: Coordinator, authority: bytes) -> Iterator[Check]:
    """One request for the server's health, as the connector would call: its certificate, its name, its clock."""
    context = ssl.create_default_context(cadata=authority.decode())
    began = time.time()
    try:
        with httpx.Client(verify=context, timeout=ANSWER_SECONDS) as client:  # through HTTPS_PROXY, as the connector
            response = client.get(f"https://{told.address}/health")
    except httpx.HTTPError as problem:
        yield Check("coordinator", False, f"{told.address} {_why_not(problem)}")
        return
    yield Check(
        "coordinator", response.status_code == httpx.codes.OK, f"{told.address} answers, and its certificate holds"
    )
    yield _checked("clock", lambda: _clock(response.headers.get("date", ""), began))


def _why_not(problem: httpx.HTTPError) -> str:
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"shows a certificate that does not hold ({cause.verify_message}). Another program answers there, a "
                "proxy breaks TLS open, or the kit is of another consortium"
            )
        if isinstance(cause, socket.gaierror):
            return "has a name that is not found here. Ask who runs your name servers, or the coordinator for its name"
        if isinstance(cause, ConnectionRefusedError):
            return "is refused: nothing listens there. Is the coordinator's server up, or a firewall in between?"
        cause = cause.__cause__ or cause.__context__
    return f"does not answer ({type(problem).__name__}). Is the firewall open for it, or HTTPS_PROXY to be set?"


def _clock(date: str, began: float) -> tuple[bool, str]:
    ahead = parsedate_to_datetime(date).timestamp() - began
    return abs(ahead) < CLOCK_SECONDS, f"{abs(ahead):.0f} s {'behind' if ahead > 0 else 'ahead of'} the coordinator's"


def _studies(site: SiteFolder, progress: Progress | None) -> Iterator[Check]:
    try:
        state = state_of(site)
        approved = [digest for digest, approval in Approvals(state).all().items() if approval.approved]
    except WardroundError as error:
        yield Check("studies", False, str(error))
        return
    if not approved:
        yield Check("studies", None, "none is approved yet. Run `wardround site approve STUDY.yaml`")
    for digest in approved:
        what = f"study {digest[:12]}"
        yield from _terms(site, state, digest)
        yield _checked(what, lambda digest=digest: _trial(site, approved_study(state, digest), progress))  # type: ignore[misc]
        yield from _found(site, state, digest)
        yield from _budget(site, state, digest)


def _terms(site: SiteFolder, state: Path, digest: str) -> Iterator[Check]:
    """Only what of an approved study this site's policy, as it is now, does not allow."""
    try:
        require_terms(site.file, approved_study(state, digest))
    except WardroundError as error:
        yield Check(f"policy {digest[:12]}", False, str(error))


def _budget(site: SiteFolder, state: Path, digest: str) -> Iterator[Check]:
    """Only what has to be said: that a run which begins now would not come to its end."""
    try:
        study = approved_study(state, digest)
        plan = plan_privacy(study)
        if plan is not None and (said := said_of(state, study, plan, judged_at(site.file.policy, plan))):
            yield Check(f"budget {digest[:12]}", None, said)
    except WardroundError as error:
        yield Check(f"budget {digest[:12]}", False, str(error))


def _found(site: SiteFolder, state: Path, digest: str) -> Iterator[Check]:
    """What is there and what is lost of it, in counts that stay here. What cannot be read the trial has said."""
    what = f"data {digest[:12]}"
    try:
        study = approved_study(state, digest)
        cohort = prepare(site, study)
        found = readiness(cohort, study)
        unknown = "" if study.private else said_of_unknown(state, cohort)
    except WardroundError:
        return
    yield _checked(what, lambda: (True, _enough(cohort, site)))
    for line in found.lines:
        yield Check(what, None if line.startswith(LOUD_WORD) else True, line)
    for sentence in filter(None, (*found.warnings, unknown)):
        yield Check(what, None, sentence)


def _enough(cohort: Cohort, site: SiteFolder) -> str:
    require_enough(cohort, site.file.policy)
    return f"at least policy.minimum_cohort, {site.file.policy.minimum_cohort}"


def _trial(site: SiteFolder, study: Study, progress: Progress | None) -> tuple[bool, str]:
    """Read the data, and take one training step on a few cases. Nothing is spent, kept or sent."""
    cohort = prepare(site, study, progress=progress)
    few = cohort.train.rows(list(range(min(CASES, len(cohort.train)))))
    network = build_network(study, models=site.path(site.file.models))
    none = {segment.name: np.zeros(segment.length) for segment in statistic_segments(study)}
    set_normaliser(network, normaliser_from_sums(study, none))
    began = time.monotonic()
    once = replace(study, training=replace(study.training, local_steps=1))
    train_locally(network, few, once, 1, plan_privacy(study), site=site.file.site, clipping=site.file.clipping)
    seconds = time.monotonic() - began
    fine = bool(np.isfinite(flatten(network)).all())
    sizes = f"{len(cohort.train)} training, {len(cohort.validation)} validation, {len(cohort.test)} test cases"
    told = f"{sizes}; has {', '.join(cohort.owned)}; one step on {len(few)} cases in {seconds:.1f} s"
    return fine, told + ("" if fine else ", which ended in numbers that are none")
