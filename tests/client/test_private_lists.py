"""A list of opt-outs leaves out whom it names, and tells a coordinator nothing of whom it finds."""

from __future__ import annotations

import codecs
import logging
import shutil

import pytest
from click.testing import CliRunner

from client.data.losses import told
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.site import read_site
from client.standing import standing
from common.disk.audit import Audit, OptOutsAccepted
from common.errors import DataError
from common.messages import JoinReply, Refusal
from deploy.cli import commands
from tests.support.hospital import person, study_of
from tests.support.scripted import ME, PLAIN
from tests.support.ward import ANSWERED, ONE, OTHER, PATIENTS, Listed, listed, only, private


def test_whether_a_list_of_opt_outs_finds_a_patient_is_not_told(tmp_path, caplog) -> None:
    """A list of one finds nobody once that patient is here no longer: the code `data` told so, uncharged."""
    gone = only(lambda row: row["patient_id"] != ONE)
    assert Listed(tmp_path / "here", private(), ONE).round() == ANSWERED
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert Listed(tmp_path / "gone", private(), ONE, spoil=gone).round() == ANSWERED
    assert "LOOK AT THIS" in caplog.text and "1 listed, 0 found here" in caplog.text and ONE not in caplog.text
    assert any("LOOK AT THE OPT-OUTS" in line for line in standing(read_site(tmp_path / "gone" / "files")))


def test_without_privacy_such_a_list_still_stops_the_site(tmp_path) -> None:
    study = study_of(PLAIN, modalities=["labs", "genes"])
    assert Listed(tmp_path / "some", study, "x-1").round() == ["data"]
    assert Listed(tmp_path / "none", study, ONE).round() == ANSWERED


@pytest.mark.parametrize("kept", ["garbage: [", "format: 9\naccepted: {}\n"], ids=["damaged", "newer"])
def test_what_was_accepted_and_cannot_be_read_tells_nothing_either(tmp_path, kept, caplog) -> None:
    """It was read for an odd list alone: whether ONE is here was whether the site answered."""
    for name, spoil in (("here", lambda _: None), ("gone", only(lambda row: row["patient_id"] != ONE))):
        them = Listed(tmp_path / name, private(), ONE, spoil=spoil)
        (them.root / "state").mkdir(exist_ok=True)
        (them.root / "state" / "exclusions.yaml").write_text(kept)
        with caplog.at_level(logging.WARNING, logger="wardround.site"):
            assert them.round() == ANSWERED
    assert "LOOK AT THIS" in caplog.text and "exclusions.yaml" in caplog.text
    assert any("exclusions.yaml" in line for line in standing(read_site(them.root)))
    plain = Listed(tmp_path / "plain", study_of(PLAIN, modalities=["labs", "genes"]), "x-1")
    (plain.root / "state").mkdir(exist_ok=True)
    (plain.root / "state" / "exclusions.yaml").write_text(kept)
    assert plain.round() == ["data"]


def taken_off(ward: Listed) -> None:
    """A person here takes off whom the list does not name, as it is typed."""
    done = CliRunner().invoke(commands, ["site", "exclusions", "--accept", "--yes", "--at", str(ward.root)])
    assert done.exit_code == 0, done.output


def test_who_was_left_out_stays_left_out_when_the_list_is_no_longer_in_order(tmp_path) -> None:
    """Or names them no more, until a person takes them off."""
    them = Listed(tmp_path, private(), ONE)
    pseudonym = site_secret(them.root / "state").pseudonym(ONE)
    for lines, there in ((), True), ((ONE,), False), (("x-1",), False), ((), False):
        listed(them.root, *lines)
        them.sites[ME] = them.start(ME)
        assert isinstance(them.join(), JoinReply)
        assert (pseudonym in them.sites[ME].site.cohort.sides) is there
    taken_off(them)
    them.sites[ME].site.refresh()  # before the next round, of an agent that goes on
    assert pseudonym in them.sites[ME].site.cohort.sides


