"""`wardround site approve …` as a steward meets it, and as one who would rather not be seen does."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from client.consent.approvals import Approvals, approved_study
from client.data.prepare import prepare
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import opening, require_alike
from client.site import SiteFolder, read_site
from common.disk.audit import Audit, Refused, Sent, Spent
from common.errors import AnsweredError, AuditError, NotApprovedError, PausedError, PolicyError, SiteFileError
from common.study import Split, Study, study_text
from deploy.cli import commands
from tests.support.hospital import hospital, person, study_of, write_csv, write_site

RUN = "0123456789abcdef"


@pytest.fixture
def north(tmp_path: Path) -> SiteFolder:
    return hospital(tmp_path / "north")


@pytest.fixture
def study(north: SiteFolder) -> Study:
    return written(north.root, study_of(modalities=["labs", "genes"]))


def written(root: Path, study: Study) -> Study:
    (root / "study.yaml").write_text(study_text(study), encoding="utf-8")
    return study


def call(root: Path, *arguments: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(commands, ["site", *map(str, arguments), "--at", str(root)], input=answer)


def approve(root: Path, *options: str, answer: str = "") -> Result:
    return call(root, "approve", root / "study.yaml", *options, answer=answer)


def done(result: Result) -> str:
    assert result.exception is None, result.output
    return result.output


def policy(root: Path, **values: Any) -> None:
    write_site(root, {"policy": values})


def audit(folder: SiteFolder) -> Audit:
    return Audit(folder.root / "state" / "audit.jsonl")


# ------------------------------------------------------------------------------------------------------------ approving


def test_approve_says_what_will_happen_asks_and_keeps_just_that(north, study) -> None:
    said = done(approve(north.root, answer="y\n"))
    for words in (
        study.digest, "'alive', 'dead'", "'outcome' of records.csv",
        "labs: the columns crp, pulse, sex, from records.csv",
        "genes: measurements of 3 genes, from genes.csv", "1 rounds", "2 steps", "Differential privacy: NONE",
        "an update of this site is of 32 training patients at the most", "COORDINATOR CAN COMPUTE SINGLE PATIENTS",
        "Secure sum: ON", "at least 3 sites", "What leaves this site", "Nobody opted out", "Shall north take part",
    ):  # fmt: skip
        assert words in said, words
    assert approved_study(north.root / "state", study.digest) == study


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_no_answer_is_no(north, study, answer) -> None:
    declined = approve(north.root, answer=answer)
    assert declined.exit_code == 1 and "Nothing was changed" in declined.output
    assert Approvals(north.root / "state").all() == {}


def test_without_anybody_to_ask_nothing_is_approved(north, study) -> None:
    assert approve(north.root, answer="").exit_code != 0
    assert Approvals(north.root / "state").all() == {}


def test_the_words_follow_the_study_and_the_site_file(north) -> None:
    changes = {
        "privacy": {"mode": "local", "epsilon": 3.0, "sample_rate": 0.25, "expected_batch_size": 4},
        "secure_sum": {"enabled": False},
    }
    written(north.root, study_of(changes, modalities=["labs", "genes", "report"]))
    (north.root / "no.csv").write_text("patient_id\n")
    site = {
        "exclusions": "no.csv",
        "sequences": None,
        "policy": {"require_secure_sum": False, "modalities": ["labs", "genes"], "hours": "22:00-06:00",
                   "round_seconds": 60},
    }  # fmt: skip
    write_site(north.root, site)
    said = done(approve(north.root, "--yes"))
    for words in (
        "epsilon 3, delta 1e-05", "Secure sum: OFF", "IN THE OPEN", "report: NOT used", "genes: not at this site",
        "listed in no.csv is left out", "22:00-06:00", "60 seconds",
    ):  # fmt: skip
        assert words in said, words


@pytest.mark.parametrize(
    "allowed",
    [
        {"require_privacy": True},
        {"largest_epsilon": 1.0},
        {"modalities": ["xray"]},
        {"without_privacy": {"smallest_part": 161}},
    ],
    ids=str,
)
def test_a_study_against_policy_is_not_approved_with_yes_either(north, study, allowed) -> None:
    policy(north.root, **allowed)
    refused = approve(north.root, "--yes")
    assert isinstance(refused.exception, PolicyError) and f"policy.{next(iter(allowed))}" in str(refused.exception)
    assert Approvals(north.root / "state").all() == {}


def test_approval_says_what_becomes_of_a_hospital_that_drops_out(north, study) -> None:
    """Only where there is no privacy: a private study's sums over other sites have noise of their own."""
    assert "LOST SITES: waited for" in done(approve(north.root, "--yes"))
    policy(north.root, without_privacy={"lost_site": "show"})
    assert "what that hospital added can be computed from two sums" in done(approve(north.root, "--yes"))
    written(north.root, study_of({"privacy": {"mode": "local"}}, modalities=["labs", "genes"]))
    assert "LOST SITES" not in done(approve(north.root, "--yes"))


