"""Accounts: whose patients a release is charged to. Patients of two accounts of one study are never the same.

Therefore each account of a study may spend the whole epsilon: parallel composition.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, cast, get_args

from common.study import Study

Side = Literal["training", "validation", "test"]
Account = str  # a side; "held_out"; or several sides that are charged together, as "training+test"
SIDES: tuple[Side, ...] = get_args(Side)
PATTERN = "training|validation|test|held_out|(training\\+)?validation\\+test|training\\+(validation|test)"
_PARTS: dict[str, Side] = {"train": "training", "validation": "validation", "test": "test"}


def sides_of(account: Account) -> tuple[Side, ...]:
    """Return whom an account charges. `held_out` is that of studies of schema 0: validation and test as one.

    Raises KeyError for what is no account.
    """
    if not re.fullmatch(PATTERN, account):
        raise KeyError(account)
    return ("validation", "test") if account == "held_out" else cast(tuple[Side, ...], tuple(account.split("+")))


def account_of(parts: Collection[str]) -> Account:
    """Return the account of the patients of these parts of the cohort, charged together."""
    return "+".join(side for part, side in _PARTS.items() if part in parts)


def held_out(study: Study, part: Literal["validation", "test"]) -> Account:
    """Return the account of these patients. In studies of schema 0, validation and test patients share one."""
    return part if study.schema >= 1 else "held_out"


def accounts(study: Study) -> tuple[Account, ...]:
    """Return the accounts of a private study's training and scores, each of different patients."""
    return tuple(dict.fromkeys(("training", held_out(study, "validation"), held_out(study, "test"))))
