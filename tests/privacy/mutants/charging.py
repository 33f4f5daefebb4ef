"""What is written down, when, and how it is added up."""

from __future__ import annotations

from typing import Any

from tests.privacy.mutants.mutant import Mutant

WORK = "tests/privacy/test_work.py::"
KILLED = (f"{WORK}test_killed_in_the_work_it_is_paid_for",)
LEDGER = "tests/client/test_ledger.py::"
SIDES = "tests/client/test_sides.py::"


def _not_at_all(_: Any) -> Any:
    return lambda plan, site: None


def _afterwards(original: Any) -> Any:
    """Charge when the work is over: what `work` asks for last is what is certified."""
    import client.round.round

    certified = client.round.round.certified
    asked: list[Any] = []

    def later(site: Any) -> Any:
        while asked:
            original(*asked.pop())
        return certified(site)

    def charge(plan: Any, site: Any) -> None:
        asked.append((plan, site))
        client.round.round.certified = later

    return charge


def _twice_is_fine(original: Any) -> Any:
    def spend(self: Any, *arguments: Any, **named: Any) -> bool:
        original(self, *arguments, **named)
        return True

    return spend


def _only_training(original: Any) -> Any:
    return lambda plan, study, privacy: {
        account: charged for account, charged in original(plan, study, privacy).items() if account == "training"
    }


def _no_statistics(original: Any) -> Any:
    return lambda plan, study, privacy: {
        account: [release for release in charged if release.kind != "statistics"] or charged[:0]
        for account, charged in original(plan, study, privacy).items()
    }


def _own_study_only(original: Any) -> Any:
    def worst(self: Any, place: Any, side: Any, delta: float, accountant: Any) -> float:
        from client.ledger.spending import Spending

        alone = Spending({place: self._spent[place]} if place in self._spent else {})
        return float(original(alone, place, side, delta, accountant))

    return worst


def _first_side(_: Any) -> Any:
    return lambda account: ("training",)


def _larger_delta(_: Any) -> Any:
    return lambda policy, privacy: max(policy.delta, privacy.delta)


def _as_the_file_says(_: Any) -> Any:
    return lambda labels, *others: dict(labels)


def _one_split(_: Any) -> Any:
    return lambda state, study, sides, secret: ""


def _never_missed(_: Any) -> Any:
    return lambda self, here, known: None


MUTANTS = (
    Mutant("the charge after the work", "client.round.round.charge", _afterwards, KILLED),
    Mutant("no charge", "client.round.round.charge", _not_at_all, KILLED),
    Mutant("held-out patients are not charged", "client.round.charges.releases", _only_training, KILLED),
    Mutant("statistics are not charged", "client.round.charges.releases", _no_statistics, KILLED),
    Mutant("an attempt that was paid for is worked on again", "client.ledger.ledger.Ledger.spend", _twice_is_fine,
           (f"{WORK}test_an_attempt_is_worked_on_once",)),
    Mutant("other studies are not counted", "client.ledger.spending.Spending._worst", _own_study_only,
           (f"{LEDGER}test_every_run_and_study_is_counted_together",)),
    Mutant("all accounts are one", "client.ledger.spending.sides_of", _first_side,
           (f"{LEDGER}test_training_and_held_out_patients_have_a_budget_each",)),
    Mutant("the larger delta judges", "client.round.charges.judged_at", _larger_delta,
           (f"{WORK}test_the_ledger_judges_at_the_hospitals_delta",)),
    Mutant("who changed sides is moved", "client.data.prepare.staying", _as_the_file_says,
           (f"{SIDES}test_a_patient_whose_word_changes_between_two_runs_stays_on_the_side_that_was_charged",
            f"{SIDES}test_what_is_certified_is_the_same_whoever_changed_sides")),
    Mutant("lost sides are not noticed", "client.round.session.split_of", _one_split,
           (f"{SIDES}test_where_what_was_kept_is_lost_the_earlier_charges_count_for_every_side",)),
    Mutant("a ledger that was put back is taken", "client.ledger.ledger.Ledger._require_all", _never_missed,
           ("tests/client/test_spending.py::test_a_ledger_that_was_deleted_or_put_back_is_refused_in_words",)),
)  # fmt: skip
