"""What a report says of counts under the known noise of privacy is true of them."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from common.scores import metrics as metrics_of
from common.scores import score_segments
from common.study import Privacy
from server.report.counts import ends_of, half_of, written_count
from server.report.coverage import coverage_table
from server.report.evidence import Coverage, from_json, to_json
from server.report.page import render
from server.report.release import released
from server.run import run_folder
from server.run.outcome import Outcome
from server.run.round_line import line
from tests.support.evidence import comparison, deployed, evidence, metrics, round_of
from tests.support.reading import read_page
from tests.support.tiny import study_of

CASES, PRESENT, CLASSES = (65.0, 19.0, 28.0), (91.0, 80.0), (35.0, 30.0)


def summed(cases=CASES, present=PRESENT, classes=CLASSES, noise=0.0) -> Coverage:
    return Coverage(
        None,
        dict(zip(("train", "validation", "test"), cases, strict=True)),
        dict(zip(("scan", "note"), present, strict=True)),
        dict(zip(("stable", "deteriorated"), classes, strict=True)),
        noise,
    )


def row_of(coverage: Coverage, make=deployed) -> str:
    """The line of all sites, as a reader has it."""
    page = render(released(make(coverage=(coverage,))))
    words = re.sub(r"[\s\u202f]+", " ", read_page(page).text)
    found = re.search(r"All sites (.*?) What crossed the wire", words)
    assert found
    return found[1]


@pytest.mark.parametrize("make", [deployed, evidence])
def test_a_noisy_count_is_no_fact(make) -> None:
    """It was "validation −49", "stable none", "note 116 % 168", "test <5" of 28 patients."""
    shown = row_of(summed((95.0, -49.0, 3.0), (168.0, 6.0), (-3.0, 93.0), noise=50.0), make)
    assert not re.search(r"none|−|<5|withheld|(?!100)[1-9][0-9][0-9] %", shown), shown
    assert "0 to 49" in shown and "0 to 101" in shown and "70 to 219" in shown
    assert "hidden by the noise" in row_of(summed((95.0, -110.0, 60.0), noise=50.0), make)


def test_a_count_that_noise_leaves_within_a_tenth_is_a_number() -> None:
    many = summed((6500.0, 1900.0, 2800.0), (9100.0, 300.0), (3500.0, 3000.0), noise=20.0)
    assert row_of(many) == "6 500 1 900 2 800 81 % 9 100 2 to 3 % 260 to 340 54 % 3 500 46 % 3 000"
    assert "Counts are given to the nearest 5" not in render(deployed(coverage=(many,)))


def test_without_known_noise_all_is_as_it_was() -> None:
    """A study without privacy; and a report of 0.1, which kept no noise."""
    assert row_of(summed((65.0, 19.0, 28.0)), evidence) == "65 19 28 81 % 91 71 % 80 54 % 35 46 % 30"
    assert row_of(summed((65.0, 19.0, 28.0))) == "65 20 30 78 % 90 70 % 80 54 % 35 46 % 30"
    assert row_of(summed((65.0, 19.0, 3.0), (168.0, 2.0), (-3.0, 93.0))) == "withheld 20 <5 withheld <5 <5 95"
    assert "Counts are given to the nearest 5" in render(deployed(coverage=(summed(),)))
    old = to_json(deployed(coverage=(summed(),))).replace(',\n   "noise": 0.0', "")
    assert '"noise"' not in old and from_json(old).coverage == (summed(),)


def test_little_noise_hides_no_small_cell() -> None:
    shown = row_of(summed((650.0, 190.0, 3.0), noise=0.5))
    assert "<5" in shown and "withheld" in shown


def test_the_written_intervals_hold_the_true_counts_and_shares() -> None:
    """In 19 of 20 draws, whatever the count; and none is outside what a count can be."""
    random, sd, times = np.random.default_rng(0), 12.0, 400
    true = summed((130.0, 19.0, 28.0), (172.0, 80.0), (126.0, 4.0))
    held = dict.fromkeys(("train", "scan", "note", "deteriorated", "scan %", "stable %"), 0)
    truth = {"train": 130, "scan": 172, "note": 80, "deteriorated": 4, "scan %": 97.2, "stable %": 96.9}
    for _ in range(times):
        drawn = [[value + random.normal(0, sd) for value in part.values()] for part in parts_of(true)]
        table = coverage_table([summed(*drawn, noise=sd)])
        assert table is not None
        [row] = table.rows
        shown = {"train": row.cases[0], "scan": row.present[0].count, "note": row.present[1].count}
        shown |= {"deteriorated": row.classes[1].count, "scan %": row.present[0].percent}
        shown["stable %"] = row.classes[0].percent
        for name, words in shown.items():
            low, high = ends_in(words, truth[name])
            assert low >= 0 and (high <= 100 or "%" not in name), words
            held[name] += low <= truth[name] + 0.51 and truth[name] - 0.51 <= high
    assert all(found >= 0.93 * times for found in held.values()), held


def words_beside_scores(shown) -> list[str]:
    """What is written of models and scores, without the rounds."""
    page = render(replace(shown, rounds=()))
    return page.partition('id="comparison"')[2].partition('id="metrics"')[0].replace(">", " ").replace("<", " ").split()


def parts_of(coverage: Coverage):
    return coverage.cases, coverage.present, coverage.classes


def ends_in(words: str, true: float) -> tuple[float, float]:
    """The interval that these words say; a number says a tenth of itself, and what says nothing says all."""
    numbers = [float(word) for word in re.findall(r"\d+", words)]
    if len(numbers) == 1:
        return 0.95 * numbers[0], min(1.05 * numbers[0], 100.0 if "%" in words else math.inf)
    return (numbers[0], numbers[1]) if numbers else (0.0, 100.0)


def test_what_noise_took_out_of_its_range_is_known_by_nobody() -> None:
    assert ends_of(-49.0, half_of(10.0)) is None
    assert written_count(-49.0, half_of(10.0)) == "hidden by the noise"
    assert written_count(40.0, half_of(40.0), most=90.0) == "hidden by the noise"  # 0 to 118 of at most 90
    assert written_count(40.0, half_of(40.0)) == "0 to 119"


def test_a_round_whose_score_is_noise_says_so() -> None:
    """Its line had no word of a score: the AUC was not a number."""
    hidden = {**metrics(0.6), "auc": math.nan, "auc_noise": math.inf, "share_noise": math.inf}
    assert "AUC hidden by the noise after round 2" in line(round_of(3, metrics=hidden), 20)
    assert "AUC" not in line(round_of(3, metrics={**metrics(0.6), "auc": math.nan}), 20)  # patients of one class
    assert "AUC" not in line(round_of(3, metrics=None), 20)


def test_a_test_score_that_noise_left_without_a_number_was_measured() -> None:
    """The report said that the model "was not measured on test patients", whose scores had been summed."""
    study = study_of("chart", privacy={"mode": "local", "sample_rate": 0.2, "expected_batch_size": 4.0}, schema=1)
    nobody = {segment.name: np.zeros(segment.length) for segment in score_segments(study)}
    noisy, exact = metrics_of(study, nobody, 8.0), metrics_of(replace(study, privacy=Privacy()), nobody)
    shown = {}
    for name, found in (("noisy", noisy), ("exact", exact)):
        outcome = Outcome(np.zeros(1, np.float32), 1, (round_of(0),), {}, {}, found, 3, 4)
        page = render(released(deployed(comparisons=tuple(run_folder.tested(study, outcome)))))
        shown[name] = page.partition('id="comparison"')[0]
    assert "The noise of privacy hides the test score: its AUC may be anything." in shown["noisy"]
    assert "was not measured" not in shown["noisy"] and "was not measured on test patients" in shown["exact"]


def test_cases_of_a_noisy_score_are_no_fact_either() -> None:
    """It was "measured on fewer than 5 patients" of 28, and "Cases 3" of them in a simulation."""
    noisy = {**metrics(math.nan, cases=3.0), "auc_noise": math.inf, "share_noise": math.inf}
    entry = replace(comparison("Federated", "federated", 0.6), metrics=noisy, interval=None)
    shown = released(deployed(comparisons=(entry,)))
    assert not any("fewer than" in warning for warning in shown.warnings)
    assert "hidden by the noise" in render(shown)
    assert "3" not in words_beside_scores(shown)
    some = replace(entry, metrics={**metrics(0.6, cases=100.0), "auc_noise": 0.3, "share_noise": math.sqrt(2) * 0.3})
    assert "70 to 130" in render(deployed(comparisons=(some,)))
    few = replace(entry, metrics={**asdict(round_of(1))["metrics"], "cases": 3.0})
    assert any("fewer than 5" in warning for warning in released(deployed(comparisons=(few,))).warnings)
