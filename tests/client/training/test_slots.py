"""Several patients in one call: what is computed of one is, bit for bit, the same whoever the others are.

Proven for what a study can build of this project's own modules; all else is looped over, which is tested too. The long
version is in the soak.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from client.training.clipped_sum import LoopClipper, choose_backend, clipped_sum, clipper
from client.training.gradient import NoisyGradient
from client.training.slots import ROWS, SHOWN, SLOTS, SlotClipper, calls, in_places, slots_serve
from client.training.subnormal import flushed_to_zero
from common.errors import PrivacyError
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network
from common.privacy.mechanism import places
from common.scores import loss_rows
from common.study import Study
from tests.support.neighbours import NEIGHBOURS, WEIGHTS, others, weigh
from tests.support.switching import patients, switches, switching_study, turning_gradients
from tests.support.tied import PLAN, Draws, clipped_step
from tests.support.tiny import MODALITIES, cases_of, study_of

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
RARE = 1e-6
BACKBONE = "squeezenet1_1"
THREE = {"kind": "multiclass", "classes": ["a", "b", "c"]}
FUSIONS = ("mean", "weighted", "product", "concat", "attention")


def changed(name: str, **encoder: Any) -> dict[str, Any]:
    return {name: MODALITIES[name] | {"encoder": MODALITIES[name].get("encoder", {}) | encoder}}


def larger(**more: Any) -> Study:
    """Of the sizes that real studies have: other kernels serve these."""
    chart, panel = changed("chart", hidden=[64]), changed("panel", hidden=[64], tokens=2)
    scan = {"scan": MODALITIES["scan"] | {"size": 32, "slices": 3, "encoder": {"backbone": "small_cnn", "channels": 8}}}
    letter = changed("letter", vocabulary=256, width=32, layers=1, heads=4)
    letter["letter"] |= {"max_tokens": 24}
    return study_of(modalities={**scan, **chart, **letter, **panel}, **more)


def surprising(network: MultimodalNetwork, study: Study, seed: int) -> Batch:
    """A patient whose class the network thinks least of: for others such weights often leave no gradient at all."""
    patient = cases_of(study, 1, seed=seed, missing=0.2)
    with torch.no_grad():
        logits = network(patient.inputs, patient.present)
    least = (logits[:, 0] < 0).long() if study.task.kind == "binary" else logits.argmin(dim=1)
    return Batch(patient.inputs, patient.present, least)


STUDIES: dict[str, Study] = {
    **{f"all-{kind}": study_of(fusion={"kind": kind, "width": 8}) for kind in FUSIONS},
    **{name: study_of(name) for name in MODALITIES},
    "head": study_of(fusion={"kind": "attention", "width": 8, "hidden": 6, "layers": 2}, task=THREE),
    "bag of words": study_of(modalities=changed("letter", layers=0), task=THREE),
    "bytes": study_of(modalities=changed("letter", tokenizer="byte", layers=2)),
    "frozen note": study_of(modalities={**changed("letter", train="none"), "chart": MODALITIES["chart"]}),
    "logistic regression": study_of(modalities=changed("chart", hidden=[])),
    "deep sequence": switching_study(),
    "larger-concat": larger(fusion={"kind": "concat", "width": 32}, task=THREE),
    "larger-attention": larger(fusion={"kind": "attention", "width": 32, "layers": 2}),
}


def made(study: Study, network: MultimodalNetwork) -> SlotClipper:
    return SlotClipper(network, partial(loss_rows, study))


def gradient(clip: SlotClipper, patient: Batch, place: int, beside: Batch, where: list[int]) -> Tensor:
    """The patient's, at this place, with these others at theirs."""
    batch = Batch.join([patient, beside])
    return clip.of_each_place(in_places(batch, {place: 0} | {at: row for row, at in enumerate(where, start=1)}))[place]


def assert_same_bits(one: Tensor, other: Tensor) -> None:
    """Of what counts: a gradient that is not finite counts as nobody's, whichever of its numbers are not."""
    finite = [bool(torch.isfinite(each).all()) for each in (one, other)]
    assert finite[0] == finite[1]
    if finite[0]:
        assert torch.equal(one.view(torch.int32), other.view(torch.int32))


