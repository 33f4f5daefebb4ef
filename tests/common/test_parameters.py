"""Parameters: one vector, in groups, that goes out and comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunError
from common.models.network import build_network
from common.parameters import Parameters, flatten, load
from tests.support.tiny import MODALITIES, cases_of, study_of

NETWORK = build_network(study_of())
PARAMETERS = Parameters.of(NETWORK)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(1e-6, 1e6))
def test_a_vector_comes_back_as_it_was(seed: int, scale: float) -> None:
    vector = (np.random.default_rng(seed).normal(size=PARAMETERS.length) * scale).astype(np.float32)
    load(NETWORK, vector)
    assert np.array_equal(flatten(NETWORK), vector)
    assert flatten(NETWORK).dtype == np.float32


def test_groups_tile_the_vector_shared_first() -> None:
    assert PARAMETERS.groups == ("shared", "scan", "chart", "letter", "panel")
    ends = 0
    for group in PARAMETERS.groups:
        where = PARAMETERS.slice(group)
        assert where.start == ends
        ends = where.stop
    assert ends == PARAMETERS.length == sum(p.numel() for p in NETWORK.parameters())


@pytest.mark.parametrize("group", PARAMETERS.groups)
def test_a_groups_slice_is_that_groups_parameters_and_no_others(group: str) -> None:
    network = build_network(study_of())
    vector = flatten(network)
    vector[PARAMETERS.slice(group)] += 1
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    load(network, vector)
    moved = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    prefix = f"encoders.{group}."
    expected = {name for name in before if name.startswith(prefix)}
    if group == "shared":
        expected = {name for name in before if not name.startswith("encoders.")}
    assert moved == expected
    assert moved


def test_modalities_whose_names_begin_alike_stay_apart() -> None:
    record = MODALITIES["chart"]
    network = build_network(study_of(modalities={"lab": record, "lab_2": record, "head": record, "fusion": record}))
    parameters = Parameters.of(network)
    sizes = {group: parameters.slice(group).stop - parameters.slice(group).start for group in parameters.groups}
    assert len({sizes[name] for name in ("lab", "lab_2", "head", "fusion")}) == 1


def test_an_encoder_without_parameters_is_an_empty_group() -> None:
    record = {"kind": "record", "numeric": {"x": {"low": 0, "high": 1}}, "encoder": {"hidden": []}}
    network = build_network(study_of(modalities={"chart": record}))
    parameters = Parameters.of(network)
    assert parameters.groups == ("shared", "chart")
    assert parameters.slice("chart") == slice(3, 3)
    load(network, np.array([1.0, 2.0, 3.0], dtype=np.float32))
    assert flatten(network).tolist() == [1.0, 2.0, 3.0]


def test_loading_keeps_no_hold_on_the_vector() -> None:
    network = build_network(study_of("chart"))
    vector = np.ones(Parameters.of(network).length, dtype=np.float32)
    load(network, vector)
    flatten(network)[:] = 7
    vector[:] = 9
    assert np.array_equal(flatten(network), np.ones_like(vector))


def test_a_network_answers_by_the_vector_that_it_was_given() -> None:
    one, other = build_network(study_of()), build_network(study_of(seed=5))
    batch = cases_of(study_of(), 4)
    assert not torch.equal(one(batch.inputs, batch.present), other(batch.inputs, batch.present))
    load(other, flatten(one))
    assert torch.equal(one(batch.inputs, batch.present), other(batch.inputs, batch.present))


@pytest.mark.parametrize("spoil", [lambda v: v[:-1], lambda v: v.reshape(1, -1), lambda v: v * np.float32("nan")])
def test_a_vector_that_does_not_fit_changes_nothing(spoil) -> None:
    network = build_network(study_of())
    before = flatten(network)
    with pytest.raises(RunError):
        load(network, spoil(before.copy()))
    assert np.array_equal(flatten(network), before)


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(RunError, match="no group of parameters genome"):
        PARAMETERS.slice("genome")


def test_the_digest_tells_networks_apart_that_only_look_alike() -> None:
    studies = [
        study_of(),
        study_of("chart"),
        study_of("chart", fusion={"kind": "concat", "width": 8}),
        study_of(modalities={"card": MODALITIES["chart"]}),
        study_of(modalities={"scan": MODALITIES["scan"], "chart": MODALITIES["chart"]}),
        study_of(modalities={"chart": MODALITIES["chart"], "scan": MODALITIES["scan"]}),
    ]
    digests = [Parameters.of(build_network(study)).shape_digest for study in studies]
    assert len(set(digests)) == len(studies)
    assert digests[0] == Parameters.of(build_network(study_of(seed=3))).shape_digest == PARAMETERS.shape_digest
