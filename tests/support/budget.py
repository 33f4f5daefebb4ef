"""What the tests cost: processor time of each test and of all, with every process that they start, held to a budget.

`make test` and `make soak` give the budget in the environment. Without it the sum is told and nothing fails. A single
test that is dear is named and does not fail: the same test costs twice as much on a machine at work.

The same tests also cost twice as much on one machine as on another. So each worker measures, while the others work,
what a fixed piece of work costs there (`yardstick`), and a machine on which it costs more may take more (`allowed`).
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CPU, WALL = "WARDROUND_TESTS_CPU_SECONDS", "WARDROUND_TESTS_WALL_SECONDS"
REFERENCE = 0.100  # CPU-s of the yardstick in a worker, both of which work, on the machine of which the budgets are
ALIKE, SLACK = 1.05, 1.5  # a machine is slower from here on; and at some things by so much more than at the yardstick
EVERY = 400  # tests of a worker, after which it measures again: others may be at work on the machine for a while
LONG = 5.0  # CPU-s, from which a test outside the soak has its reason in DEAR
DEAR = {
    "tests/test_budget.py": "runs of pytest in runs of pytest",
    "tests/architecture/test_new_inquiry.py": "a study of an inquiry that there is not, played by a copy",
    "tests/architecture/test_new_modality.py": "a study of a kind that there is not, played by a copy of the product",
    "tests/architecture/test_new_task.py": "a study of a task that there is not, played by a copy of the product",
    "tests/client/agent/test_network.py": "the first process forked waits for the fork server's imports",
    "tests/client/agent/test_silence.py": "the first process forked waits for the fork server's imports",
    "tests/client/data/test_note_forms.py": "four hundred notes in four languages",
    "tests/client/test_spending.py": "a lifetime of studies, composed by the numerical accountant",
    "tests/common/privacy/test_accounting.py": "another library's accountant beside ours",
    "tests/server/guard/test_messages.py": "a real server, whose imports take seconds",
    "tests/server/report/test_page.py": "a process killed at each of many moments",
    "tests/test_entry_points.py": "the real command, which is started from nothing",
    "tests/federation/test_deployment.py": "the whole way of a study over four hospitals, twice",
    "tests/federation/test_finish_says.py": "a private run, a round of which is paid for three times",
    "tests/federation/test_survival_processes.py": "deployed runs, of which a process is killed",
    "tests/federation/test_survival_quorum.py": "deployed runs, of which a site is missing",
    "tests/federation/test_separation.py": "a deployed round, and a search through a process's memory",
    "tests/federation/test_way_of_a_message.py": "a connector killed at each of forty moments",
    "tests/federation/test_resume.py": "simulated runs that are killed and resumed",
    "tests/federation/test_finish.py": "simulated runs that end before their time",
    "tests/federation/test_rounds.py": "whole simulated runs, with and without privacy",
    "tests/federation/test_last_sums.py": "simulated runs that lose sites in the last sums, with and without privacy",
    "tests/federation/test_lost_sites.py": "simulated runs that lose sites",
    "tests/federation/test_untrained.py": "simulated runs whose sites lack a modality",
    "tests/privacy/test_nothing_of_a_patient_leaves.py": "a private run with everything that it compares with",
    "tests/privacy/test_work.py": "the spread of a site's answers over many attempts",
    "tests/privacy/test_membership.py": "an attack on a whole training, many times",
    "tests/deploy/test_cli.py": "the command that runs a study, to its report",
    "tests/deploy/test_mistakes.py": "real commands that are stopped in the middle",
    "tests/deploy/research/simulation/test_hospitals.py": "a simulated run over a site of one class",
    "tests/deploy/research/synthetic/test_signal.py": "the demo's hospitals, whole",
    "tests/common/privacy/test_plan.py": "noise calibrated for many studies, and by a process of its own",
    "tests/server/guard/test_closed.py": "a real server, whose imports take seconds",
    "tests/server/guard/test_machine.py": "a real server, whose imports take seconds",
    "tests/server/guard/test_door.py": "a real server, and strangers who hold its connections",
    "tests/server/test_attacks.py": "a real server under strangers' calls",
}

_CLOCKS = {CPU: "CPU", WALL: "clock"}
_TICKS = os.sysconf("SC_CLK_TCK")
_CHILD_SUBREAPER = 36  # prctl: a process whose parent was killed is ours from then on, and so is what it has used


@dataclass
class Spent:
    """Of one process of the tests, and of its workers where it has some."""

    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    long: dict[str, float] = field(default_factory=dict)  # test -> CPU-s
    yardsticks: list[float] = field(default_factory=list)  # of each worker, or of this process
    tests: int = 0


_spent = Spent()


def of_tests() -> float:
    """The same without the fork server's imports, which fall to whichever test comes first."""
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    return used() - _seconds(str(server._forkserver_pid), 11, 13)