def assert_alone(study: Study, weights: str, seed: int, trials: int, kinds: int = len(NEIGHBOURS)) -> None:
    """One patient, in some place, alone, beside others of `kinds` kinds, and beside others of all kinds at once."""
    network, random = build_network(study), np.random.default_rng(seed)
    weigh(network, weights, seed)
    chosen = [list(NEIGHBOURS)[(seed + turn) % len(NEIGHBOURS)] for turn in range(kinds)]
    with closing(made(study, network)) as clip, flushed_to_zero():
        for trial in range(trials):
            patient, place = surprising(network, study, 1000 * seed + trial), int(random.integers(SLOTS))
            alone = gradient(clip, patient, place, cases_of(study, 0), [])
            crowd = Batch.join([others(study, 10, kind, seed + trial) for kind in NEIGHBOURS])
            for beside in (crowd, *(others(study, int(random.integers(1, SLOTS)), kind, seed) for kind in chosen)):
                where = random.permutation([at for at in range(SLOTS) if at != place])[: len(beside)].tolist()
                assert_same_bits(gradient(clip, patient, place, beside, where), alone)


@pytest.mark.parametrize("name", STUDIES)
def test_a_patients_gradient_is_the_same_bits_whoever_the_others_are(name: str) -> None:
    """For weights as training makes them, and for such as only a hostile coordinator would send."""
    for seed, weights in enumerate(("honest", "large", "huge", "cancelling")):
        assert_alone(STUDIES[name], weights, seed, trials=1, kinds=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [10])