def test_approval_asks_about_another_split_of_patients_whose_sums_are_out(north, study) -> None:
    """A yes to the study is none to that; and where nothing was opened, nothing is asked."""
    state = north.root / "state"
    policy(north.root, require_privacy=False, without_privacy={"smallest_part": 2})
    assert "ANOTHER SPLIT" not in done(approve(north.root, "--yes"))
    opening(state, study.digest, cut_of(prepare(north, study), study.names), 2)
    longer = replace(study.training, local_steps=100)  # an update is of more patients than any smallest part here
    other = replace(study, split=replace(study.split, validation=0.0, test=0.3, key="a"), training=longer)
    written(north.root, other)
    cut = cut_of(prepare(north, other), other.names)
    for smallest, told in ((1000, True), (2, False)):
        policy(north.root, require_privacy=False, without_privacy={"smallest_part": smallest})
        assert ("no sum is given" in done(approve(north.root, "--yes"))) == told
    for options, answer in ((["--yes"], ""), ([], "y\nn\n"), ([], "y\ny\n")):
        with pytest.raises(AnsweredError):
            require_alike(state, other.digest, cut, 2)
        assert "ANOTHER SPLIT" in done(approve(north.root, *options, answer=answer))
    assert "ANOTHER SPLIT" not in done(approve(north.root, answer="y\n"))
    require_alike(state, other.digest, cut, 2)
    with pytest.raises(AnsweredError):
        require_alike(state, "another", cut, 2)


def test_a_site_with_few_test_patients_is_not_asked_about_another_split(north, study) -> None:
    """It signs for no such part, and approval took it for one that it signs."""
    policy(north.root, require_privacy=False, without_privacy={"smallest_part": 5})
    studies = [replace(study, rounds=rounds, training=replace(study.training, local_steps=100)) for rounds in (5, 6)]
    cut = cut_of(prepare(north, studies[0]), study.names)
    assert 0 < Counter(cut.sides.values())["test"] < 5
    opening(north.root / "state", studies[0].digest, replace(cut, signed=cut.filled(5)), 5)
    for each in studies:
        written(north.root, each)
        assert "ANOTHER SPLIT" not in done(approve(north.root, "--yes"))


def test_approval_asks_about_a_study_that_leaves_out_whom_another_has(north, study) -> None:
    """By gaps of the split column: they are in no part, and nobody changes sides."""
    state, path, year = north.root / "state", north.root / "split.csv", {"file": "split.csv", "column": "year"}
    write_site(north.root, {"policy": {"without_privacy": {"smallest_part": 2}}, "split": year})
    words = [{"patient_id": person(number).patient, "year": "" if number < 3 else "2020"} for number in range(16)]
    write_csv(path, words)
    everybody = replace(study, split=Split(validation=0.0, test=0.0))
    opening(state, everybody.digest, cut_of(prepare(north, everybody), study.names), 2)
    other = written(north.root, replace(study, split=Split(column="year")))
    said = done(approve(north.root, answer="y\nn\n"))
    assert "by as few as 3 of a part" in said and "whom sums of both show apart" in said
    here = read_site(north.root)
    with pytest.raises(AnsweredError):
        require_alike(state, other.digest, cut_of(prepare(here, other), other.names), 2)
    done(approve(north.root, answer="y\ny\n"))
    require_alike(state, other.digest, cut_of(prepare(here, other), other.names), 2)
    write_csv(path, [row | {"year": "2020"} for row in words])
    assert "ANOTHER SPLIT" not in done(approve(north.root, "--yes"))


def test_approval_asks_about_a_run_that_was_refused_for_using_fewer_modalities(north, study) -> None:
    """The study's modalities take the same patients as before; the run, without genes, leaves three of them out."""
    state, table = north.root / "state", north.root / "records.csv"
    lines = table.read_text().splitlines(keepends=True)
    gaps = [f"{line.split(',')[0]}{',' * line.count(',')}\n" for line in lines[1:4]]
    targets = [{"patient_id": person(number).patient, "outcome": number % 2} for number in range(16)]
    write_csv(north.root / "targets.csv", targets)
    target = {"file": "targets.csv", "column": "outcome", "values": {"0": "alive", "1": "dead"}}
    allowed = {"require_privacy": False, "without_privacy": {"smallest_part": 2}}
    here = write_site(north.root, {"policy": allowed, "target": target})
    table.write_text(lines[0] + "".join(gaps) + "".join(lines[4:]))
    study = replace(study, split=Split(validation=0.0, test=0.0))
    opening(state, study.digest, cut_of(prepare(here, study), study.names), 2)
    again = written(north.root, replace(study, rounds=2))
    run = cut_of(prepare(here, again), ["labs"])
    assert "ANOTHER SPLIT" not in done(approve(north.root, "--yes"))
    with pytest.raises(AnsweredError):
        opening(state, again.digest, run, 2)
    assert "ANOTHER SPLIT" in done(approve(north.root, answer="y\nn\n"))
    with pytest.raises(AnsweredError):
        opening(state, again.digest, run, 2)
    assert "ANOTHER SPLIT" in done(approve(north.root, answer="y\ny\n"))
    opening(state, again.digest, run, 2)
    assert "ANOTHER SPLIT" not in done(approve(north.root, answer="y\n"))