def test_whether_one_patient_is_here_brings_nobody_else_back(tmp_path) -> None:
    """A list of ONE, after one that named twelve more: it is in order or finds nobody, as ONE is here or not. Without
    privacy the list in order is the only word.
    """
    others, cohorts = [person(number).patient for number in range(1, 13)], []
    for there in True, False:
        ward = Listed(tmp_path / str(there), private({}, "labs"), ONE, *others)
        ward.join()
        if not there:
            only(lambda row: row["patient_id"] != ONE)(ward.root)
        listed(ward.root, ONE)
        ward.sites[ME] = ward.start(ME)
        assert ward.round() == ANSWERED
        cohorts.append(ward.sites[ME].site.cohort)
        assert len(cohorts[-1].sides) == PATIENTS - 13
    assert "exclusions: 12 patients whom an earlier list named" in " ".join(told(cohorts[0].counts))
    assert bool(cohorts[0].doubt) < bool(cohorts[1].doubt)
    plain = prepare(read_site(tmp_path / "True" / "files"), study_of(PLAIN, modalities=["labs"]))
    assert len(plain.sides) == PATIENTS - 1


# A line of the list that names ONE and is no row, and its neighbour OTHER; the list's first line.
ODD_LINES = {
    "a comma in a remark": ("patient_id,remark", f"{OTHER},by letter", f"{ONE},by letter, 3 May"),
    "a cell too few": ("remark,patient_id", f"by letter,{OTHER}", ONE),
    "an open quote": ("patient_id", f'"{ONE}', OTHER),
    "an open quote before a closed one": ("patient_id", f'"{ONE}', f'"{OTHER}"'),
    "an open quote that a later one closes": ("patient_id", f'"{ONE}', f'{OTHER}"'),
    "text after a quote": ("patient_id", OTHER, f'"{ONE}" (moved)'),
    "an open quote in a remark that the neighbour's closes": (
        "patient_id,remark",
        f'{ONE},"by letter',
        f'{OTHER},by letter"',
    ),
    "an open quote in a remark that the neighbour's two close": (
        "patient_id,remark",
        f'{ONE},"by letter',
        f'{OTHER},"',
        'by letter, 3 May"',
    ),
    "a remark of two lines": ("remark,patient_id", '"by letter,', f'3 May",{ONE}', f"by letter,{OTHER}"),
    "a page's end in a line": ("patient_id", f'"{ONE}\x0c{OTHER}"'),
    "an open quote in a remark": ("patient_id,remark", f'{ONE},"by letter', f"{OTHER},by letter"),
}


@pytest.mark.parametrize("odd", ODD_LINES)
def test_an_odd_line_of_the_list_stops_no_private_study_and_leaves_out_whom_it_names(tmp_path, odd, caplog) -> None:
    """Both are out, the people here are told, and a study without privacy stops until somebody has looked."""
    heading, *lines = ODD_LINES[odd]
    ward = Listed(tmp_path, private({}, "labs"), ONE, OTHER)
    (ward.root / "list.csv").write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.round() == ANSWERED
    secret, sides = site_secret(ward.root / "state"), ward.sites[ME].site.cohort.sides
    assert len(sides) == PATIENTS - 2 and not {secret.pseudonym(one) for one in (ONE, OTHER)} & sides.keys()
    assert "cannot be read for certain (line" in caplog.text and ONE not in caplog.text
    with pytest.raises(DataError, match="site exclusions --accept"):
        prepare(read_site(ward.root), study_of(PLAIN, modalities=["labs"]))


def test_whom_an_odd_line_names_is_out_also_before_the_list_was_ever_in_order(tmp_path) -> None:
    ward = Listed(tmp_path, private({}, "labs"), OTHER, f'"{ONE}')
    assert isinstance(ward.join(), JoinReply)
    assert site_secret(ward.root / "state").pseudonym(ONE) not in ward.sites[ME].site.cohort.sides


