"""Inquiries: what a study may ask for beside its training. Each is one file of this package and one line in `KINDS`.

See `inquiry.Inquiry` for what an inquiry can say of itself. This release has none yet: the key
`inquiries` of study.yaml takes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from common.inquiries.inquiry import Finding, Inquiry

if TYPE_CHECKING:
    from common.modalities import Modality

__all__ = ["KINDS", "Finding", "Inquiry", "StudyInquiry", "require_askable"]

KINDS: tuple[type[Any], ...] = ()


def _none(value: Any) -> Any:
    raise ValueError("this release of wardround knows no inquiry: leave the key out")


def _union(kinds: tuple[type[Any], ...]) -> Any:
    """The type of a value of study.yaml that is one of these, told apart by its key `kind`."""
    if not kinds:
        return Annotated[Any, BeforeValidator(_none)]
    return Annotated[reduce(or_, kinds), Field(discriminator="kind")] if kinds[1:] else kinds[0]


def require_askable(
    inquiries: Mapping[str, Inquiry], modalities: Mapping[str, Modality], accountant: str | None
) -> None:
    """Refuse, with ValueError, an inquiry that cannot be asked of these modalities, or priced by this accountant of a
    private study.
    """
    for name, inquiry in inquiries.items():
        if problem := inquiry.problem(modalities):
            raise ValueError(f"inquiries.{name}: {problem}")
        if accountant is not None and accountant not in inquiry.accountants:
            known = " or ".join(inquiry.accountants)
            raise ValueError(f"inquiries.{name}: its price is known by privacy.accountant: {known}")


if TYPE_CHECKING:
    StudyInquiry = Inquiry
else:
    StudyInquiry = _union(KINDS)