@pytest.mark.parametrize("name", STUDIES)
def test_a_patients_gradient_is_the_same_bits_whoever_the_others_are_many_times(name: str, seed: int) -> None:
    for number, weights in enumerate(WEIGHTS):
        assert_alone(STUDIES[name], weights, seed + number, trials=2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_so_it_is_for_networks_of_any_size_that_slots_serve(seed: int) -> None:
    study = any_study(seed)
    if not slots_serve(build_network(study), cases_of(study, 0)):
        pytest.skip("too large: looped over")
    for number, weights in enumerate(WEIGHTS):
        assert_alone(study, weights, 100 + 10 * seed + number, trials=1)


def any_study(seed: int) -> Study:
    """One of many widths, depths, lengths and fusions."""
    random = np.random.default_rng(seed)

    def one_of(*values: Any) -> Any:
        return values[int(random.integers(len(values)))]

    scan = {"kind": "image", "size": one_of(8, 15, 24, 32), "slices": one_of(1, 2, 3)}
    letter = changed("letter", vocabulary=one_of(32, 300), width=one_of(8, 24), layers=one_of(0, 1, 2), heads=2)
    letter["letter"] |= {"max_tokens": one_of(5, 16, 33)}
    genes = {"kind": "sequence", "genes": [f"g{number}" for number in range(one_of(1, 7, 100, 300))]}
    modalities = {
        "scan": scan | {"encoder": {"backbone": "small_cnn", "channels": one_of(2, 5, 8)}},
        **changed("chart", hidden=one_of([], [17], [64, 64])),
        **letter,
        "panel": genes | {"encoder": {"hidden": one_of([], [33], [64]), "tokens": one_of(1, 3)}},
    }
    for name in random.permutation(list(modalities))[: one_of(0, 1, 2, 3)]:
        del modalities[str(name)]
    fusion = {"kind": one_of(*FUSIONS), "width": one_of(4, 10, 32), "hidden": one_of(0, 12)}
    return study_of(modalities=modalities, fusion=fusion)


def given(clip: SlotClipper, batch: Batch, own: list[int]) -> list[bytes]:
    """What the patients give to the sum, bit for bit, each at this place; in the order in which they give it."""
    return [gradient.numpy().tobytes() for taken in calls(own) for gradient in clip._of_each_patient(batch, taken)]


@pytest.mark.parametrize("name", STUDIES)
def test_a_patient_gives_the_same_bits_among_1_to_300_others(name: str) -> None:
    """In as many calls as these take, in any of which he may be."""
    study = STUDIES[name]
    network = build_network(study)
    weigh(network, "large", 0)
    everyone = Batch.join([surprising(network, study, 1), cases_of(study, 300, seed=2)])
    own = np.random.default_rng(3).integers(SLOTS, size=len(everyone)).tolist()
    with closing(made(study, network)) as clip, flushed_to_zero():
        (alone,) = given(clip, everyone.rows([0]), own[:1])
        for others_there in (1, 20, 300):
            first = [*range(1, 1 + others_there), 0]  # the others come first, and he where they left his place
            assert alone in given(clip, everyone.rows(first), [own[row] for row in first])


def test_weights_that_switch_by_the_number_of_rows_find_nothing_to_switch_by() -> None:
    """And they do work on what is not slots: the same patient in batches of other numbers of rows."""
    study, moved = switching_study(), False
    for switch in list({switch.rows: switch for switch in switches(0)}.values()):
        network, batch = turning_gradients(study, switch), patients(study, switch.rows + 1)
        with closing(made(study, network)) as clip, flushed_to_zero():
            alone = gradient(clip, batch.rows([0]), 5, batch.rows([]), [])
            where = [at for at in range(SLOTS) if at != 5]
            for count in range(1, len(batch)):
                beside = batch.rows(range(1, 1 + count))
                assert torch.equal(gradient(clip, batch.rows([0]), 5, beside, where[:count]), alone)
            found = [
                torch.cat([part[0].reshape(-1) for part in clip._gradients.of(batch.rows(range(count)))])
                for count in range(1, len(batch) + 1)
            ]
        moved |= any(not torch.equal(one, found[0]) for one in found)
    assert moved, "this machine's kernels serve every number of rows alike: the test above proves little here"


# ---------------------------------------------------------------------------------- places, and what stands in them


class Seen(nn.Module):
    """Keeps what it is shown; its only number is one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2 * len(MODALITIES["panel"]["genes"]), 1)
        self.batches: list[tuple[Tensor, Tensor]] = []

    def forward(self, inputs: dict[str, Tensor], present: Tensor) -> Tensor:
        self.batches.append((inputs["panel"].clone(), present.clone()))
        out: Tensor = self.one(inputs["panel"].flatten(1))
        return out


PANEL = study_of("panel")


def named(count: int) -> Batch:
    """Patients who can be told apart: the first number of each is 10, 11, 12, ..."""
    batch = cases_of(PANEL, count, missing=0.0)
    batch.inputs["panel"][:, 0, 0] = torch.arange(count) + 10.0
    return batch


def seen_in(count: int, times: int = 1) -> list[list[tuple[Tensor, Tensor]]]:
    """The batches of each of `times` sums over `count` patients."""
    network, batch, found = Seen(), named(count), []
    with closing(SlotClipper(network, partial(loss_rows, PANEL))) as clip:
        for _ in range(times):
            network.batches = []
            clip.sum(batch, 1.0)
            found.append(network.batches)
    return found


@pytest.mark.parametrize("count", [1, 2, SLOTS - 1, SLOTS, SLOTS + 1, 200])
def test_the_network_sees_the_same_number_of_rows_and_each_patient_once(count: int) -> None:
    (batches,) = seen_in(count)
    names = []
    for values, present in batches:
        assert len(values) == len(present) == ROWS == SLOTS + 2
        assert not present[SLOTS].any() and not values[SLOTS].any()
        assert present[SLOTS + 1].all() and (values[SLOTS + 1] == 1).all()
        here = values[:, 0, 0] >= 10
        assert not values[:SLOTS][~here[:SLOTS]].any() and not present[:SLOTS][~here[:SLOTS]].any()
        names += values[here, 0, 0].tolist()
    assert sorted(names) == [10.0 + number for number in range(count)]


def test_each_patients_place_is_drawn_by_itself_whoever_else_is_there() -> None:
    """All places are as likely, for the first, the middle and the last patient; and two share one as often as chance
    has it: places that were dealt out together never would, and would tell how many there are."""
    times = 200
    for count in (3, 5):
        where = np.full((times, count), -1)
        for time, batches in enumerate(seen_in(count, times)):
            for values, _ in batches:
                for place in (values[:SLOTS, 0, 0] >= 10).nonzero().reshape(-1).tolist():
                    where[time, int(values[place, 0, 0]) - 10] = place
        assert where.min() >= 0
        for column in where.T:
            expected = times / SLOTS
            deviation = float(((np.bincount(column, minlength=SLOTS) - expected) ** 2).sum() / expected)
            assert deviation < stats.chi2.isf(RARE, SLOTS - 1)
        pairs = [(where[:, i] == where[:, j]).sum() for i in range(count) for j in range(i)]
        drawn = stats.binom(times * len(pairs), 1 / SLOTS)
        assert drawn.ppf(RARE) <= sum(pairs) <= drawn.isf(RARE) and sum(pairs) > 0


def test_a_place_is_a_byte_of_the_operating_systems() -> None:
    with patch("os.urandom", lambda count: bytes(range(count))):
        assert places(70, 64).tolist() == [*range(64), *range(6)]
    assert places(0, 64).size == 0
    for among in (0, 3, 63, 512):
        with pytest.raises(PrivacyError):
            places(1, among)


def test_who_finds_a_place_taken_has_it_in_a_further_call() -> None:
    assert list(calls([3, 5, 3, 3, 5])) == [{3: 0, 5: 1}, {3: 2, 5: 4}, {3: 3}]
    assert list(calls([])) == []


# ----------------------------------------------------------------------------------------------- one who makes it raise

WRONG = {"letter": 10_000, "head": -1}  # a token out of range, and a class


def with_one_wrong(study: Study, count: int, wrong: int, where: str) -> Batch:
    batch = cases_of(study, count, missing=0.0)
    batch.inputs.get(where, batch.target)[wrong] = WRONG[where]
    return batch


@pytest.mark.parametrize(("name", "where"), [("all-attention", "letter"), ("bag of words", "letter"), ("head", "head")])
@pytest.mark.parametrize("place", [7, 11, 40])
def test_who_makes_a_call_raise_is_nobody_and_the_others_give_the_same_bits(name: str, where: str, place: int) -> None:
    """Also who has the same place, in the call after his; and a call without him is not made again."""
    study, told, wrong = STUDIES[name], list[Exception](), 2
    network = build_network(study)
    weigh(network, "large", 0)
    batch, own = with_one_wrong(study, 6, wrong, where), [3, 11, place, 0, 40, 63]
    rest = [row for row in range(6) if row != wrong]
    with closing(SlotClipper(network, partial(loss_rows, study), told.append)) as clip, flushed_to_zero():
        found = given(clip, batch, own)
        assert len(told) == 1
        expected = given(clip, batch.rows(rest), [own[row] for row in rest])
        assert len(told) == 1 and sorted(found) == sorted(expected) and len(set(found)) == 5
        with patch("client.training.slots.places", lambda rows, among: np.array([3, 11, 7, 0, 40, 63])):
            whole = clip.sum(batch, 0.5)
        with patch("client.training.slots.places", lambda rows, among: np.array([own[row] for row in rest])):
            assert torch.equal(whole, clip.sum(batch.rows(rest), 0.5)) and whole.any()


def test_a_private_step_counts_who_makes_it_raise_as_nobody_and_the_others_as_ever() -> None:
    """The whole step, sample and modality dropout with it, with everybody's own draws, among many."""
    study, told = study_of(fusion={"kind": "attention", "width": 8, "modality_dropout": 0.3}), list[Exception]()
    network, everyone = build_network(study), with_one_wrong(STUDIES["all-attention"], 30, 4, "letter")
    rest, draws = [row for row in range(30) if row != 4], Draws(30, seed=1)
    with_him = clipped_step(network, everyone, range(30), study, draws, failed=told.append)
    assert len(told) == 1, "he is in the sample"
    without = clipped_step(network, everyone, rest, study, draws, failed=told.append)
    assert len(told) == 1 and np.abs(with_him - without).max() <= 1e-6 < np.linalg.norm(without)


@pytest.mark.parametrize("name", ["all-attention", "larger-concat", "deep sequence", "chart", "scan"])
def test_who_is_not_finite_is_nobody_at_no_further_call_and_the_others_give_the_same_bits(name: str) -> None:
    """Weights can be made that make one patient so: a further call for him would tell of him by the time it takes."""
    study, made_calls = STUDIES[name], list[Batch]()
    network = build_network(study)
    weigh(network, "large", 0)
    rest, own = cases_of(study, 5, missing=0.0), [9, 3, 11, 0, 40, 63]
    batch = Batch.join([others(study, 1, "no numbers", 0), rest])
    with closing(made(study, network)) as clip, flushed_to_zero():
        of_each = clip.of_each_place
        with patch.object(clip, "of_each_place", lambda rows: (made_calls.append(rows), of_each(rows))[1]):
            wrong, *found = given(clip, batch, own)
        assert len(made_calls) == 1 and not np.isfinite(np.frombuffer(wrong, dtype=np.float32)).all()
        assert found == given(clip, rest, own[1:]) and len(set(found)) > 2
        sums = []
        for rows, places_of in ((batch, own), (rest, own[1:])):
            with patch("client.training.slots.places", lambda count, among, drawn=places_of: np.array(drawn)):
                sums.append(clip.sum(rows, 0.5))
        assert torch.equal(*sums) and sums[0].any()


def test_without_privacys_listener_what_is_raised_stays_raised() -> None:
    study = STUDIES["bag of words"]
    network, batch = build_network(study), with_one_wrong(study, 3, 1, "letter")
    with pytest.raises(IndexError):
        clipped_sum(network, batch, partial(loss_rows, study), 0.5, "slots")


def test_a_network_that_fails_for_rows_that_are_nobodys_is_looped_over_and_no_patient_is_told_of() -> None:
    study, told = STUDIES["panel"], list[Exception]()
    with patch.object(SlotClipper, "of_each_place", _raise):
        made_for = clipper(
            build_network(study), partial(loss_rows, study), "slots", cases_of(study, 3), failed=told.append
        )
    assert isinstance(made_for, LoopClipper) and not told


def _raise(*_: Any) -> Any:
    raise ValueError


# ------------------------------------------------------------------------------------------------- when, and what sum


def test_slots_are_for_modules_that_the_tests_above_have_and_no_other() -> None:
    networks = [build_network(study) for study in STUDIES.values()]
    kinds = {type(module) for network in networks for module in network.modules()}
    assert {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds} == SHOWN
    for other in (nn.Tanh(), nn.LSTM(2, 2), nn.Conv1d(2, 2, 1), nn.InstanceNorm2d(2), nn.Dropout(0.1), nn.GRU(2, 2)):
        assert not slots_serve(nn.Sequential(nn.Linear(2, 2), other))
    assert slots_serve(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.0)))


