"""The server step against the papers' formulas, and its memory across a restart."""

from __future__ import annotations

import numpy as np
import pytest

from common.errors import RunError, StudyError
from common.study import Server
from deploy.research.simulation.grid import InProcessGrid
from server.run.step import BLOCK, ServerStep, add_mean

MEANS = [np.array([0.1, 0.2, -0.1, 0.0]), np.array([0.05, -0.2, 0.0, 0.3]), np.array([0.1, 0.1, 0.1, 0.1])]
GRID: InProcessGrid = None  # type: ignore[assignment]  # a strategy that samples nobody never asks it


def play(step: ServerStep, means=MEANS, start: int = 1, model=None) -> np.ndarray:
    model = np.zeros(4, np.float32) if model is None else model
    for number, mean in enumerate(means, start=start):
        proposed = model.copy()
        add_mean(proposed, mean, 1.0)
        model = step.apply(number, model, proposed, GRID)
    return model


def test_the_mean_is_added_in_double_precision_whatever_the_length():
    random = np.random.default_rng(0)
    for length in (0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3):
        model, total = random.normal(size=length).astype(np.float32), random.normal(size=length) * 1e-7
        wanted = (model.astype(np.float64) + total / 3.0).astype(np.float32)
        add_mean(model, total, 3.0)
        assert np.array_equal(model, wanted)


def test_fedavg_adds_the_mean():
    assert np.allclose(play(ServerStep(Server())), sum(MEANS), atol=1e-6)


def test_fedavgm_is_momentum_on_the_mean():
    momentum, model = np.zeros(4), np.zeros(4)
    for mean in MEANS:
        momentum = 0.9 * momentum + mean
        model = model + 0.5 * momentum
    options = {"server_momentum": 0.9, "server_learning_rate": 0.5}
    assert np.allclose(play(ServerStep(Server(strategy="FedAvgM", options=options))), model, atol=1e-6)


def test_fedadagrad_is_reddi_et_al_2021():
    model, second = np.zeros(4), np.zeros(4)
    for mean in MEANS:
        second = second + mean**2
        model = model + 0.1 * mean / (np.sqrt(second) + 0.01)
    options = {"eta": 0.1, "tau": 0.01}
    assert np.allclose(play(ServerStep(Server(strategy="FedAdagrad", options=options))), model, atol=1e-5)


@pytest.mark.parametrize("name", ["FedAvg", "FedAvgM", "FedAdam", "FedYogi", "FedAdagrad", "FedProx"])
def test_a_restored_step_goes_on_as_if_nothing_had_been(name):
    server = Server(strategy=name, options={"server_momentum": 0.9} if name == "FedAvgM" else {})
    whole = play(ServerStep(server))
    first = ServerStep(server)
    middle = play(first, MEANS[:1])
    second = ServerStep(server)
    second.restore(first.state())
    assert np.array_equal(play(second, MEANS[1:], start=2, model=middle), whole)


@pytest.mark.parametrize("name", ["Krum", "FedMedian", "FedTrimmedAvg", "Bulyan", "MultiKrum", "QFedAvg"])
def test_strategies_that_need_single_updates_are_refused(name):
    with pytest.raises(StudyError, match="never shows"):
        ServerStep(Server(strategy=name))


def test_a_wrong_name_or_option_tells_the_right_ones():
    with pytest.raises(StudyError, match="FedAdam"):
        ServerStep(Server(strategy="FedMagic"))
    with pytest.raises(StudyError, match="beta_1"):
        ServerStep(Server(strategy="FedAdam", options={"beta": 0.1}))


def test_a_model_that_blew_up_is_an_error_and_not_a_model():
    with pytest.raises(RunError, match="learning rate"):
        ServerStep(Server()).apply(1, np.zeros(2, np.float32), np.array([np.inf, 0.0]), GRID)