def test_approval_looks_at_what_this_site_would_sign(north, study) -> None:
    """It compared with all that the site has: three with genes alone leave its sums when too few have genes to sign."""
    table, genes, state = north.root / "records.csv", north.root / "genes.csv", north.root / "state"
    study = written(north.root, replace(study, split=Split(validation=0.0, test=0.0)))
    rows, measured = (path.read_text().splitlines(keepends=True) for path in (table, genes))
    table.write_text("".join(rows[:14] + [re.sub(r"^([^,]*,[^,]*),.*", r"\1,,,", row) for row in rows[14:]]))
    genes.write_text("".join(measured[:1] + measured[5:]))  # twelve
    policy(north.root, require_privacy=False, without_privacy={"smallest_part": 12})
    opening(state, study.digest, cut_of(prepare(north, study), study.names), 12)
    assert "ANOTHER SPLIT" not in done(approve(north.root, "--yes"))
    genes.write_text("".join(measured[:1] + measured[6:]))
    assert "by as few as 3 of a part" in done(approve(north.root, "--yes"))


def test_approving_counts_what_is_here_and_shows_no_patient(north, study) -> None:
    """With privacy a person decides here whether there is enough; data that cannot be read is not approved."""
    said = done(approve(north.root, "--yes"))
    assert "Cases: " in said and "Patients who have: labs 16, genes 16" in said
    assert all(secret not in said for number in range(16) for secret in person(number).secrets)
    assert Approvals(north.root / "state").modalities(study.digest) == ("labs", "genes")
    (north.root / "genes.csv").unlink()
    assert isinstance(approve(north.root, "--yes").exception, SiteFileError)


def test_a_changed_study_is_another_one(north, study) -> None:
    done(approve(north.root, "--yes"))
    changed = written(north.root, replace(study, rounds=study.rounds + 1))
    with pytest.raises(NotApprovedError):
        approved_study(north.root / "state", changed.digest)


def test_a_folder_without_a_site_file_is_told(tmp_path) -> None:
    assert isinstance(call(tmp_path, "studies").exception, SiteFileError)


# --------------------------------------------------------------------------------------- pausing, withdrawing, purging


def test_the_list_tells_where_each_study_stands(north, study) -> None:
    root, short = north.root, study.digest[:8]
    assert "Approve one" in done(call(root, "studies"))
    done(approve(root, "--yes"))
    assert re.search(rf"{short}.*demo.*approved 20.*takes part", done(call(root, "studies")))
    assert re.search(rf"{short}.*paused. To go on: .* resume {short}", done(call(root, "pause", short)))
    assert "paused" in done(call(root, "studies"))
    with pytest.raises(PausedError):
        approved_study(root / "state", study.digest)
    assert "takes part" in done(call(root, "resume", short))
    done(call(root, "withdraw", short, "--yes"))
    for command in (["studies"], ["pause", short], ["resume", short]):  # neither offers a way back
        said = done(call(root, *command))
        assert "withdrawn, for good" in said and "go on" not in said
    again = approve(root, "--yes")
    assert isinstance(again.exception, NotApprovedError) and not again.output  # before the data is read and shown


def test_withdrawing_and_purging_ask_first(north, study) -> None:
    done(approve(north.root, "--yes"))
    for command in ("withdraw", "purge"):
        assert call(north.root, command, study.digest[:8], answer="n\n").exit_code != 0
    Approvals(north.root / "state").require(study.digest)


def test_a_study_never_approved_can_be_withdrawn_from_by_its_whole_digest(north, study) -> None:
    done(call(north.root, "withdraw", study.digest, "--yes"))
    assert isinstance(approve(north.root, "--yes").exception, NotApprovedError)
    assert isinstance(call(north.root, "withdraw", "Z" * 64, "--yes").exception, NotApprovedError)
    assert "withdrawn" in done(call(north.root, "studies"))