@pytest.mark.parametrize("name", STUDIES)
def test_slots_give_the_loops_sum(name: str) -> None:
    study = STUDIES[name]
    network, batch = build_network(study), cases_of(study, 5)
    weigh(network, "honest", 0)
    expected = clipped_sum(network, batch, partial(loss_rows, study), 0.5, "loop")[0]
    found = clipped_sum(network, batch, partial(loss_rows, study), 0.5, "slots")[0]
    assert float(expected.norm()) > 0.01
    assert float((found - expected).norm()) <= 1e-4 * float(expected.norm())


def test_auto_is_slots_for_small_networks_of_our_own_and_else_the_loop() -> None:
    backbone = study_of(modalities={"scan": MODALITIES["scan"] | {"size": 32, "encoder": {"backbone": BACKBONE}}})
    wide, dear = (
        study_of(modalities=changed("panel", hidden=[400, 400])),
        study_of(
            modalities={"scan": MODALITIES["scan"] | {"size": 64, "encoder": {"backbone": "small_cnn", "channels": 16}}}
        ),
    )
    for study in STUDIES.values():
        assert choose_backend(build_network(study), "auto") == "slots"
    for study in (wide, dear, backbone):
        network = build_network(study)
        assert choose_backend(network, "auto", cases_of(study, 0)) == "loop"
    assert choose_backend(build_network(dear), "auto") == "slots"  # few numbers, many multiplications
    assert choose_backend(nn.Linear(2, 2).to("meta"), "auto") == "loop"
    assert choose_backend(build_network(STUDIES["panel"]), "loop") == "loop"


