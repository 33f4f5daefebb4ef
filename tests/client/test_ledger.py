"""The ledger as a steward, a crash and a careless operator meet it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.ledger.ledger import Entry, Ledger
from common.errors import BudgetError
from common.privacy.accounting import Release, epsilon
from common.privacy.accounts import Account as Cohort
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy
from tests.support.forked import all_told, start
from tests.support.tiny import study_of

DELTA = 1e-5
STEP = Release("training", 1.2, 0.1, 10)
STATISTICS = Release("statistics", 8.0, 1.0, 1)
pytestmark = pytest.mark.filterwarnings("ignore:Optimal order")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "state" / "ledger.jsonl")


def path_of(ledger: Ledger) -> Path:
    return Path(re.findall(r"'(.*)'", repr(ledger))[0])


def entry(
    number: int = 1,
    *,
    attempt: int = 1,
    study: str = "a",
    run: str = "r",
    cohort: Cohort = "training",
    release: Release = STEP,
) -> Entry:
    return Entry(study, run, number, attempt, cohort, (release,))


# ------------------------------------------------------------------------------------------------------- the budget


def test_what_is_spent_is_what_one_accountant_says_of_everything(ledger: Ledger) -> None:
    ledger.spend(entry(0, release=STATISTICS), 8, DELTA)
    for number in (1, 2, 3):
        assert ledger.spend(entry(number), 8, DELTA)
    together = epsilon([STATISTICS, Release("training", 1.2, 0.1, 30)], DELTA)
    assert ledger.spent(DELTA, "training") == together
    assert Ledger(path_of(ledger)).spent(DELTA) == together


def test_the_ledger_refuses_before_the_limit_is_passed_and_writes_nothing(ledger: Ledger) -> None:
    number = 0
    with pytest.raises(BudgetError, match=r"epsilon \d+\.\d+ .* limit is 4.*spent"):
        for number in range(1, 1000):
            ledger.spend(entry(number), 4, DELTA)
    assert number > 3
    spent, before = ledger.spent(DELTA), path_of(ledger).read_bytes()
    assert spent <= 4 < epsilon([Release("training", 1.2, 0.1, 10 * number)], DELTA)
    with pytest.raises(BudgetError):
        ledger.spend(entry(number), 4, DELTA)
    assert path_of(ledger).read_bytes() == before
    assert ledger.spend(entry(number), 5, DELTA)  # the site grants more


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_a_whole_study_fits_its_own_plan_and_not_one_round_more(ledger: Ledger, accountant: str) -> None:
    study = study_of("panel", rounds=2, privacy={"mode": "local", "accountant": accountant, "spare_rounds": 1})
    plan = plan_privacy(study)
    assert isinstance(plan, PrivacyPlan)

    def spend(number: int, attempt: int, cohort: Cohort, release: Release) -> None:
        ledger.spend(
            Entry(study.digest, "r", number, attempt, cohort, (release,)), plan.epsilon, plan.delta, plan.accountant
        )

    for cohort in ("training", "held_out"):
        spend(0, 1, cohort, plan.statistics())
    for number in range(study.rounds + study.privacy.spare_rounds):
        spend(number, 2, "training", plan.training())
    for number in range(evaluations(study)):
        spend(number, 3, "held_out", plan.evaluation())
    for cohort, release in (("training", plan.training()), ("held_out", plan.evaluation())):
        assert 0.97 * plan.epsilon < ledger.spent(plan.delta, cohort, plan.accountant) <= plan.epsilon
        with pytest.raises(BudgetError):
            spend(99, 4, cohort, release)


def test_training_and_held_out_patients_have_a_budget_each(ledger: Ledger) -> None:
    ledger.spend(entry(1, cohort="training", release=STATISTICS), 0.5, DELTA)
    ledger.spend(entry(1, cohort="held_out", release=STATISTICS), 0.5, DELTA)
    assert ledger.spent(DELTA) == epsilon([STATISTICS], DELTA)


def test_every_run_and_study_is_counted_together(ledger: Ledger) -> None:
    for number, (study, run) in enumerate([("a", "one"), ("a", "two"), ("b", "one")]):
        ledger.spend(entry(number, study=study, run=run), 50, DELTA)
    assert ledger.spent(DELTA, "training") == epsilon([Release("training", 1.2, 0.1, 30)], DELTA)


@pytest.mark.parametrize("cohort", ["training", "held_out"])
def test_a_patient_who_changes_sides_between_studies_is_not_forgotten(ledger: Ledger, cohort: Cohort) -> None:
    """In training in one study and held out in the other: both count, whichever split each study drew."""
    other: Cohort = "held_out" if cohort == "training" else "training"
    ledger.spend(entry(1, study="a", cohort=other), 50, DELTA)
    ledger.spend(entry(1, study="b", cohort=cohort), 50, DELTA)
    assert ledger.spent(DELTA, cohort) == ledger.spent(DELTA) == epsilon([STEP, STEP], DELTA)
    with pytest.raises(BudgetError):
        ledger.spend(entry(2, study="b", cohort=cohort), ledger.spent(DELTA), DELTA)


def test_many_studies_are_counted_never_below_the_worst_patient(ledger: Ledger) -> None:
    for number in range(8):
        ledger.spend(entry(1, study=f"s{number}", cohort="training"), 500, DELTA)
        ledger.spend(entry(1, study=f"s{number}", cohort="held_out", release=STATISTICS), 500, DELTA)
    assert ledger.spent(DELTA) >= epsilon([STEP] * 8, DELTA) * (1 - 1e-12)  # added up in another order


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.booleans()), max_size=10), st.floats(1, 6))
def test_no_sequence_of_requests_spends_more_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[str, int, bool]], limit: float
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.jsonl")
    for study, number, training in asked:
        try:
            ledger.spend(entry(number, study=study, cohort="training" if training else "held_out"), limit, DELTA)
        except BudgetError:
            continue
        assert ledger.spent(DELTA) <= limit * (1 + 1e-9)


# ------------------------------------------------------------------------------------------------- once and only once


def test_the_same_attempt_is_paid_for_once(ledger: Ledger) -> None:
    assert ledger.spend(entry(), 8, DELTA) is True
    spent = ledger.spent(DELTA)
    assert ledger.spend(entry(), 8, DELTA) is False
    assert ledger.spent(DELTA) == spent
    assert len(ledger.entries()) == 1


def test_a_new_attempt_is_a_new_release(ledger: Ledger) -> None:
    ledger.spend(entry(attempt=1), 8, DELTA)
    once = ledger.spent(DELTA)
    assert ledger.spend(entry(attempt=2), 8, DELTA) is True
    assert ledger.spent(DELTA) > once


def test_one_attempt_cannot_be_charged_for_two_things(ledger: Ledger) -> None:
    ledger.spend(entry(), 8, DELTA)
    with pytest.raises(BudgetError, match="attempt 1"):
        ledger.spend(entry(release=Release("training", 0.9, 0.1, 10)), 8, DELTA)


# --------------------------------------------------------------------------------------------------------- the disk


def test_the_file_is_the_sites_alone(ledger: Ledger) -> None:
    ledger.spend(entry(), 8, DELTA)
    path = path_of(ledger)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    ledger.spend(entry(2), 8, DELTA)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_entries_are_only_added(ledger: Ledger) -> None:
    ledger.spend(entry(1), 8, DELTA)
    before = path_of(ledger).read_bytes()
    ledger.spend(entry(2), 8, DELTA)
    assert path_of(ledger).read_bytes().startswith(before)
    assert [json.loads(line)["round"] for line in path_of(ledger).read_text().splitlines()] == [1, 2]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_cut_off_by_a_crash_had_paid_for_nothing(ledger: Ledger, cut: int) -> None:
    ledger.spend(entry(1), 8, DELTA)
    whole = path_of(ledger).read_bytes()
    ledger.spend(entry(2), 8, DELTA)
    path_of(ledger).write_bytes(path_of(ledger).read_bytes()[: len(whole) + cut])
    assert [item.round for item in ledger.entries()] == [1]
    assert ledger.spend(entry(2), 8, DELTA) is True
    assert ledger.entries() == [entry(1), entry(2)]


def test_a_last_line_that_only_lacks_its_end_counts(ledger: Ledger) -> None:
    ledger.spend(entry(1), 8, DELTA)
    ledger.spend(entry(2), 8, DELTA)
    path_of(ledger).write_bytes(path_of(ledger).read_bytes()[:-1])
    assert ledger.spend(entry(2), 8, DELTA) is False
    ledger.spend(entry(3), 8, DELTA)
    assert ledger.entries() == [entry(1), entry(2), entry(3)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: lines[1:],
        lambda lines: [lines[1], lines[0], lines[2]],
        lambda lines: [lines[0], lines[1].replace("1.2", "9.9"), lines[2]],
        lambda lines: [lines[0], "", *lines[1:]],
        lambda lines: [lines[0], "{}", *lines[1:]],
        lambda lines: [lines[0], "null", *lines[1:]],
        lambda lines: [lines[0], lines[1][:40], lines[2]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
    ],
)
def test_a_damaged_ledger_releases_nothing(ledger: Ledger, damage: Callable[[list[str]], list[str]]) -> None:
    for number in (1, 2, 3):
        ledger.spend(entry(number), 8, DELTA)
    lines = path_of(ledger).read_text().splitlines()
    path_of(ledger).write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(BudgetError, match=r"ledger\.jsonl, line \d: damaged"):
        ledger.spend(entry(4), 8, DELTA)


def test_a_ledger_that_cannot_be_written_releases_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(BudgetError, match="nothing is released"):
        Ledger(tmp_path / "ledger.jsonl").spend(entry(), 8, DELTA)


def test_a_full_disk_releases_nothing(ledger: Ledger) -> None:
    ledger.spend(entry(1), 8, DELTA)

    def spend(told: Any) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path_of(ledger).stat().st_size + 30, -1))
        try:
            ledger.spend(entry(2), 8, DELTA)
        except BudgetError as error:
            told.send(str(error))

    process, mine = start(spend)
    (refusal,) = all_told(mine)
    process.join()
    assert "nothing is released" in refusal
    assert ledger.entries() == [entry(1)]
    assert ledger.spend(entry(2), 8, DELTA) is True


# ------------------------------------------------------------------------------------------- kills, and two at once


def spend_and_release(told: Any, ledger: Ledger, first: int, last: int) -> None:
    for number in range(first, last):
        if ledger.spend(entry(number), 1e9, DELTA):
            told.send(number)  # the release: only ever after the charge


@pytest.mark.parametrize("wait", [0, 3, 10])
def test_killed_at_any_moment_nothing_released_is_unpaid(ledger: Ledger, wait: int) -> None:
    process, mine = start(spend_and_release, ledger, 0, 10**6)
    released = [mine.recv() for _ in range(wait)]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    released += all_told(mine)
    assert process.exitcode == -signal.SIGKILL
    paid = [item.round for item in ledger.entries()]
    assert len(paid) == len(set(paid))
    assert set(released) <= set(paid)
    assert ledger.spend(entry(10**7), 1e9, DELTA) is True


def test_killed_half_way_through_a_line(ledger: Ledger) -> None:
    def spend(told: Any) -> None:
        ledger.spend(entry(1), 8, DELTA)
        write = os.write

        def half(file: int, content: bytes) -> int:
            write(file, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        os.write = half
        ledger.spend(entry(2), 8, DELTA)
        told.send("released")

    process, mine = start(spend)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert all_told(mine) == []
    assert len(path_of(ledger).read_bytes().splitlines()) == 2
    assert ledger.entries() == [entry(1)]
    assert ledger.spend(entry(2), 8, DELTA) is True
    assert ledger.entries() == [entry(1), entry(2)]


def test_two_processes_at_once_lose_no_entry_and_pay_none_twice(ledger: Ledger) -> None:
    both = [start(spend_and_release, ledger, 0, 30) for _ in range(2)]
    charged = [number for _, mine in both for number in all_told(mine)]
    for process, _ in both:
        process.join()
        assert process.exitcode == 0
    assert sorted(charged) == list(range(30))
    assert sorted(item.round for item in ledger.entries()) == list(range(30))


def test_threads_at_once_do_not_pass_the_limit(ledger: Ledger) -> None:
    granted: list[int] = []

    def ask(number: int) -> None:
        try:
            if ledger.spend(entry(number), 3.0, DELTA):
                granted.append(number)
        except BudgetError:
            pass

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item.round for item in ledger.entries()) == sorted(granted)
    assert 0 < len(granted) < 12
    assert ledger.spent(DELTA) <= 3.0
