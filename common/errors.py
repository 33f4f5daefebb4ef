"""Every error that wardround raises on purpose.

    WardroundError                 exit  public code
    ├── StudyError                 10    bad_study        study.yaml is wrong
    ├── SiteFileError              11    bad_site_file    site.yaml is wrong
    ├── DataError                  20    data             a hospital's folder cannot be read as its site.yaml says
    │   ├── CohortError            21    data             the cases cannot serve this study, or are too few for policy
    │   └── DeidentificationError  22    data             something personal would have passed the gate
    ├── PrivacyError               30    privacy          a privacy plan cannot be met
    │   └── BudgetError            31    budget           the ledger refuses: the budget would be exceeded
    ├── SecureSumError             40    secure_sum       a secure sum was refused or cannot be opened
    │   ├── ProtocolOrderError     41    out_of_order     a message that this state does not take
    │   ├── TooFewSitesError       42    too_few_sites    fewer sites than the threshold
    │   ├── RangeError             43    out_of_range     a value that the fixed point cannot hold
    │   ├── IdentityError          44    identity         a signature or a roster is not what it should be
    │   └── AnsweredError          45    answered         the same was summed before, over other sites
    ├── RunError                   50    run              a run cannot start or go on
    │   ├── CheckpointError        51    bad_checkpoint   a checkpoint is damaged or of another study
    │   ├── SiteFailedError        52    site_failed      a site answered with an error code
    │   ├── ReleaseError           57    other_release    the other side is of another release of wardround
    │   └── PolicyError            53    policy           this site's policy does not allow what was asked
    │       ├── NotApprovedError   54    not_approved     nobody at this site approved the study, or it was withdrawn
    │       ├── PausedError        55    paused           this site paused the study
    │       ├── OutsideHoursError  56    outside_hours    not within this site's hours of work
    │       └── BusyError          58    busy             this site is at work for another run
    ├── InstallationError          60    installation     the installed packages do not fit each other
    └── AuditError                 70    audit            the audit log cannot take an event, or is broken

The **public code** is a closed vocabulary: it is all that may leave a site. Whatever is refused because of a site's
data has one code, `data`: which of its errors it was would tell of patients. The **text** is for the person at this
site or this coordinator; it names files, keys and counts and the way out, and never a value of a patient's data. A
site's own log has the class's name and the text. The **words** beside a code are what the coordinator reads of it.
"""

from __future__ import annotations

from typing import ClassVar


class WardroundError(Exception):
    """Root of the tree. `str(error)` is the private text: what is wrong and what to do."""

    code: ClassVar[str] = "error"
    words: ClassVar[str] = "failed; its own log says why"  # what the code says to a person at the coordinator
    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        """Refuse a class with a code of its own and without words for it."""
        super().__init_subclass__()
        if "code" in vars(cls) and "words" not in vars(cls):
            raise TypeError(f"{cls.__name__}: say in `words` what {cls.code} means to a person at the coordinator")


class StudyError(WardroundError):
    """The study file breaks the schema or contradicts itself."""

    code = "bad_study"
    words = "cannot read this study as it is written; its own log says why"
    exit_code = 10


class SiteFileError(WardroundError):
    """The site file breaks the schema or points to what is not there."""

    code = "bad_site_file"
    words = "its site.yaml is not in order; its own log says where"
    exit_code = 11


class DataError(WardroundError):
    """A file of the hospital cannot be read as its site file says."""

    code = "data"
    words = "its data cannot serve this study as it is; its own log says why"
    exit_code = 20


class CohortError(DataError):
    """The joined cases cannot serve this study, or are fewer than this site's policy asks for."""

    exit_code = 21


class DeidentificationError(DataError):
    """Something personal would have passed the gate; the message says which kind, never the value."""

    exit_code = 22


class PrivacyError(WardroundError):
    """A privacy plan cannot be met as written."""

    code = "privacy"
    words = "cannot keep what the study promises of privacy; its own log says why"
    exit_code = 30