def used() -> float:
    """CPU-s of this process and of all that it started, whether they have ended or not."""
    times = os.times()
    found, todo = sum(times[:4]), _children("self")
    while todo:
        process = todo.pop()
        found += _seconds(process, 11, 15)
        todo += _children(process)
    return found


def _seconds(process: str, first: int, end: int) -> float:
    """Of these fields of its stat, counted behind the name: 11 and 12 its own, 13 and 14 its ended children's."""
    with suppress(OSError):
        text = Path(f"/proc/{process}/stat").read_bytes()
        return sum(map(int, text[text.rindex(b")") + 2 :].split()[first:end])) / _TICKS
    return 0.0


def _children(process: str) -> list[str]:
    children = []
    with suppress(OSError):
        for thread in os.scandir(f"/proc/{process}/task"):
            with suppress(OSError):
                children += Path(thread.path, "children").read_text().split()
    return children


def yardstick() -> float:
    """Return the CPU-s of a fixed piece of work, as tests do it: objects, text, hashes, arrays. The least of three."""
    return min(_worked() for _ in range(3))


def _worked() -> float:
    began = time.process_time()
    for number in range(10):
        rows = [{"patient": f"{number:04}-{row}", "value": row * 0.5} for row in range(6000)]
        text = json.dumps(sorted(rows, key=lambda row: row["patient"]))
        hashlib.sha256(text.encode()).digest()
        assert len(json.loads(text)) == len(rows)
        values = np.arange(40_000, dtype=np.float64).reshape(200, 200) / 1e4
        assert np.isfinite(values @ values).all()
    return time.process_time() - began


def slower() -> float:
    """Return how much slower this machine was at its slowest than the one of which the budgets are, at the yardstick;
    1 where it is alike, or faster.
    """
    ratio = max(_spent.yardsticks, default=REFERENCE) / REFERENCE
    return ratio if ratio > ALIKE else 1.0


def allowed(seconds: float) -> float:
    """Return what a budget of so many seconds allows on this machine."""
    return seconds if slower() == 1.0 else seconds * slower() * SLACK


def pytest_configure(config: pytest.Config) -> None:
    if sys.platform == "linux" and hasattr(config, "workerinput"):
        ctypes.CDLL(None).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not getattr(session.config.option, "numprocesses", None):
        _spent.yardsticks.append(yardstick())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    before = of_tests()
    yield
    cost = of_tests() - before
    _spent.tests += 1
    if _spent.tests % EVERY == 0:
        _spent.yardsticks.append(yardstick())
    if cost > LONG and item.get_closest_marker("soak") is None and item.location[0] not in DEAR:
        _spent.long[item.nodeid] = cost


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    told = getattr(node, "workeroutput", {})
    _spent.seconds += told.get("cpu", 0.0)
    _spent.long |= told.get("long", {})
    _spent.yardsticks += told.get("yardsticks", [])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        _spent.yardsticks.append(yardstick())  # the other worker is still at work, more often than not
        output["cpu"], output["long"], output["yardsticks"] = used(), _spent.long, _spent.yardsticks
        return
    _spent.seconds += sum(os.times()[:2]) if _spent.seconds else used()
    if _over() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _over() -> list[str]:
    """A sentence for each budget that was passed."""
    wall = time.monotonic() - _spent.started
    budgets = ((CPU, _spent.seconds, "CPU"), (WALL, wall, "clock"))
    return [
        f"THE BUDGET IS PASSED: {seconds:.0f} s by the {what}, {most:.0f} are allowed here (tests/support/budget.py)"
        for name, seconds, what in budgets
        if seconds > (most := allowed(float(os.environ.get(name) or "inf")))
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    most = {name: allowed(float(os.environ[name])) for name in (CPU, WALL) if os.environ.get(name)}
    budgets = "".join(f"; {seconds:.0f} s by the {_CLOCKS[name]} are allowed" for name, seconds in most.items())
    ends = f"{min(_spent.yardsticks):.3f} to {max(_spent.yardsticks):.3f}" if _spent.yardsticks else "nothing"
    beside = f"{budgets}; the yardstick took {ends} CPU-s here, of {REFERENCE:.3f}" if most else ""
    terminalreporter.write_line(f"{_spent.seconds:.0f} CPU-s, processes that the tests started among them{beside}")
    for test, cost in sorted(_spent.long.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{cost:.1f} CPU-s: {test} is for the soak, or has its reason in DEAR")
    for sentence in _over():
        terminalreporter.write_line(sentence, red=True)
