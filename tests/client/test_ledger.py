"""The ledger as a steward, a crash and a careless operator meet it."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.ledger import Cohort, Entry, Ledger
from common.errors import BudgetError
from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy
from tests.support.tiny import study_of

ROOT = Path(__file__).resolve().parents[2]
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


CHILD = """
import os, resource, signal, sys
from pathlib import Path
from client.ledger import Entry, Ledger
from common.errors import BudgetError
from common.privacy.accounting import Release
def entry(number):
    return Entry("a", "r", number, 1, "training", (Release("training", 60.0, 1.0, 1),))
path = Path(sys.argv[1])
ledger = Ledger(path)
"""


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


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
    study = study_of("panel", rounds=4, privacy={"mode": "local", "accountant": accountant, "spare_rounds": 1})
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


def test_a_patient_who_changes_sides_between_studies_is_not_forgotten(ledger: Ledger) -> None:
    """In training in one study and held out in the other: both count, whichever split each study drew."""
    ledger.spend(entry(1, study="a", cohort="training"), 50, DELTA)
    ledger.spend(entry(1, study="b", cohort="held_out"), 50, DELTA)
    assert ledger.spent(DELTA, "held_out") == ledger.spent(DELTA) == epsilon([STEP, STEP], DELTA)
    with pytest.raises(BudgetError):
        ledger.spend(entry(2, study="b", cohort="held_out"), ledger.spent(DELTA), DELTA)


def test_many_studies_are_counted_never_below_the_worst_patient(ledger: Ledger) -> None:
    for number in range(8):
        ledger.spend(entry(1, study=f"s{number}", cohort="training"), 500, DELTA)
        ledger.spend(entry(1, study=f"s{number}", cohort="held_out", release=STATISTICS), 500, DELTA)
    assert ledger.spent(DELTA) >= epsilon([STEP] * 8, DELTA)


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
def test_a_damaged_ledger_releases_nothing(ledger: Ledger, damage) -> None:  # type: ignore[no-untyped-def]
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


def test_a_full_disk_releases_nothing(tmp_path: Path) -> None:
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger.spend(entry(1), 8, 1e-5)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 30, -1))
try:
    ledger.spend(entry(2), 8, 1e-5)
except BudgetError as error:
    print("refused", error)
"""
    process = run_python(code, tmp_path / "ledger.jsonl")
    out, err = process.communicate(timeout=120)
    assert "refused" in out, err
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert [item.round for item in ledger.entries()] == [1]
    assert ledger.spend(entry(2), 8, DELTA) is True


# ------------------------------------------------------------------------------------------- kills, and two at once

SPENDER = """
print("ready", flush=True)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    if ledger.spend(entry(number), 1e9, 1e-5):
        print(number, flush=True)  # the release: only ever after the charge
"""


def test_killed_at_any_moment_nothing_released_is_unpaid(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    released: list[int] = []
    for _ in range(2):
        process = run_python(SPENDER, path, len(released) + 100 * len(released), 10**6)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        seen = [process.stdout.readline() for _ in range(6)]
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate()
        released += [int(line) for line in [*seen, *rest.splitlines()] if line.strip().isdigit()]
        assert process.returncode == -signal.SIGKILL
        paid = [item.round for item in Ledger(path).entries()]
        assert set(released) <= set(paid)
        assert len(paid) == len(set(paid))
    assert len(released) >= 12


def test_killed_half_way_through_a_line(tmp_path: Path) -> None:
    code = """
ledger.spend(entry(1), 8, 1e-5)
write = os.write
def half(file, content):
    write(file, content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
os.write = half
ledger.spend(entry(2), 8, 1e-5)
print("released")
"""
    process = run_python(code, tmp_path / "ledger.jsonl")
    out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, err
    assert "released" not in out
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert [item.round for item in ledger.entries()] == [1]
    assert ledger.spend(entry(2), 8, DELTA) is True
    assert [item.round for item in ledger.entries()] == [1, 2]


def test_two_processes_at_once_lose_no_entry_and_pay_none_twice(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    both = [run_python(SPENDER, path, 0, 12) for _ in range(2)]
    charged = []
    for process in both:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        charged += [int(line) for line in out.splitlines() if line.isdigit()]
    assert sorted(charged) == list(range(12))
    assert sorted(item.round for item in Ledger(path).entries()) == list(range(12))


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
