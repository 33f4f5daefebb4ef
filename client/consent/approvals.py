"""Approvals: the studies that a person at this site agreed to, by digest, and the very file that was agreed to.

state/approvals.yaml       digest -> when, paused, withdrawn (0600, written whole)
state/studies/DIGEST.yaml  the study as it was shown
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import Field

from client.data.cache import Cache
from client.data.targets import files_of
from common import schema as border
from common.disk.atomic_file import make_private, write_whole
from common.disk.audit import AUDIT_FILE, Approved, Audit, Event, Paused, Purged, Resumed, Withdrew
from common.disk.lock import APPENDED, locked
from common.errors import NotApprovedError, PausedError, PolicyError, StudyError
from common.release import OF_0_1
from common.schema import schema
from common.study import Study, read_study, study_text

DIGEST = "[0-9a-f]{64}"
Digest = Annotated[str, Field(pattern=f"^{DIGEST}$")]
TERMS = 1  # raised when an approval given before must be asked for again
AGAIN = f"made by 0.1: approve again, because {OF_0_1.removesuffix('.')}"
_SHORTEST = 4  # of a digest's beginning that a person types


@schema
class Approval:
    """`approved`: when, in UTC; None where the study was withdrawn without ever being approved.

    modalities: those of the study that site.yaml named, and policy allowed, when it was approved; None: not kept then
    terms: what a person was shown and agreed to; 0 in release 0.1, `TERMS` today
    """

    approved: str | None = None
    paused: bool = False
    withdrawn: bool = False
    modalities: list[str] | None = None
    terms: Annotated[int, Field(ge=0)] = 0

    @property
    def outdated(self) -> bool:
        """Whether it was given under release 0.1, and has to be given again."""
        return self.approved is not None and self.terms < TERMS


@schema
class ApprovalsFile:
    """The schema of approvals.yaml."""

    format: int = border.format_number(1)
    studies: dict[Digest, Approval] = field(default_factory=dict)


class Approvals:
    """What is kept in a site's state folder. Nothing stays in memory: the command line and the agent share the file."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._path = state / "approvals.yaml"

    def all(self) -> dict[str, Approval]:
        """Digest -> approval. NotApprovedError when the file is damaged, or others than its owner may write it."""
        if not os.path.lexists(self._path):
            return {}
        if self._path.is_symlink() or self._path.stat().st_mode & 0o022:
            raise NotApprovedError(
                f"{self._path}: others than its owner may write it, so it approves nothing. Look at what it says, and "
                "run chmod 600 on it."
            )
        return dict(border.read(self._path, ApprovalsFile, NotApprovedError).studies)

    def require(self, digest: str, *, asked: bool = True) -> None:
        """NotApprovedError or PausedError. `asked`: without it only what was paused or withdrawn is refused.

        The digest comes from outside, and names a file: what is none goes no further, nor into the log.
        """
        if not re.fullmatch(DIGEST, digest):
            raise NotApprovedError("What was asked for is not the digest of a study.")
        found = self.all().get(digest)
        if found is not None and found.withdrawn:
            raise NotApprovedError(f"Study {digest[:12]} was withdrawn here, for good.")
        if asked and (found is None or found.approved is None):
            raise NotApprovedError(f"Study {digest[:12]} is not approved here. Run: wardround site approve STUDY.yaml")
        if asked and found is not None and found.outdated:
            raise NotApprovedError(
                f"Study {digest[:12]} was approved here when release 0.1 was installed: {AGAIN}. Run: wardround site "
                f"approve {_study_path(self._state, digest)}"
            )
        if found is not None and found.paused:
            raise PausedError(f"Study {digest[:12]} is paused here. Run: wardround site resume {digest[:12]}")

    def modalities(self, digest: str) -> tuple[str, ...]:
        """Those with which the study was approved; none where that was not kept, or nobody was asked."""
        return tuple(self.all().get(digest, Approval()).modalities or ())

    def find(self, prefix: str) -> str:
        """The one digest that begins so. NotApprovedError where there is none, or more than one."""
        found = [digest for digest in self.all() if digest.startswith(prefix)]
        if len(prefix) < _SHORTEST or len(found) != 1:
            problem = "is too short for" if len(prefix) < _SHORTEST else f"begins {len(found) or 'no'} digests of"
            raise NotApprovedError(
                f"{prefix!r} {problem} a study here. See the studies and their digests: wardround site studies"
            )
        return found[0]

    # ------------------------------------------------------------------------------------------ what a person decides

    def approve(self, study: Study, now: datetime | None = None, *, modalities: Collection[str] | None = None) -> None:
        """Keep the study and that it was approved, with these modalities of this site. The audit log comes first: no
        approval without its line.
        """
        digest = study.digest
        self.require_not_withdrawn(digest)
        self._tell(Approved(digest))
        keep_study(self._state, study)
        when = (now or datetime.now(UTC)).astimezone(UTC)
        with self._changed() as studies:
            before = studies.get(digest, Approval())
            studies[digest] = replace(  # a pause outlasts it
                before,
                approved=f"{when:%Y-%m-%dT%H:%M:%SZ}",
                modalities=None if modalities is None else [*modalities],
                terms=TERMS,
            )

    def require_not_withdrawn(self, digest: str) -> None:
        """NotApprovedError for a study that this site withdrew from."""
        if self.all().get(digest, Approval()).withdrawn:
            raise NotApprovedError(f"Study {digest[:12]} was withdrawn here, for good. A changed study is another one.")

    def pause(self, digest: str) -> None:
        """Refuse its requests until `resume`. Holds even where the audit log cannot be written."""
        with self._changed() as studies:
            studies[digest] = replace(studies.get(digest, Approval()), paused=True)
        self._tell(Paused(digest))

    def resume(self, digest: str) -> None:
        """End a pause. A withdrawn study stays withdrawn."""
        self._tell(Resumed(digest))
        with self._changed() as studies:
            studies[digest] = replace(studies.get(digest, Approval()), paused=False)

    def withdraw(self, digest: str) -> None:
        """Never again take part. Holds even where the audit log cannot be written."""
        with self._changed() as studies:
            studies[digest] = replace(studies.get(digest, Approval()), withdrawn=True)
        self._tell(Withdrew(digest))

    def purge(self, digest: str) -> int:
        """Delete what was prepared for the study, and its file: the number of entries. Ledger and audit log stay.

        An approval goes with it; a withdrawal does not.
        """
        entries = Cache(self._state / "cache").purge(self._modalities(digest))
        _study_path(self._state, digest).unlink(missing_ok=True)
        with self._changed() as studies:
            if not studies.get(digest, Approval()).withdrawn:
                studies.pop(digest, None)
        self._tell(Purged(digest, entries))
        return entries

    def _modalities(self, digest: str) -> tuple[str, ...] | None:
        """Whose entries of the cache the study may have made; None where its file is gone, and all must go."""
        try:
            study = kept_study(self._state, digest)
            return *study.names, *files_of(study)
        except (NotApprovedError, StudyError):
            return None

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Approval]]:
        """All approvals, to change; on disk, whole, when the block ends."""
        make_private(self._state)
        with self._locked():
            studies = self.all()
            yield studies
            write_whole(self._path, border.dump(ApprovalsFile(studies=studies)).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self._state / "approvals.lock", APPENDED | os.O_NOFOLLOW))
            except OSError as problem:
                raise PolicyError(f"{self._state}: cannot be written ({problem.strerror}). Check its owner.") from None
            yield

    def _tell(self, event: Event) -> None:
        Audit(self._state / AUDIT_FILE).append(event)


