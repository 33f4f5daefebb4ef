"""With privacy subnormal numbers count as zero, in the thread that works: no patient takes longer for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from client.training import evaluate as evaluating
from client.training import local
from client.training.subnormal import flushed_to_zero, is_flushing
from common.models.network import build_network
from common.privacy.plan import PrivacyPlan
from tests.support.switching import switching_study
from tests.support.tiny import cases_of

torch.set_num_threads(1)
LOCAL = {"mode": "local", "epsilon": 3.0, "sample_rate": 0.5, "expected_batch_size": 4}
PRIVATE, PLAIN = switching_study(privacy=LOCAL), switching_study()
PLAN = PrivacyPlan(1.0, 0.5, 4.0, 1.0, 4, 1.0, 1.0, 1e-5, 8.0)
supported = pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot flush subnormals")


@supported
def test_the_context_holds_for_its_thread_and_is_put_back() -> None:
    def in_another_thread() -> bool:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(is_flushing).result()

    already_there = ThreadPoolExecutor(1)
    assert not already_there.submit(is_flushing).result()
    with flushed_to_zero() as can:
        assert can and is_flushing()
        assert not already_there.submit(is_flushing).result()  # the setting is a thread's own: so work stays in one
        assert torch.get_num_threads() == 1
        with flushed_to_zero():
            pass
        assert is_flushing()
    assert not is_flushing() and not in_another_thread()
    already_there.shutdown()


@supported
@pytest.mark.parametrize(("study", "flushed"), [(PRIVATE, True), (PLAIN, False)], ids=["local", "none"])
def test_training_and_scoring_flush_where_there_is_privacy(study, flushed, monkeypatch) -> None:
    seen = []
    network, plan = build_network(study), PLAN if flushed else None
    network.register_forward_hook(lambda *_: seen.append(is_flushing()))
    for parameter in network.parameters():
        parameter.register_hook(lambda gradient: seen.append(is_flushing()))  # the backward pass is in this thread too
    local.train_locally(network, cases_of(study, 6), study, 1, plan, site="ashford")
    after_training = len(seen)
    evaluating.evaluate(network, cases_of(study, 6), study)
    assert after_training and len(seen) > after_training
    assert set(seen) == {flushed}
    assert not is_flushing()