def test_purge_deletes_prepared_data_and_not_the_log(north, study) -> None:
    done(approve(north.root, "--yes"))
    prepare(north, study)
    before = audit(north).verify().count
    assert "Deleted 2 prepared" in done(call(north.root, "purge", study.digest[:8], "--yes"))
    assert not list((north.root / "state" / "cache").glob("*/*")) and audit(north).verify().count == before + 1


@pytest.mark.parametrize("command", ["pause", "resume", "withdraw", "purge"])
def test_a_prefix_of_nothing_is_refused(north, study, command) -> None:
    done(approve(north.root, "--yes"))
    options = ["--yes"] if command in ("withdraw", "purge") else []
    for prefix in ("00", "ffffffff" if not study.digest.startswith("ffffffff") else "00000000"):
        assert isinstance(call(north.root, command, prefix, *options).exception, NotApprovedError)


# --------------------------------------------------------------------------------------------------- receipts and audit


def sent(folder: SiteFolder, study: Study, sizes: Mapping[str, int]) -> None:
    for kind, size in sizes.items():
        audit(folder).append(Sent(study.digest, kind, size))


def test_receipts_count_what_left_by_kind(north, study) -> None:
    sent(north, study, {"JoinRequest": 300, "RoundRequest": 40_000})
    sent(north, study, {"RoundRequest": 2_000})
    audit(north).append(Refused("RoundRequest", "paused"))
    audit(north).append(Spent(study.digest, RUN, 1, "training", 0.5))
    audit(north).append(Spent(study.digest, RUN, 1, "held_out", 1.25))
    audit(north).append(Spent(study.digest, RUN, 2, "held_out", 1.5))
    for options in ([], ["--today"], ["--since", f"{datetime.now():%Y-%m-%d}"]):
        said = done(call(north.root, "receipts", *options))
        assert re.search(rf"{study.digest[:12]}  round +2 +42,000$", said, re.MULTILINE)
        assert max(map(len, said.splitlines())) < 80
        assert re.search(r"join +1 +300$", said, re.MULTILINE)
        assert "42,300 bytes left; 1 request was refused." in said and "epsilon 1.500" in said


def test_receipts_of_other_days_are_left_out(north, study, monkeypatch) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=40)

    class Then(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Then:
            return cls.fromtimestamp(long_ago.timestamp(), tz)

    with monkeypatch.context() as patch:
        patch.setattr("common.disk.audit_events.datetime", Then)
        sent(north, study, {"RoundRequest": 7})
    sent(north, study, {"RoundRequest": 500})
    assert "500 bytes left" in done(call(north.root, "receipts", "--today"))
    assert "507 bytes left" in done(call(north.root, "receipts"))
    since = f"{long_ago.astimezone():%Y-%m-%d}"
    assert "507 bytes left" in done(call(north.root, "receipts", "--since", since))
    assert call(north.root, "receipts", "--today", "--since", since).exit_code == 2


def test_nothing_left_is_said_too(north) -> None:
    assert "0 bytes left; 0 requests were refused" in done(call(north.root, "receipts"))


def test_a_whole_chain_is_told_with_its_head(north, study) -> None:
    done(approve(north.root, "--yes"))
    sent(north, study, {"RoundRequest": 7})
    said = done(call(north.root, "audit"))
    head = audit(north).verify().head
    assert "2 lines are as they were written" in said and head in said
    done(call(north.root, "audit", "--head", head))


def test_a_smaller_number_in_the_log_is_found_in_its_line(north, study) -> None:
    sent(north, study, {"JoinRequest": 300, "RoundRequest": 40_000, "RevealRequest": 5})
    path = north.root / "state" / "audit.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {"bytes": 4}, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n")
    for command in ("audit", "receipts"):
        broken = call(north.root, command)
        assert isinstance(broken.exception, AuditError) and "line 2" in str(broken.exception)
        assert broken.exception.exit_code != 0


def test_a_cut_end_is_found_with_the_head_that_was_kept(north, study) -> None:
    sent(north, study, {"JoinRequest": 300, "RoundRequest": 40_000})
    head = audit(north).verify().head
    path = north.root / "state" / "audit.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    done(call(north.root, "audit"))
    assert isinstance(call(north.root, "audit", "--head", head).exception, AuditError)


def test_a_log_on_the_way_out_of_the_state_folder_is_that_of_site_yaml(north, tmp_path, study) -> None:
    write_site(north.root, {"state": str(tmp_path / "elsewhere")})
    done(approve(north.root, "--yes"))
    assert read_site(north.root).file.state == tmp_path / "elsewhere"
    assert not (north.root / "state").exists() and "1 lines" in done(call(north.root, "audit"))
