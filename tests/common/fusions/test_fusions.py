"""Fusion: what each kind computes, and modality dropout."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common import fusions
from common.fusions import FUSIONS
from common.fusions.attention import AttentionFusion
from common.fusions.concat import ConcatFusion
from common.fusions.mean import MeanFusion
from common.fusions.product import ProductFusion
from common.fusions.weighted import WeightedFusion
from common.models.modality_dropout import drop_modalities
from common.study import Fusion
from tests.support.gradients import shake

PRESENT = torch.tensor([[True, True], [True, False], [False, True]])


def two_tokens() -> list[torch.Tensor]:
    """Modality 0 with two tokens, modality 1 with one; zeros where absent."""
    one = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]])
    other = torch.tensor([[[10.0, 20.0]], [[0.0, 0.0]], [[30.0, 40.0]]])
    return [one, other]


def test_mean_counts_modalities_and_not_tokens() -> None:
    assert MeanFusion()(two_tokens(), PRESENT).tolist() == [[6.0, 11.5], [6.0, 7.0], [30.0, 40.0]]


def test_weights_add_up_to_one_over_the_present() -> None:
    fusion = WeightedFusion(2)
    assert torch.allclose(fusion(two_tokens(), PRESENT), MeanFusion()(two_tokens(), PRESENT)), "equal at first"
    with torch.no_grad():
        fusion.scores.table.weight.copy_(torch.tensor([[50.0], [0.0]]))
    fused = fusion(two_tokens(), PRESENT)
    assert torch.allclose(fused, torch.tensor([[2.0, 3.0], [6.0, 7.0], [30.0, 40.0]]))


def test_weights_stay_finite_when_the_absent_has_by_far_the_largest() -> None:
    fusion = WeightedFusion(2)
    with torch.no_grad():
        fusion.scores.table.weight.copy_(torch.tensor([[1e6], [-1e6]]))
    assert torch.allclose(fusion(two_tokens(), PRESENT)[2], torch.tensor([30.0, 40.0]))


def test_product_is_bounded_and_the_absent_is_neutral() -> None:
    fused = ProductFusion()(two_tokens(), PRESENT)
    one, other = torch.tanh(torch.tensor([6.0, 7.0])), torch.tanh(torch.tensor([30.0, 40.0]))
    assert torch.allclose(fused[1], one)
    assert torch.allclose(fused[2], other)
    huge = [token * 1e6 for token in two_tokens()]
    assert (ProductFusion()(huge, PRESENT).abs() <= 3).all()


@given(
    rows=st.integers(0, 30),
    modalities=st.integers(1, 5),
    probability=st.floats(0, 0.99),
    seed=st.integers(0, 1000),
)
def test_dropout_only_hides_and_never_all(rows: int, modalities: int, probability: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    present = torch.rand(rows, modalities, generator=random) < 0.6
    kept = drop_modalities(present, probability, torch.rand(rows, modalities, generator=random))
    assert not (kept & ~present).any()
    assert torch.equal(kept.any(dim=1), present.any(dim=1))
    if probability == 0:
        assert torch.equal(kept, present)


def test_dropout_hides_as_often_as_it_says() -> None:
    present = torch.ones(20_000, 3, dtype=torch.bool)
    kept = drop_modalities(present, 0.25, torch.rand(20_000, 3, generator=torch.Generator().manual_seed(3)))
    # a row keeps all three with 0.75^3, and again when it would have lost them all
    assert abs(float(kept.all(dim=1).float().mean()) - (0.75**3 + 0.25**3)) < 0.012
    assert abs(float(kept[:, 1].float().mean()) - (0.75 + 0.25**3)) < 0.012


def test_dropout_of_one_row_does_not_hang_on_another() -> None:
    present, draws = torch.ones(6, 3, dtype=torch.bool), torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
    kept = drop_modalities(present, 0.7, draws)
    assert torch.equal(kept[2:4], drop_modalities(present[2:4], 0.7, draws[2:4]))


@pytest.mark.parametrize("absent", [0, 1])
def test_concat_learns_what_stands_for_the_absent(absent: int) -> None:
    fusion = shake(ConcatFusion([2, 1], 2))
    present = torch.ones(1, 2, dtype=torch.bool)
    present[0, absent] = False
    fusion([torch.ones(1, 2, 2), torch.ones(1, 1, 2)], present).sum().backward()
    reached = fusion.missing.table.weight.grad.abs().sum(dim=1) > 0
    assert reached.tolist() == ([True, True, False] if absent == 0 else [False, False, True])


def test_concat_leaves_the_present_as_it_is() -> None:
    fusion = shake(ConcatFusion([2, 1], 2))
    everything = torch.ones(1, 2, dtype=torch.bool)
    before = fusion([torch.ones(1, 2, 2), torch.ones(1, 1, 2)], everything)
    shake(fusion.missing)
    assert torch.equal(fusion([torch.ones(1, 2, 2), torch.ones(1, 1, 2)], everything), before)


def test_attention_does_not_look_at_the_place_of_the_absent() -> None:
    """Not even at the vector that says which modality would stand there: absent is as if it were not in the study."""
    torch.manual_seed(0)
    fusion = shake(AttentionFusion([2, 1], 4, heads=2, layers=2))
    tokens = [torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 1, 4)]
    present = torch.tensor([[True, False], [True, True]])
    before = fusion(tokens, present)
    with torch.no_grad():
        fusion.kind.table.weight[1] += torch.tensor([3.0, -3.0, 1.0, 0.0])  # not a constant: a norm would take it off
    after = fusion(tokens, present)
    assert torch.allclose(after[0], before[0], atol=1e-6)
    assert not torch.allclose(after[1], before[1], atol=1e-2)


def test_every_fusion_of_a_study_is_in_the_table_and_every_file_is_one() -> None:
    """A kind that study.yaml may name and that nobody can build would end a run that all hospitals approved."""
    assert {*FUSIONS} == {*get_args(get_type_hints(Fusion)["kind"])}
    files = {path.stem for path in Path(fusions.__file__).parent.glob("*.py")} - {"__init__", "tokens"}
    assert files == {*FUSIONS}