def approved_study(state: Path, digest: str, *, asked: bool = True) -> Study:
    """The study as it was approved, or NotApprovedError or PausedError. `asked`: as `Approvals.require`."""
    Approvals(state).require(digest, asked=asked)
    return kept_study(state, digest)


def kept_study(state: Path, digest: str) -> Study:
    """The study kept under this digest, approved or not. NotApprovedError where it is missing or no longer the same."""
    path = _study_path(state, digest)
    if not path.is_file():
        raise NotApprovedError(f"Study {digest[:12]} is not kept here. Run: wardround site approve STUDY.yaml")
    study = read_study(path)
    if study.digest != digest:
        raise NotApprovedError(f"{path}: is not the study that was approved: its digest differs. Approve it again.")
    return study


def most_colluding(state: Path) -> int:
    """Return the largest number of sites that may collude by any study that is kept here; at least 1."""
    found = [1]
    for path in sorted(_study_path(state, "").parent.glob("*.yaml")):
        with suppress(StudyError):
            found.append(read_study(path).secure_sum.colluding)
    return max(found)


def keep_study(state: Path, study: Study) -> None:
    """Keep a study's file (0600), for the agent to run exactly that."""
    path = _study_path(state, study.digest)
    make_private(path.parent)
    write_whole(path, study_text(study).encode())


def _study_path(state: Path, digest: str) -> Path:
    return state / "studies" / f"{digest}.yaml"


def kept_name(state: Path, digest: str) -> str:
    """The name of a study that is kept here, for a list; a dash where it is not."""
    try:
        return kept_study(state, digest).study
    except (NotApprovedError, StudyError):
        return "-"
