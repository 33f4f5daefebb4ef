"""In which protocol a coordinator asks."""

from __future__ import annotations

from tests.privacy.mutants.mutant import Mutant

DOWNGRADE = "tests/client/test_downgrade.py::test_a_study_that_needs_a_newer_number_is_answered_in_no_older_one"
MUTANTS = (
    Mutant(
        "a study asked in a protocol that cannot say it",
        "client.agent.handlers.require_sayable",
        lambda _: lambda asked, study: None,
        (DOWNGRADE,),
    ),
)
