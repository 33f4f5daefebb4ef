"""Whether a study's budget is still there is said before the study runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.consent.description import describe
from client.ledger.forecast import LEDGER_FILE, forecast, said_of
from client.ledger.ledger import Entry, Ledger
from client.site import read_site
from common.modalities.record import RecordModality
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy
from common.study import Study, read_study
from deploy.research.synthetic.generate import generate


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast") / "hospitals"
    generate(folder, sites=3, seed=0, scale=0.1)
    return folder


@pytest.fixture(scope="module")
def study(hospitals: Path) -> Study:
    return replace(read_study(hospitals / "study.yaml"), rounds=4)


@pytest.fixture(scope="module")
def plan(study: Study) -> PrivacyPlan:
    found = plan_privacy(study)
    assert found is not None
    return found


def spend_all(state: Path, study: Study, plan: PrivacyPlan) -> None:
    """What the ledger holds after the whole study."""
    scores = evaluations(study) - study.privacy.spare_rounds
    for cohort, release in (("training", plan.training(study.rounds)), ("held_out", plan.evaluation(scores))):
        entry = Entry(study.digest, "run", 0, 0, cohort, (plan.statistics(), release))
        Ledger(state / LEDGER_FILE).spend(entry, plan.epsilon, plan.delta, plan.accountant)


def test_a_site_that_released_nothing_has_the_whole_budget_and_gets_no_ledger(tmp_path, study, plan):
    assert forecast(tmp_path, study, plan) == (0.0, plan.epsilon)
    assert said_of(tmp_path, study, plan) == ""
    assert not (tmp_path / LEDGER_FILE).exists()


def test_a_second_study_of_the_same_epsilon_does_not_fit(tmp_path, study, plan):
    spend_all(tmp_path, study, plan)
    second = replace(study, seed=study.seed + 1)
    spent, then = forecast(tmp_path, second, plan)
    assert 0 < spent <= plan.epsilon < then
    assert f"epsilon {spent:.3f} is spent" in said_of(tmp_path, second, plan)


def test_the_forecast_is_what_the_ledger_then_holds(tmp_path, study, plan):
    second = replace(study, seed=study.seed + 1)
    spend_all(tmp_path, study, plan)
    then = forecast(tmp_path, second, plan)[1]
    spend_all(tmp_path, second, replace(plan, epsilon=1000.0))
    assert Ledger(tmp_path / LEDGER_FILE).spent(plan.delta, None, plan.accountant, second.digest) == pytest.approx(then)


def test_whoever_is_asked_to_approve_reads_it(hospitals, study, plan):
    site = read_site(hospitals / "lindenhof")
    assert "BUDGET" not in "\n".join(describe(site, study))
    spend_all(site.path(site.file.state), study, plan)
    assert "  BUDGET: epsilon " in "\n".join(describe(site, replace(study, seed=study.seed + 1)))


def test_whoever_approves_a_private_study_reads_what_hooks_give_up(hospitals, study):
    site = read_site(hospitals / "lindenhof")
    asking = replace(site, file=replace(site.file, clipping="opacus"))
    assert "WEAKER HERE, by `clipping: opacus`" in "\n".join(describe(asking, study))
    assert "WEAKER" not in "\n".join(describe(site, study))
    assert "WEAKER" not in "\n".join(describe(asking, replace(study, privacy=replace(study.privacy, mode="none"))))


def test_what_is_approved_shows_how_the_patients_are_cut(hospitals, study):
    """A key or a fraction can be chosen so that one patient stands alone: the person sees both, and what holds here."""
    site = read_site(hospitals / "lindenhof")
    plain = replace(
        study,
        split=replace(study.split, key="k7", test=0.150026, validation=0.1),
        privacy=replace(study.privacy, mode="none"),
    )
    said = "\n".join(describe(site, plain))
    assert "the key 'k7': about 15.0026 % of the\n  patients test, 10 % validate" in said
    assert "fewer than 3 sites have is not used in a run" in said
    assert "fewer than 10 patients" in said and "column with fewer than 10 values here, none" not in said
    summed = {
        name: replace(one, normalise="secure_sum") if isinstance(one, RecordModality) else one
        for name, one in plain.modalities.items()
    }
    said = "\n".join(describe(site, replace(plain, modalities=summed)))
    assert "column with fewer than 10 values here, none" in said
    assert "fewer than 10 patients" not in "\n".join(describe(site, study))
