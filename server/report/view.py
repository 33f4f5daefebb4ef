"""Evidence -> what stands on the page, in the page's order: words, table rows and charts, nothing about HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from common import schema as border
from server.lost import stored_words
from server.report import charts, text
from server.report.attendance import counted_over, head, run_sites, tested_over
from server.report.caveats import alarming, caveats
from server.report.comparison import ComparisonTable, comparison_table
from server.report.counts import half_of, written_count
from server.report.coverage import CoverageTable, coverage_table
from server.report.evidence import Comparison, Evidence, InquiryEvidence, RoundEvidence
from server.report.noise import says_something, written
from server.report.rounds import metric_charts, privacy_chart, round_rows, traffic_charts
from server.report.verdict import Verdict, best, is_private, leading, verdict


@dataclass(frozen=True)
class KeyFigure:
    name: str
    value: str
    note: str


@dataclass(frozen=True)
class View:
    """All that `page.html` shows."""

    title: str
    evidence: Evidence
    task: str
    when: str
    verdict: Verdict
    figures: tuple[KeyFigure, ...]
    caveats: tuple[str, ...]
    alarm: bool  # something that protects patients was switched off, or overspent
    measure: str
    metric_chart: charts.Chart | None
    scored: bool  # whether any round has a score, drawn or not
    few: bool  # whether a round's score is not shown, for it is of a few patients
    small_charts: tuple[charts.Chart, ...]
    comparisons: ComparisonTable | None
    privacy_chart: charts.Chart | None
    coverage: CoverageTable | None
    inquiries: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...]  # name, what it asked, results as they stand
    sites: str
    tested_over: str
    counted: str  # over which sites, where the scores are over others
    private: bool
    traffic: tuple[charts.Chart, ...]
    rounds: tuple[tuple[str, ...], ...]
    round_names: tuple[str, ...]
    rounds_left_out: int
    drop_reasons: tuple[tuple[str, str], ...]
    totals: str
    study_text: str
    software: tuple[tuple[str, str], ...]


def view(evidence: Evidence) -> View:
    """The page of this evidence, which must be `released` already."""
    key = leading(evidence)
    rounds = tuple(sorted(evidence.rounds, key=lambda entry: entry.round))
    names, rows = round_rows(rounds)
    metric_chart, small_charts = metric_charts(rounds, key, evidence.selected_round)
    return View(
        title=str(evidence.study.get("study") or evidence.run),
        evidence=evidence,
        task=_task(evidence.study),
        when=_when(evidence),
        verdict=verdict(evidence),
        figures=tuple(_figures(evidence, rounds, key)),
        caveats=tuple(caveats(evidence)),
        alarm=alarming(evidence),
        measure=text.measure_name(key),
        metric_chart=metric_chart,
        scored=any(entry.metrics is not None for entry in rounds),
        few=any(entry.metrics == {} for entry in rounds),
        small_charts=small_charts,
        comparisons=comparison_table(evidence.comparisons, key, private=is_private(evidence)),
        privacy_chart=privacy_chart(rounds, _privacy(evidence.study)),
        coverage=coverage_table(evidence.coverage, counted_over(evidence)[1], released=evidence.released),
        inquiries=tuple((one.name, one.asked, _found(one)) for one in evidence.inquiries),
        sites=head(evidence),
        tested_over=tested_over(evidence, evidence.comparisons),
        counted=_counted(evidence),
        private=_privacy(evidence.study).get("mode", "none") != "none",
        traffic=traffic_charts(rounds),
        rounds=rows,
        round_names=names,
        rounds_left_out=len(rounds) - len(rows),
        drop_reasons=_reasons(rounds),
        totals=_totals(rounds),
        study_text=_yaml(evidence.study),
        software=tuple(evidence.software.items()),
    )


def _found(inquiry: InquiryEvidence) -> tuple[tuple[str, str], ...]:
    """Each result, a number of patients with its known noise."""
    half = half_of(inquiry.noise)
    return tuple(
        (name, written_count(value, half) if name in inquiry.counts or isinstance(value, str) else text.number(value))
        for name, value in inquiry.found.items()
    )


class _Dumper(yaml.SafeDumper):
    """Lists of plain values on one line: a study may name thousands of genes."""


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.Node:
    flat = not any(isinstance(item, list | dict) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flat)


_Dumper.add_representer(list, _list)


def _yaml(study: Mapping[str, Any]) -> str:
    return yaml.dump(border.plain(dict(study)), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=72)


def _task(study: Mapping[str, Any]) -> str:
    task = study.get("task")
    if not isinstance(task, Mapping) or not isinstance(task.get("classes"), list):
        return ""
    return " or ".join(str(name) for name in task["classes"])


def _privacy(study: Mapping[str, Any]) -> Mapping[str, Any]:
    part = study.get("privacy")
    return part if isinstance(part, Mapping) else {}


def _when(evidence: Evidence) -> str:
    started, finished = _moment(evidence.started), _moment(evidence.finished)
    if started is None:
        return evidence.started
    day = f"{started:%-d %B %Y, %H:%M}"
    if finished is None:
        return f"{day}, not finished"
    try:
        return f"{day}, took {text.duration((finished - started).total_seconds())}"
    except TypeError:  # one of the two says its time zone and the other does not
        return day


def _moment(value: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if value else None
    except ValueError:
        return None


def _figures(evidence: Evidence, rounds: Sequence[RoundEvidence], key: str) -> list[KeyFigure]:
    name = text.measure_name(key)
    found = []
    for kind, what in (("federated", "together"), ("alone", "best site"), ("pooled", "data pooled")):
        entry = best(evidence.comparisons, kind, key)
        if entry is not None:
            found.append(KeyFigure(f"{name}, {what}", written(entry.metrics, key), _beside(entry, key)))
    found.append(_epsilon(rounds, _privacy(evidence.study), evidence.open_epsilon))
    kept = "" if evidence.selected_round is None else f"kept: round {evidence.selected_round}"
    found.append(KeyFigure("Rounds", text.count(sum(entry.round > 0 for entry in rounds)), kept))
    opened = "" if evidence.threshold is None else f"sums open with {evidence.threshold}"
    of = run_sites(evidence.rounds, evidence.sites)
    found.append(KeyFigure("Sites", text.count(evidence.sites) + (f" of {of}" if evidence.sites < of else ""), opened))
    return found


def _counted(evidence: Evidence) -> str:
    sites, words = counted_over(evidence)
    if sites is None or sites == evidence.sites == run_sites(evidence.rounds, evidence.sites):
        return ""
    return (
        f"The sum is that of round 0, over {words}; later rounds may be over others: the table of the rounds says it."
    )


def _beside(entry: Comparison, key: str) -> str:
    return _interval(entry.interval) if says_something(entry.metrics, key) else "the noise of privacy is wider"


def _interval(interval: tuple[float, float] | None) -> str:
    if interval is None or not all(map(math.isfinite, interval)):
        return ""
    return f"{text.number(interval[0])} to {text.number(interval[1])}"


def _epsilon(rounds: Sequence[RoundEvidence], privacy: Mapping[str, Any], charged: float | None) -> KeyFigure:
    if privacy.get("mode", "none") == "none":
        return KeyFigure("Epsilon", "∞", "no privacy")
    spent = [value for entry in rounds for value in (entry.epsilon, entry.held_out_epsilon) if value is not None]
    budget = privacy.get("epsilon")
    of = f"of {budget:g}" if isinstance(budget, int | float) else ""
    if charged is not None:
        whole = isinstance(budget, int | float) and charged >= budget
        of += f", in these sums; charged: {'up to' if whole else 'about'} {text.number(charged, 2)}"
    return KeyFigure("Epsilon spent", text.number(max(spent), 2) if spent else text.NONE, of)


def _reasons(rounds: Sequence[RoundEvidence]) -> tuple[tuple[str, str], ...]:
    total: Counter[str] = Counter()
    for entry in rounds:
        total.update(entry.drop_reasons)
    return tuple((stored_words(reason), text.count(times)) for reason, times in total.most_common())


def _totals(rounds: Sequence[RoundEvidence]) -> str:
    up, down = sum(entry.bytes_up for entry in rounds), sum(entry.bytes_down for entry in rounds)
    seconds, dropped = sum(entry.seconds for entry in rounds), sum(entry.dropped for entry in rounds)
    times = "once" if dropped == 1 else f"{text.count(dropped)} times"
    lost = f"A site dropped out {times}." if dropped else "No site dropped out."
    return f"{text.size(up)} from the sites, {text.size(down)} to them, in {text.duration(seconds)}. {lost}"
