"""Evidence as a file: exact there and back, strict for other readers, and never more than may be shown."""

import json
import math
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import PrivacyError, RunError
from common.study import parse_study
from server.report.evidence import (
    Comparison,
    Coverage,
    Evidence,
    RoundEvidence,
    from_json,
    read_evidence,
    switched_off,
    to_json,
)
from tests.support.evidence import STUDY, comparison, coverage, deployed, evidence

numbers = st.floats() | st.integers(-(10**6), 10**6).map(float)
texts = st.text(max_size=12)
named = st.dictionaries(texts, numbers, max_size=3)
cells = st.dictionaries(texts, numbers | st.sampled_from(["<5", "withheld"]), max_size=3)
whole = st.integers(0, 2**70)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=5,
)
rounds = st.builds(
    RoundEvidence,
    round=whole,
    sites=whole,
    dropped=whole,
    drop_reasons=st.dictionaries(texts, whole, max_size=2),
    seconds=numbers,
    bytes_up=whole,
    bytes_down=whole,
    steps=whole,
    epsilon=st.none() | numbers,
    held_out_epsilon=st.none() | numbers,
    metrics=st.none() | named,
)
kinds = st.sampled_from(["federated", "pooled", "alone", "single_modality", "federated_non_private"])
any_evidence = st.builds(
    Evidence,
    study=st.dictionaries(texts, plain, max_size=3),
    study_digest=texts,
    run=texts,
    started=texts,
    finished=st.none() | texts,
    simulated=st.just(True),
    sites=whole,
    selected_round=st.none() | whole,
    rounds=st.lists(rounds, max_size=3).map(tuple),
    coverage=st.lists(st.builds(Coverage, st.none() | texts, cells, cells, cells), max_size=2).map(tuple),
    comparisons=st.lists(
        st.builds(Comparison, texts, kinds, named, st.none() | st.tuples(numbers, numbers), texts), max_size=3
    ).map(tuple),
    warnings=st.lists(texts, max_size=2).map(tuple),
    software=st.dictionaries(texts, texts, max_size=2),
    threshold=st.none() | whole,
)


def same(one, other) -> bool:
    """Equal, with nan equal to nan, types and order of keys included."""
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and (one == other or (math.isnan(one) and math.isnan(other)))
    return type(one) is type(other) and one == other


@settings(max_examples=80, deadline=None)
@given(any_evidence)
def test_evidence_survives_json_exactly(whole):
    assert same(from_json(to_json(whole)), whole)


@settings(max_examples=30, deadline=None)
@given(any_evidence)
def test_the_json_is_strict(whole):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    json.loads(to_json(whole), parse_constant=refuse)


def test_a_run_that_is_written_reads_back_from_its_file(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(to_json(evidence()), encoding="utf-8")
    assert same(read_evidence(path), evidence())


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda tree: tree.pop("rounds"), "rounds"),
        (lambda tree: tree.update(rondes=[]), "rondes"),
        (lambda tree: tree["rounds"][3].update(epsilon="many"), "rounds.3.epsilon"),
        (lambda tree: tree["rounds"][0].update(site="ashford"), "rounds.0.site"),
        (lambda tree: tree["comparisons"][0].update(kind="best"), "comparisons.0.kind"),
        (lambda tree: tree.update(sites=None), "sites"),
    ],
)
def test_a_file_that_is_no_report_is_refused_by_key(spoil, named):
    tree = json.loads(to_json(evidence()))
    spoil(tree)
    with pytest.raises(RunError) as refusal:
        from_json(json.dumps(tree), "here.json")
    assert str(refusal.value).startswith("here.json: ") and named in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"nan"', "\x00"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(RunError):
        from_json(text)


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path):
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.json", "latin.json", "."):
        with pytest.raises(RunError, match="cannot be read"):
            read_evidence(tmp_path / name)


