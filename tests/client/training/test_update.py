"""An update is what training changed, within its bound, and nothing for modalities that a site does not have."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from client.training import update
from client.training.update import update_of
from common.models.network import build_network
from common.parameters import Parameters, flatten
from tests.support.tiny import study_of

STUDY = study_of("chart", "panel")
ALL = ("shared", "chart", "panel")


def test_an_update_is_the_difference_by_group() -> None:
    network = build_network(STUDY)
    parameters, before = Parameters.of(network), flatten(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.25)
    updates = update_of(network, before, parameters, ALL, 4.0)
    assert tuple(updates) == parameters.groups
    assert sum(part.size for part in updates.values()) == parameters.length
    for part in updates.values():
        assert part.dtype == np.float32
        assert np.allclose(part, 0.25, atol=1e-6)


def test_a_modality_that_the_site_does_not_have_gets_zeros_and_the_shared_group_never() -> None:
    network = build_network(STUDY)
    parameters, before = Parameters.of(network), flatten(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    updates = update_of(network, before, parameters, ["panel"], 4.0)
    assert not updates["chart"].any()
    assert updates["chart"].size == before[parameters.slice("chart")].size
    assert updates["panel"].all()
    assert updates["shared"].all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_say_nothing(value: float) -> None:
    network = build_network(STUDY)
    parameters, before = Parameters.of(network), flatten(network)
    with torch.no_grad():
        next(iter(network.head.parameters())).view(-1)[0] = value
    updates = update_of(network, before, parameters, ALL, 4.0)
    assert all(np.isfinite(part).all() for part in updates.values())
    assert not any(part.any() for part in updates.values())


def test_blocks_change_nothing_and_the_weights_before_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(STUDY)
    parameters, before = Parameters.of(network), flatten(network)
    kept = before.copy()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    updates = update_of(network, before, parameters, ["chart"], 1.0)
    monkeypatch.setattr(update, "_BLOCK", 7)
    for group, part in update_of(network, before, parameters, ["chart"], 1.0).items():
        assert np.array_equal(part, updates[group])
    assert np.array_equal(before, kept)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e4), st.floats(-1e30, 1e30))
def test_no_update_ever_passes_its_bound(bound: float, shift: float) -> None:
    network = build_network(STUDY)
    parameters, before = Parameters.of(network), flatten(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(shift)
    for part in update_of(network, before, parameters, ALL, bound).values():
        assert np.abs(part.astype(np.float64)).max() <= bound