def test_what_is_not_of_our_own_is_not_for_slots_however_small() -> None:
    assert not slots_serve(nn.Sequential(nn.Linear(2, 2), Seen()))
    assert slots_serve(nn.Sequential(nn.Linear(2, 2)))


def test_auto_takes_slots_where_they_agree_with_the_loop_and_the_loop_where_not() -> None:
    study = STUDIES["panel"]
    network = build_network(study)
    source = NoisyGradient(network, cases_of(study, 3), study, PLAN, "auto")
    assert isinstance(source._clipper, SlotClipper)
    source.close()
    with patch.object(SlotClipper, "of_each_place", lambda self, rows: torch.ones(ROWS, 1)):
        made_for = clipper(network, partial(loss_rows, study), "slots", cases_of(study, 3))
    assert isinstance(made_for, LoopClipper)


def test_nobody_gives_zeros_and_nothing_stays_on_the_network() -> None:
    study = STUDIES["all-attention"]
    network = build_network(study)
    found = clipped_sum(network, cases_of(study, 0), partial(loss_rows, study), 1.0, "slots")[0]
    assert found.shape == (sum(parameter.numel() for parameter in network.parameters()),) and not found.any()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())


def test_a_patient_whose_gradient_is_not_finite_counts_as_nobody() -> None:
    study = STUDIES["panel"]
    network, batch = build_network(study), cases_of(study, 5, missing=0.0)
    batch.inputs["panel"][2] = float("nan")
    loss = partial(loss_rows, study)
    found = clipped_sum(network, batch, loss, 0.5, "slots")[0]
    rest = clipped_sum(network, batch.rows([0, 1, 3, 4]), loss, 0.5, "loop")[0]
    assert torch.isfinite(found).all() and float((found - rest).norm()) <= 1e-5 * float(rest.norm())
