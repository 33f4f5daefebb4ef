"""What keeps sums over different sites from showing what one of them added, without privacy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from client.exact_sums.kept_sets import is_allowed, small_atoms
from tests.privacy.mutants.mutant import Mutant

EXACT, SUMS, HANDLERS = "client.exact_sums.", "client.agent.secure_sum.", "client.agent.handlers."

BIPLANE = (
    "tests/client/test_kept_sets.py::test_the_records_of_the_sites_open_so_few_sets_of_the_biplane_that_none_is_shown",
)
THREE = (
    "tests/client/test_three_sums.py::test_three_sums_of_which_each_site_knows_two_do_not_show_the_one_that_they_leave_out",
)
AGAIN = (
    "tests/deploy/test_allow_set.py::"
    "test_an_allowed_set_is_asked_about_again_when_it_shows_others_than_the_person_was_told_of",
)
STALE = "tests/client/test_stale_waits.py::test_who_learn"
OFFERED = (f"{STALE}t_of_one_that_waits_makes_no_offer_under_an_older_consent",)
WORKED = (f"{STALE}s_of_one_that_waits_between_offer_and_round_is_out_until_it_joins_anew",)
OPTED_OUT = ("tests/client/test_sums_repeated.py::test_a_vector_from_before_an_opt_out_is_not_sent_as_one_of_after_it",)
CLAIMS = ("tests/client/test_sum_records.py::test_a_claim_that_is_refused_leaves_everything_as_it_was",)


def _in_pairs(_: Any) -> Any:
    """As sets were first compared: each with the new one, and not all together."""

    def is_allowed(kept: Any, new: Any) -> bool:
        differences = [part for old in kept for part in (old.sites - new.sites, new.sites - old.sites) if part]
        return all(len(part) >= new.colluding + 2 for part in differences)

    return is_allowed


def _by_partition(_: Any) -> Any:
    """As what all add was judged at first: each site by the sets that it was in."""
    return is_allowed


def _whatever(original: Any) -> Any:
    """A person's word is for the set, whatever it shows by then."""
    return lambda kept, new, told: original(kept, new, None if told is None else small_atoms(kept, new))


def _old_word(original: Any) -> Any:
    """A site stands by what it signed of waiting, whatever it has learnt since."""
    return lambda signed, now: original(signed, replace(now, waits=signed.waits))


def _always(_: Any) -> Any:
    return lambda kept, new: True


def _unasked(_: Any) -> Any:
    return lambda *_: None


def _nothing(_: Any) -> Any:
    return lambda file, asked, survivors: None


MUTANTS = (
    Mutant("sets of sites compared in pairs", EXACT + "sum_records.is_allowed", _in_pairs, BIPLANE),
    Mutant("all that add judged by what one site knows", EXACT + "sum_records.is_apart", _by_partition, THREE),
    Mutant("an offer under an older consent", SUMS + "SiteSums._require_nothing_learnt", _unasked, OFFERED),
    Mutant("a vector under an older consent", HANDLERS + "require_as_signed", _old_word, WORKED),
    Mutant("an allowance for whatever a set shows", EXACT + "sum_records._require_one_set", _whatever, AGAIN),
    Mutant("a vector of other cases", HANDLERS + "SiteHandler._require_cases_of_before", _unasked, OPTED_OUT),
    Mutant("any set of sites", EXACT + "sum_records.is_apart", _always, CLAIMS),
    Mutant("the same question over any sites", EXACT + "sum_records._require_same", _nothing, CLAIMS),
)