class BudgetError(PrivacyError):
    """The ledger refuses, because the site's budget would be exceeded."""

    code = "budget"
    words = "its privacy budget does not carry this"
    exit_code = 31


class SecureSumError(WardroundError):
    """A secure sum was refused, or cannot be opened."""

    code = "secure_sum"
    words = "refused this secure sum; its own log says why"
    exit_code = 40


class ProtocolOrderError(SecureSumError):
    """A message that the protocol's present state does not take: early, late, repeated or foreign."""

    code = "out_of_order"
    words = "it lost the sum, or had given its part before"
    exit_code = 41


class TooFewSitesError(SecureSumError):
    """Fewer sites than the threshold are left: nothing may be opened."""

    code = "too_few_sites"
    words = "too few sites were left for it"
    exit_code = 42


class RangeError(SecureSumError):
    """A value that the fixed point cannot hold: our own fault at the site, so nothing is sent."""

    code = "out_of_range"
    words = "has a value that the sum cannot hold, and sent nothing"
    exit_code = 43


class IdentityError(SecureSumError):
    """A roster, a long-term key or a signature is not what it should be."""

    code = "identity"
    words = "it pinned another roster, or has another key"
    exit_code = 44


class AnsweredError(SecureSumError):
    """The same was summed before over other sites: the difference of the two sums would show a site."""

    code = "answered"
    words = "this was summed before, over other sites"
    exit_code = 45


class RunError(WardroundError):
    """A run cannot start or go on."""

    code = "run"
    words = "it cannot go on with this run; its own log says why"
    exit_code = 50


class CheckpointError(RunError):
    """A checkpoint is damaged, or belongs to another study."""

    code = "bad_checkpoint"
    words = "a checkpoint is damaged, or is of another study"
    exit_code = 51


class SiteFailedError(RunError):
    """A site answered with an error code; the text stayed in the site's own log."""

    code = "site_failed"
    words = "its agent does not answer"
    exit_code = 52


class ReleaseError(RunError):
    """The other side is of another release of wardround: it speaks another protocol, or derives something else."""

    code = "other_release"
    words = "it derives something else than this coordinator: install one release of wardround everywhere"
    exit_code = 57


class PolicyError(RunError):
    """This site's policy does not allow what was asked."""

    code = "policy"
    words = "its policy does not allow this"
    exit_code = 53


class NotApprovedError(PolicyError):
    """Nobody at this site approved the study; or it was withdrawn, or what is kept of it is not as it was."""

    code = "not_approved"
    words = "has not approved this study"
    exit_code = 54


class PausedError(PolicyError):
    """This site paused the study."""

    code = "paused"
    words = "has paused this study"
    exit_code = 55


class OutsideHoursError(PolicyError):
    """Work would begin outside of this site's hours."""

    code = "outside_hours"
    words = "works at other hours"
    exit_code = 56


class BusyError(PolicyError):
    """This site is at work for another run, and serves one at a time."""

    code = "busy"
    words = "is at work for another run"
    exit_code = 58


class InstallationError(WardroundError):
    """The installed packages do not fit each other."""

    code = "installation"
    words = "its installed packages do not fit each other; its own log says which"
    exit_code = 60


class AuditError(WardroundError):
    """The audit log cannot take an event, or its chain is broken."""

    code = "audit"
    words = "its audit log is broken or cannot be written: its people have to look at it"
    exit_code = 70


def tree() -> list[type[WardroundError]]:
    """All error classes, root first."""
    found: list[type[WardroundError]] = [WardroundError]
    for kind in found:
        found.extend(kind.__subclasses__())
    return found


# What 0.1 said in their place: a site's audit log of that time is read for good.
RETIRED_CODES = frozenset({"bad_data", "bad_cohort", "not_deidentified"})
PUBLIC_CODES: frozenset[str] = frozenset(kind.code for kind in tree())


def words_of(code: str) -> str:
    """Return what a public code says to a person at the coordinator; the code itself where it is none of ours."""
    return next((kind.words for kind in tree() if kind.code == code), code)
