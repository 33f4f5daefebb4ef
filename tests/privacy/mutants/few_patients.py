"""What keeps exact sums from showing a few patients of a site, without privacy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

from client.exact_sums.moves import in_each
from tests.privacy.mutants.mutant import Mutant

EXACT = "client.exact_sums."

NO_PART = (
    "tests/client/test_no_part.py::test_a_study_that_leaves_one_patient_out_is_not_answered_beside_one_that_does_not",
)
DATA = ("tests/client/test_no_part.py::test_who_comes_or_goes_with_the_data_is_no_difference_of_studies",)
NAMES = ("tests/client/test_no_part.py::test_two_modalities_with_the_same_settings_are_not_the_same_modality",)
WORD = ("tests/client/test_no_part.py::test_a_person_is_asked_about_a_run_that_uses_fewer_modalities_than_the_study",)
VERSIONS = ("tests/client/test_versions.py::test_who_is_new_does_not_hide_who_moves",)
WITH = ("tests/client/test_versions.py::test_charts_that_came_later_do_not_hide_the_one_who_had_one_from_the_start",)
LEAVES = ("tests/client/test_versions.py::test_who_came_later_does_not_hide_who_leaves_by_the_modalities",)
EMPTIED = ("tests/client/data/test_opt_outs.py::test_a_list_that_is_empty_now_is_looked_at_by_a_person",)
ROUND = ("tests/client/test_updates_show_patients.py::test_a_round_on_one_patient_of_each_site_is_refused",)
CLOCK = ("tests/client/test_updates_show_patients.py::test_no_clock_makes_a_round_one_of_few_patients",)
READ = "tests/client/test_read_otherwise.py::test_a_"
NEWLY = (f"{READ}modality_that_a_site_reads_newly_brings_few_into_no_sum",)
COLUMN = (f"{READ}study_is_not_opened_again_by_another_column_that_takes_one_patient_more",)
TOLD = (f"{READ}word_is_for_the_patients_of_whom_it_was_given",)
SCORES = ("tests/client/test_shown_by_few.py::test_scores_alone_are_held_against_the_owners_of_a_modality",)
JUDGED = ("tests/client/test_parts.py::test_a_part_is_judged_by_what_its_sum_is_made_of",)
GROUPS = "tests/client/test_shown_by_groups.py::test_"
ALL_PARTS = (f"{GROUPS}who_comes_from_no_part_is_not_hidden_by_those_who_change_parts",)
SIGNING = (f"{GROUPS}a_part_that_is_signed_by_another_split_brings_no_few_into_the_sums",)
ONCE = (f"{GROUPS}who_was_in_the_sums_once_is_shown_by_no_study_that_still_takes_this_patient",)
A_WHILE = (f"{GROUPS}a_column_that_was_named_for_a_while_shows_nobody",)
MEANWHILE = (f"{GROUPS}a_yes_is_for_what_was_told_and_not_for_what_came_while_the_question_stood",)
OF_DATA = "tests/client/test_shown_by_data.py::test_"
BACK = (f"{OF_DATA}who_left_with_the_data_and_is_back_is_left_out_by_the_study",)
BROUGHT = (f"{OF_DATA}who_came_by_what_both_studies_read_alike_and_is_gone_is_taken_by_the_study",)
TWICE = ("tests/client/test_shown_by_columns.py::test_who_stays_without_charts_by_the_other_columns_is_counted_once",)
IN_NONE = (f"{OF_DATA}who_is_in_no_sum_of_either_study_is_no_difference",)
OWN = (f"{OF_DATA}who_is_in_no_sum_of_its_own_stops_no_study",)
ELSEWHERE = (f"{OF_DATA}a_part_is_not_signed_by_those_whom_the_first_study_may_not_have_in_it",)
OTHER_WORDS = ("tests/client/test_shown_by_columns.py::test_a_part_is_not_left_by_the_data_where_others_are_elsewhere",)
SPLIT = ("tests/client/test_cuts.py::test_two_fractions_that_differ_by_one_patient_are_not_both_answered",)


def _nobody(_: Any) -> Any:
    return lambda *arguments, **more: []


def _of_nobody(_: Any) -> Any:
    return lambda *_: {}


def _with_all(_: Any) -> Any:
    return lambda states, moved: dict(states)


def _never(_: Any) -> Any:
    return lambda *arguments: False


def _unasked(_: Any) -> Any:
    return lambda *arguments: None


def _always(_: Any) -> Any:
    return lambda *arguments: True


def _nobody_at_all(_: Any) -> Any:
    return lambda *arguments: set()


def _newcomers_are_where_they_are(original: Any) -> Any:
    """Whoever is new is in the part by the first study as well, whomever it cuts otherwise."""

    def sizes(states: Any, use: Any, cut: Any, moved: Any) -> Any:
        with patch(EXACT + "moves._parts_of", _of_no_parts(None)):
            return original(states, use, cut, ())

    return sizes


def _of_no_parts(_: Any) -> Any:
    return lambda *_: set()


def _by_settings_alone(_: Any) -> Any:
    return lambda rules, name: rules.recipes.get(name, name)


def _together(_: Any) -> Any:
    def in_one(*arguments: Any) -> Any:
        each = [*in_each(*arguments)]
        return iter([replace(each[0], moved=[move for one in each for move in one.moved])])

    return in_one


def _by_single_parts(_: Any) -> Any:
    """Each part is judged by itself."""

    def groups(flows: Any, smallest: int) -> set[int]:
        parts = {part for way in flows for part in way if part}
        sides = [[sum(n for way, n in flows.items() if way[i] == part != way[1 - i]) for i in (0, 1)] for part in parts]
        return {size for side in sides for size in side if size}

    return groups


def _ever(original: Any) -> Any:
    """Whenever it was: as if in the newest sum."""
    return lambda *arguments, **more: dict.fromkeys(original(*arguments, **more), 1 << 60)


def _for_whoever_moves(original: Any) -> Any:
    """A word for a study, whoever it was about."""

    def are_allowed(some: Any, its: Any, use: Any, study: str) -> bool:
        return bool(original(some, its, replace(use, words={study: [move.patient for move in some]}), study))

    return are_allowed


def _of_training_alone(original: Any) -> Any:
    """Sets of sites by modality are kept where the modalities are summed."""

    def asked_by(plan: Any, *arguments: Any, **more: Any) -> Any:
        asked = original(plan, *arguments, **more)
        summed = {"update", "statistics"} & {*plan.asks}
        kept = {name: keys for name, keys in asked.signers.items() if summed or name not in plan.groups[1:]}
        return replace(asked, signers=kept)

    return asked_by


def _of_the_study(original: Any) -> Any:
    """A part is judged with all modalities of the study."""
    return lambda self, used: original(self, used and self.site.study.names)


MUTANTS = (
    Mutant("who is in no part is on no side", EXACT + "moves.taken_or_left_in", _nobody, NO_PART),
    Mutant("whoever changed parts is on no side", EXACT + "moves.moves", _nobody, SPLIT),
    Mutant("a change of the data is one of the study", "client.data.recipe.Rules.would_take", _never, DATA),
    Mutant("modalities with the same settings are one", "client.data.recipe.Rules.recipe", _by_settings_alone, NAMES),
    Mutant("what was refused is not asked about", EXACT + "cuts._keep_refused", _unasked, WORD),
    Mutant("all sums of a study are one", EXACT + "cuts.in_each", _together, VERSIONS),
    Mutant("a version keeps neither part nor modalities", EXACT + "moves.added", _unasked, WITH),
    Mutant("who comes or goes by the modalities is not counted", EXACT + "cuts.coming_or_going", _nobody, LEAVES),
    Mutant("a modality that is read newly brings nobody", EXACT + "choices._is_newly_read", _never, NEWLY),
    Mutant("another column of the site takes nobody more", EXACT + "cuts.by_other_columns", _nobody, COLUMN),
    Mutant("each part by itself", EXACT + "moves.groups", _by_single_parts, ALL_PARTS),
    Mutant("a part counts as summed though it was not signed", EXACT + "moves.by_signing", _nobody, SIGNING),
    Mutant("who came once comes with the data for ever", EXACT + "moves.last_in_state", _ever, ONCE + A_WHILE),
    Mutant("who left with the data is gone for good", EXACT + "moves._is_so_still", _always, BACK),
    Mutant("whatever the first study reads has brought a patient", EXACT + "moves.last_with", _of_nobody, BROUGHT),
    Mutant("who moves stays as well", EXACT + "moves._without", _with_all, TWICE),
    Mutant("who is in no sum is shown by one", EXACT + "moves._is_in_neither", _never, IN_NONE),
    Mutant("who is in an entry is in its study's sums", EXACT + "cuts.never_in_a_sum", _nobody_at_all, OWN),
    Mutant("new patients fill a part of both", EXACT + "moves._sizes", _newcomers_are_where_they_are, ELSEWHERE),
    Mutant("who adds nothing is in the same part of both", EXACT + "moves._parts_of", _of_no_parts, OTHER_WORDS),
    Mutant("a yes for what nobody was told", EXACT + "cuts._told", lambda _: lambda *_: frozenset(), MEANWHILE),
    Mutant("a word for whoever moves", EXACT + "cuts._are_allowed", _for_whoever_moves, TOLD),
    Mutant("scores over any owners", "client.agent.handlers.asked_by", _of_training_alone, SCORES),
    Mutant("a part of what was not signed", "client.agent.handlers.SiteHandler._declared", _of_the_study, JUDGED),
    Mutant("a list of opt-outs may be emptied", "client.data.accepted._is_emptied", _never, EMPTIED),
    Mutant("rounds of few patients", "client.terms._of_few", _nobody, ROUND),
    Mutant("few patients where a clock stopped", "client.round.clock.require_enough", _unasked, CLOCK),
)
