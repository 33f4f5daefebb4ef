"""Accounts: whose patients a release is charged to. Patients of two accounts of one study are never the same.

Therefore each account of a study may spend the whole epsilon: parallel composition.
"""

from __future__ import annotations

from typing import Literal, get_args

from common.study import Study

Side = Literal["training", "validation", "test"]
Account = Literal["training", "validation", "test", "held_out"]
SIDES: tuple[Side, ...] = get_args(Side)


def sides_of(account: Account) -> tuple[Side, ...]:
    """Return whom an account charges. `held_out` is that of studies of schema 0: validation and test as one."""
    return ("validation", "test") if account == "held_out" else (account,)


def held_out(study: Study, part: Literal["validation", "test"]) -> Account:
    """Return the account of these patients. In studies of schema 0, validation and test patients share one."""
    return part if study.schema >= 1 else "held_out"


def accounts(study: Study) -> tuple[Account, ...]:
    """Return every account of a private study, each of different patients."""
    return tuple(dict.fromkeys(("training", held_out(study, "validation"), held_out(study, "test"))))
