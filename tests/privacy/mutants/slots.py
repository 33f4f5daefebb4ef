"""Who stands where, when several patients' gradients are taken in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from common.models.batch import Batch
from tests.privacy.mutants.mutant import Mutant

SLOTS = "tests/client/training/test_slots.py::"
PLACES = (f"{SLOTS}test_each_patients_place_is_drawn_by_itself_whoever_else_is_there",)
RAISING = (f"{SLOTS}test_who_makes_a_call_raise_is_nobody_and_the_others_give_the_same_bits",)
NOT_FINITE = (f"{SLOTS}test_who_is_not_finite_is_nobody_at_no_further_call_and_the_others_give_the_same_bits",)
ROWS = (f"{SLOTS}test_the_network_sees_the_same_number_of_rows_and_each_patient_once",)


def _in_order(_: Any) -> Any:
    return lambda n, among: np.arange(n) % among


def _dealt_out(_: Any) -> Any:
    return lambda n, among: np.concatenate([np.random.default_rng().permutation(among) for _ in range(n // among + 1)])[
        :n
    ]


def _only_who_is_there(original: Any) -> Any:
    def in_places(batch: Batch, taken: dict[int, int]) -> Batch:
        rows = original(batch, taken)
        return rows.rows([*sorted(taken), len(rows) - 1])  # type: ignore[no-any-return]

    return in_places


def _without_nobody(original: Any) -> Any:
    def in_places(batch: Batch, taken: dict[int, int]) -> Batch:
        rows: Batch = original(batch, taken)
        rows.present[-2:] = rows.present[0]
        return rows

    return in_places


def _nobody_of_the_call(_: Any) -> Any:
    def of_each_alone(self: Any, batch: Batch, taken: dict[int, int]) -> Any:
        self._failed(ValueError())
        return iter(())

    return of_each_alone


def _in_a_batch_of_one(_: Any) -> Any:
    def alone(self: Any, batch: Batch, place: int, row: int) -> Any:
        return torch.cat([part.reshape(-1) for part in self._gradients.of(batch.rows([row]))])

    return alone


def _again_where_not_finite(original: Any) -> Any:
    def of_each_patient(self: Any, batch: Batch, taken: dict[int, int]) -> Any:
        found = list(original(self, batch, taken))
        finite = all(torch.isfinite(gradient).all() for gradient in found)
        return iter(found) if finite else self._of_each_alone(batch, taken)

    return of_each_patient


MUTANTS = (
    Mutant("further calls for who is not finite", "client.training.slots.SlotClipper._of_each_patient",
           _again_where_not_finite, NOT_FINITE),
    Mutant("who makes a call raise takes all of it out", "client.training.slots.SlotClipper._of_each_alone",
           _nobody_of_the_call, RAISING),
    Mutant("who was beside one who raised is taken by another kernel", "client.training.slots.SlotClipper._alone",
           _in_a_batch_of_one, RAISING),
    Mutant("places in the order of the sample", "client.training.slots.places", _in_order, PLACES),
    Mutant("places dealt out together", "client.training.slots.places", _dealt_out, PLACES),
    Mutant("as many rows as patients", "client.training.slots.in_places", _only_who_is_there, ROWS),
    Mutant("no row that is always nobody's", "client.training.slots.in_places", _without_nobody, ROWS),
)  # fmt: skip