def test_the_file_does_not_quote_a_wrong_value_back():
    tree = json.loads(to_json(evidence()))
    tree["rounds"][0]["epsilon"] = "Mrs Miller"
    with pytest.raises(RunError) as refusal:
        from_json(json.dumps(tree))
    assert "Miller" not in str(refusal.value) and refusal.value.__cause__ is None


class TestDeployed:
    """What a coordinator of real hospitals cannot even hold, let alone write."""

    def test_coverage_of_one_site_is_refused(self):
        with pytest.raises(PrivacyError, match="sums only"):
            deployed(coverage=(coverage("ashford", (420, 60, 120), (590, 600, 571, 588), 150),))

    def test_one_site_hidden_among_sums_is_refused(self):
        with pytest.raises(PrivacyError, match="sums only"):
            deployed(coverage=evidence().coverage)

    def test_a_site_alone_is_refused(self):
        with pytest.raises(PrivacyError, match="alone"):
            deployed(comparisons=(comparison("somewhere", "alone", 0.8),))

    def test_a_simulation_cannot_be_relabelled(self):
        with pytest.raises(PrivacyError):
            replace(evidence(), simulated=False)

    def test_nor_can_its_file(self):
        tree = json.loads(to_json(evidence()))
        tree["simulated"] = False
        with pytest.raises(PrivacyError):
            from_json(json.dumps(tree))

    def test_sums_pass(self):
        assert deployed().coverage[0].site is None


class TestSwitchedOff:
    """Every protection that is left out is said in words that a steward understands."""

    @staticmethod
    def study(**parts):
        whole = parse_study(STUDY)
        return replace(whole, **{name: replace(getattr(whole, name), **change) for name, change in parts.items()})

    def test_a_study_with_everything_on_has_nothing_to_say(self):
        assert switched_off(self.study(secure_sum={"threshold": 5})) == []

    def test_no_privacy_is_loud(self):
        (line,) = switched_off(self.study(privacy={"mode": "none"}))
        assert line.startswith("This model was trained WITHOUT differential privacy: ")

    def test_no_secure_sum_is_loud(self):
        (line,) = switched_off(self.study(secure_sum={"enabled": False}))
        assert "secure sum was OFF" in line and "each site" in line

    def test_all_off_is_all_said(self):
        assert len(switched_off(self.study(privacy={"mode": "none"}, secure_sum={"enabled": False}))) == 2

    @pytest.mark.parametrize(("epsilon", "said"), [(1.0, False), (10.0, False), (10.5, True), (1e6, True)])
    def test_a_large_epsilon_is_said_with_its_value(self, epsilon, said):
        lines = switched_off(self.study(privacy={"epsilon": epsilon}))
        assert any(f"epsilon {epsilon:g}" in line for line in lines) is said

    @pytest.mark.parametrize(("delta", "said"), [(1e-6, False), (1e-4, False), (1e-3, True)])
    def test_a_large_delta_is_said(self, delta, said):
        assert any("Delta" in line for line in switched_off(self.study(privacy={"delta": delta}))) is said

    @pytest.mark.parametrize(
        ("threshold", "colluding", "said"), [(3, 1, True), (4, 1, False), (4, 2, True), (6, 2, False), (None, 1, False)]
    )
    def test_a_threshold_that_hides_a_site_among_two_is_said(self, threshold, colluding, said):
        lines = switched_off(self.study(secure_sum={"colluding": colluding}), threshold)
        assert any("hidden among" in line for line in lines) is said

    def test_a_study_that_does_not_say_is_taken_as_unprotected(self):
        assert len(switched_off({})) == 2
        assert len(switched_off({"privacy": None, "secure_sum": "yes"})) == 2

    def test_the_plain_form_and_the_study_say_the_same(self):
        assert switched_off(evidence().study, 3) == switched_off(parse_study(STUDY), 3)


def test_the_report_needs_neither_flower_nor_torch_nor_matplotlib():
    code = (
        "import sys, server.report.page; "
        "print([name for name in ('flwr', 'torch', 'matplotlib', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