def damaged(encoding: str, *bytes_: bytes) -> bytes:
    """A list in which ONE's line has a byte too many, or its end has lost one of its two."""
    marked = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    line, end = ONE.encode(encoding), "\n".encode(encoding)
    rest = "\n".join(person(number).patient for number in range(1, 8)).encode(encoding)
    return marked + "patient_id\n".encode(encoding) + line + b"".join(bytes_ or [end]) + rest


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_stray_byte_in_one_line_of_the_list_loses_no_other_line(tmp_path, encoding) -> None:
    """Seven objected in the lines behind it. A person is asked to look; whole, the list is in order."""
    secret, end = site_secret(tmp_path / "files" / "state"), "\n".encode(encoding)
    for bytes_ in ((), (b"x", end), (b"\xff", end), (end[:1],), (end[1:],), (b"\n", end), (b"x", end, b"y", end)):
        ward = Listed(tmp_path, private({}, "labs"))
        (ward.root / "list.csv").write_bytes(damaged(encoding, *bytes_))
        ward.sites[ME] = ward.start(ME)
        assert isinstance(ward.join(), JoinReply)
        cohort = ward.sites[ME].site.cohort
        assert not {secret.pseudonym(person(number).patient) for number in range(1, 8)} & cohort.sides.keys(), bytes_
        assert bool(cohort.doubt) == bool(bytes_)
        shutil.rmtree(tmp_path / "files")


def looked(ward: Listed) -> frozenset[str]:
    """Who of the two is in the cohort as the files are now."""
    ward.sites[ME] = ward.start(ME)
    assert isinstance(ward.join(), JoinReply)
    sides, secret = ward.sites[ME].site.cohort.sides, site_secret(ward.root / "state")
    return frozenset(one for one in (ONE, OTHER) if secret.pseudonym(one) in sides)


def test_who_was_left_out_stays_left_out_when_an_export_was_without_them(tmp_path) -> None:
    """An export without ONE, while OTHER keeps the list in order; then ONE is back, and the list is in doubt."""
    ward = Listed(tmp_path, private({}, "labs"), ONE, OTHER)
    whole = (ward.root / "records.csv").read_bytes()
    assert looked(ward) == frozenset()
    only(lambda row: row["patient_id"] != ONE)(ward.root)
    assert looked(ward) == frozenset()
    (ward.root / "records.csv").write_bytes(whole)
    listed(ward.root, "x-1")
    assert looked(ward) == frozenset()
    listed(ward.root, OTHER)  # in order, ONE is here and it does not name ONE
    assert looked(ward) == frozenset()
    taken_off(ward)
    assert looked(ward) == {ONE}
    listed(ward.root, "x-1")
    assert looked(ward) == {ONE}


@pytest.mark.parametrize("lines", [(ONE, OTHER), ()], ids=["two left out", "nobody left out"])
@pytest.mark.parametrize("now", [(ONE,), ("x-1",)], ids=["in order", "in doubt"])
def test_under_another_key_of_pseudonyms_a_site_stops_for_a_person(tmp_path, caplog, lines, now) -> None:
    """Who was left out, whether anybody was, and whom the list finds now is no reason."""
    ward = Listed(tmp_path, private({}, "labs"), *lines)
    looked(ward)
    (ward.root / "state" / "pseudonym.key").unlink()
    listed(ward.root, *now)
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    assert "another pseudonym.key" in caplog.text and "site exclusions --accept" in caplog.text
    taken_off(ward)
    assert looked(ward) == {ONE, OTHER}.difference(now)


