"""The strategies that a study may name are Flower's own, with Flower's own options."""

from __future__ import annotations

import inspect

import pytest
from flwr.serverapp import strategy

from common.errors import StudyError
from common.strategies import SINGLE_UPDATES, STRATEGIES, options_of, require_strategy
from common.study import Server
from server.run.step import ServerStep


def of_flower() -> dict[str, type]:
    return {
        name: kind
        for name, kind in vars(strategy).items()
        if inspect.isclass(kind) and issubclass(kind, strategy.FedAvg) and not name.startswith("FedXgb")
    }


def test_each_of_flowers_strategies_is_in_one_of_the_tables() -> None:
    assert sorted(of_flower()) == sorted([*STRATEGIES, *SINGLE_UPDATES])


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_options_of_a_strategy_are_the_numbers_that_flower_takes(name: str) -> None:
    parameters = inspect.signature(of_flower()[name]).parameters.values()
    numbers = {one.name for one in parameters if isinstance(one.default, int | float)}
    assert {*options_of(name)} == numbers - {"fraction_train", "fraction_evaluate"}
    for option in options_of(name):
        server = Server(strategy=name, options={option: 0.5 if not option.startswith("min_") else 2})
        require_strategy(server)
        ServerStep(server)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (Server(strategy="FedMagic"), "FedMagic is none that there is"),
        (Server(strategy="FedAdan"), "Did you mean FedAdam"),
        (Server(strategy="Krum"), "has to see single sites"),
        (Server(strategy="FedAdam", options={"beta": 0.1}), "FedAdam has no beta; it takes eta"),
        (Server(options={"fraction_train": 1.0}), "FedAvg has no fraction_train"),
    ],
)
def test_what_cannot_be_is_refused_by_site_and_server_alike(server: Server, said: str) -> None:
    for refuses in (require_strategy, ServerStep):
        with pytest.raises(StudyError, match=said):
            refuses(server)