@pytest.mark.parametrize("lost", ["deleted", "put back", "deleted with its key", "damaged"])
def test_a_file_of_who_was_left_out_that_was_deleted_or_put_back_is_refused_in_words(tmp_path, caplog, lost) -> None:
    """Before, whoever objected was back in silence while the list was in doubt."""
    ward = Listed(tmp_path, private({}, "labs"), OTHER)
    looked(ward)
    kept = ward.root / "state" / "opted_out.json"
    older = kept.read_bytes()
    listed(ward.root, ONE, OTHER)
    looked(ward)
    listed(ward.root, "x-1")
    assert looked(ward) == frozenset()
    newest = kept.read_bytes()
    match lost:
        case "put back":
            kept.write_bytes(older)
        case "damaged":
            kept.write_bytes(newest[:-9])
        case _:
            kept.unlink()
    if lost == "deleted with its key":
        (ward.root / "state" / "pseudonym.key").unlink()
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    assert "opted_out.json" in caplog.text and "site exclusions --accept" in caplog.text and ONE not in caplog.text
    assert any("opted_out.json" in line for line in standing(read_site(ward.root)))
    if lost != "deleted with its key":
        kept.write_bytes(newest)
        assert looked(ward) == frozenset()
        kept.unlink()
    listed(ward.root, ONE)
    taken_off(ward)
    assert looked(ward) == {OTHER}
    *_, last = (record.event for record in Audit(ward.root / "state" / "audit.jsonl").events())
    assert isinstance(last, OptOutsAccepted) and last.number == 1


def test_a_newer_file_of_who_was_left_out_is_refused_as_newer_and_not_overwritten(tmp_path, caplog) -> None:
    """Whatever it holds, and also where a person accepts the list as it is. A study without privacy asks the list."""
    ward = Listed(tmp_path, private({}, "labs"), OTHER)
    looked(ward)
    kept = ward.root / "state" / "opted_out.json"
    content = b'{"format": 2, "whom": []}'
    kept.write_bytes(content)
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    done = CliRunner().invoke(commands, ["site", "exclusions", "--accept", "--yes", "--at", str(ward.root)])
    assert isinstance(done.exception, DataError)
    for said in (caplog.text, str(done.exception), "\n".join(standing(read_site(ward.root)))):
        assert "newer release of wardround" in said and "damaged" not in said
    assert kept.read_bytes() == content
    assert len(prepare(read_site(ward.root), study_of(PLAIN, modalities=["labs"])).sides) > 0


@pytest.mark.parametrize(("gone", "listed_first"), [("the file", 9), ("the log", 2)])
def test_a_file_from_before_a_person_took_some_off_is_refused_in_words(tmp_path, caplog, gone, listed_first) -> None:
    """It has more than the log's last number, and not those whom later lists left out: they were back in silence. And
    one that knows of decisions of which its log does not.
    """
    ward = Listed(tmp_path, private({}, "labs"), *(person(number + 1).patient for number in range(listed_first)))
    looked(ward)
    kept, log = (ward.root / "state" / name for name in ("opted_out.json", "audit.jsonl"))
    older = kept.read_bytes(), log.read_bytes()
    listed(ward.root, OTHER)
    taken_off(ward)
    listed(ward.root, ONE, OTHER, person(2).patient)
    assert looked(ward) == frozenset()
    newest = kept.read_bytes(), log.read_bytes()
    listed(ward.root, OTHER)
    (kept.write_bytes(older[0]) if gone == "the file" else log.write_bytes(older[1]))
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    assert "is not as the audit log" in caplog.text and "site exclusions --accept" in caplog.text
    kept.write_bytes(newest[0]), log.write_bytes(newest[1])
    assert looked(ward) == frozenset()
    (kept.write_bytes(older[0]) if gone == "the file" else log.write_bytes(older[1]))
    taken_off(ward)
    assert looked(ward) == {ONE}


def test_a_second_decision_over_a_damaged_file_is_one_that_counts(tmp_path) -> None:
    """The file says how often a person decided, and so does the log, whatever became of the file between."""
    ward = Listed(tmp_path, private({}, "labs"), ONE, OTHER)
    looked(ward)
    for list_now, there in (((OTHER,), {ONE}), ((ONE,), {OTHER})):
        (ward.root / "state" / "opted_out.json").write_text("{")
        listed(ward.root, *list_now)
        taken_off(ward)
        assert looked(ward) == there
