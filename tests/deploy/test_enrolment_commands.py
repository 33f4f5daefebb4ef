"""Enrolment as people at a coordinator and at hospitals type it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.membership.identity import SiteIdentity
from common.errors import IdentityError, RunError, SiteFileError
from common.identity.enrolment import Coordinator, Kit, Request
from common.identity.roster import fingerprint
from deploy.cli import commands
from server.consortium import certificates
from server.consortium.consortium import Consortium
from tests.support.enrol_all import enrol_all
from tests.support.enrolment import request, secrets, site_folder

SITES = "north", "south", "west"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with three hospitals that have only a site.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in SITES:
        site_folder(tmp_path, name)
    return tmp_path


def wardround(line: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(commands, line.split(), input=answer)


def done(line: str, answer: str | None = None) -> Result:
    result = wardround(line, answer)
    assert result.exit_code == 0, (line, result.output, result.exception)
    return result


def admit_all() -> list[Result]:
    results = [done("consortium new Baltic --host localhost --also 127.0.0.1 --port 9555")]
    for name in SITES:
        results.append(done(f"site enrol --at {name} --out {name}.yaml"))
        results.append(done(f"consortium admit {name}.yaml --out kit.yaml", "y\n"))
    return [*results, done("consortium kits --out kits")]


def join_all() -> list[Result]:
    return [done(f"site join kits/{name}.yaml --at {name}", "y\n") for name in SITES]


def test_the_whole_journey(here):
    results = [*admit_all(), *join_all()]
    rosters = {SiteIdentity.read(name, here / name / "state" / "identity").roster.digest for name in SITES}
    assert rosters == {Consortium.read(here / "consortium").roster.digest}
    assert Coordinator.read(here / "west" / "connector" / "coordinator.yaml").address == "localhost:9555"
    results += [done("site rotate --at west --out west.yaml"), done("consortium admit west.yaml --yes --out kit.yaml")]
    results += [done("site join kit.yaml --at west --yes"), done("consortium remove south --yes")]
    results += [done("consortium kits --out kits"), done("site join kits/north.yaml --at north", "y\n")]
    results += [done("site identity --at north"), done("consortium show")]
    shown = results[-3].output
    assert re.search(r"removed\s+south", shown) and re.search(r"new key\s+west", shown)
    for secret in secrets(here):
        assert all(secret not in result.output for result in results)
    assert set(SiteIdentity.read("north", here / "north" / "state" / "identity").roster.sites) == {"north", "west"}


def test_both_ends_of_the_telephone_read_the_same(here):
    admit_all()
    site = done("site enrol --at north --out again.yaml").output
    asked = Request.read(here / "north.yaml")
    admitted = done("consortium admit north.yaml --out kit.yaml", "y\n").output
    assert fingerprint(asked.public) in site and fingerprint(asked.public) in admitted
    consortium, joined = done("consortium show").output, done("site join kits/north.yaml --at north", "y\n").output
    pinned = done("site identity --at north").output
    for line in ("Authority", "Roster"):
        (said,) = re.findall(rf"{line}\s+((?:[0-9a-f]{{4}} ?){{8}})", consortium)
        assert said.strip() in joined and said.strip() in pinned
    key = re.search(r"\n  north +([0-9a-f ]{39})\n", consortium)
    assert key and key[1] in joined and key[1] in pinned
    assert max(map(len, (consortium + pinned).splitlines())) <= 80


def test_documents_go_to_standard_output_whole(here):
    done("consortium new Baltic --host localhost")
    (here / "request.yaml").write_text(done("site enrol --at north").stdout)
    (here / "kit.yaml").write_text(done("consortium admit request.yaml", "y\n").stdout)
    assert Kit.read(here / "kit.yaml").site == Request.read(here / "request.yaml").site == "north"
    (here / "again.yaml").write_text(done("consortium kit north").stdout)
    assert Kit.read(here / "again.yaml").roster == Kit.read(here / "kit.yaml").roster


def test_no_is_an_answer(here):
    done("consortium new Baltic --host localhost")
    done("site enrol --at north --out north.yaml")
    refused = wardround("consortium admit north.yaml --out kit.yaml", "n\n")
    assert refused.exit_code == 1 and "Nothing was changed" in refused.output and not (here / "kit.yaml").exists()
    assert dict(Consortium.read(here / "consortium").roster.sites) == {}
    done("consortium admit north.yaml --out kit.yaml --yes")
    assert wardround("site join kit.yaml --at north", "n\n").exit_code == 1
    assert not (here / "north" / "state" / "identity" / "roster.yaml").exists()
    assert wardround("consortium remove north", "n\n").exit_code == 1
    assert wardround("consortium remove north", "").exit_code == 1  # nobody there to answer
    assert set(Consortium.read(here / "consortium").roster.sites) == {"north"}


def test_only_who_joined_before_has_daemons_to_restart(here):
    admit_all()
    for first in join_all():
        assert "Restart" not in first.output and "site approve" in first.output
    done("site rotate --at west --out west.yaml")
    done("consortium admit west.yaml --yes --out kit.yaml")
    assert "Restart its daemons" in done("site join kit.yaml --at west --yes").output


def test_nothing_new_asks_nothing(here):
    admit_all()
    join_all()
    assert "need the new roster" not in done("consortium admit north.yaml --yes --out again.yaml").output
    assert "nothing is new" in done("site join kits/north.yaml --at north").output


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("consortium show --at elsewhere", RunError, "consortium new"),
        ("consortium new Baltic --host localhost", RunError, "not an empty folder"),
        ("consortium new B --host https://x --at other", RunError, "DNS name"),
        ("consortium kit east", IdentityError, "not a member"),
        ("consortium remove east --yes", IdentityError, "not a member"),
        ("consortium admit kits/north.yaml --yes", IdentityError, "another kind of file"),
        ("consortium admit thief.yaml --yes", IdentityError, "another key"),
        ("site join kits/south.yaml --at north --yes", IdentityError, "'south'"),
        ("site join north.yaml --at north --yes", IdentityError, "another kind of file"),
        ("site join foreign.yaml --at north --yes", IdentityError, "--replace"),
        ("site enrol --at north --name south", SiteFileError, "Choose one"),
        ("site identity --at empty", SiteFileError, "no site.yaml"),
        ("site rotate --at fresh", IdentityError, "site enrol"),
        ("site enrol --at north --out /dev/null", RunError, "not a plain file"),
        ("site enrol --at north --out missing/request.yaml", RunError, "cannot be written"),
        ("consortium kits --out north.yaml", RunError, "cannot be made"),
    ],
)
def test_every_mistake_is_named(here, line, error, words):
    admit_all()
    join_all()
    (here / "empty").mkdir()
    site_folder(here, "fresh")
    (here / "thief.yaml").write_text(request("north").to_text())
    other = Consortium.new(here / "foreign", "Adriatic", "localhost").admit(Request.read(here / "north.yaml"))
    (here / "foreign.yaml").write_text(other.kit("north").to_text())
    before = Consortium.read(here / "consortium")
    result = wardround(line)
    assert isinstance(result.exception, error) and words in str(result.exception)
    assert Consortium.read(here / "consortium") == before
    assert SiteIdentity.read("north", here / "north" / "state" / "identity").roster == before.roster


@pytest.mark.parametrize(
    "line",
    ["site enrol north", "site rotate north", "site identity north", "site join kits/north.yaml north",
     "site studies north", "consortium show consortium"],
)  # fmt: skip
def test_a_folder_given_as_a_word_is_told_its_option(here, line):
    admit_all()
    result = wardround(line)
    assert result.exit_code == 2 and f"--at {line.split()[-1]}" in result.output
    assert not (here / "north" / "state" / "identity" / "roster.yaml").exists()


def test_a_site_changes_over_when_it_says_so(here):
    admit_all()
    join_all()
    other = Consortium.new(here / "foreign", "Adriatic", "localhost").admit(Request.read(here / "north.yaml"))
    (here / "foreign.yaml").write_text(other.kit("north").to_text())
    assert re.search(r"LEAVES\s+consortium Baltic", done("site join foreign.yaml --at north --replace", "y\n").output)
    assert "Adriatic" in done("site identity --at north").output


def test_a_removed_site_returns_with_new_keys(here):
    admit_all()
    join_all()
    done("consortium remove north --yes")
    assert "left the roster" in str(wardround("consortium admit north.yaml --yes").exception)
    first = done("site enrol --at north --new-keys --out new.yaml").output
    again = done("site enrol --at north --new-keys --out new.yaml").output
    assert "wait for a kit" in again and "wait for a kit" not in first
    done("consortium admit new.yaml --yes --out kit.yaml")
    assert re.search(r"serial 5, 3 sites", done("site join kit.yaml --at north", "y\n").output)
    assert "serial 5" in done("site identity --at north").output and "serial 5" in done("consortium show").output


def test_an_old_kit_is_joined_only_by_who_goes_back_on_purpose(here):
    admit_all()
    done("consortium kits --out old")
    done("consortium remove south --yes")
    done("consortium kits --out kits")
    done("site join kits/north.yaml --at north --yes")
    refused = wardround("site join old/north.yaml --at north --yes")
    assert isinstance(refused.exception, IdentityError) and "newest kit" in str(refused.exception)
    back = done("site join old/north.yaml --at north --replace", "y\n").output
    assert re.search(r"GOES BACK\s+from the roster with serial 4", back) and re.search(r"added\s+south", back)


def test_a_kit_left_in_the_folder_is_of_no_member_and_named(here):
    admit_all()
    done("consortium remove south --yes")
    said = done("consortium kits --out kits").output
    assert "Wrote 2 kits" in said and re.search(r"Not written now.*: south\.yaml\.", said)
    (here / "kits" / "south.yaml").unlink()
    assert "Not written now" not in done("consortium kits --out kits").output


def test_how_long_the_authority_lasts_is_shown_on_both_sides(here, monkeypatch):
    for name, years, warned in (("young", 2, False), ("old", 0.5, True)):
        monkeypatch.setattr(certificates, "AUTHORITY_YEARS", years)
        made = enrol_all(here / name, [site_folder(here, f"of_{name}")])
        ends = f"valid until {certificates.not_after(made.ca_certificate):%Y-%m-%d}"
        for line in (f"consortium show --at {name}", f"site identity --at of_{name}", f"site check --at of_{name}"):
            said = wardround(line).output
            assert ends in said and ("LESS THAN A YEAR" in said) == warned


def test_a_site_that_has_not_joined_says_so(here):
    done("site enrol --at north --out north.yaml")
    assert "Not joined" in done("site identity --at north").output


def test_renewing_says_until_when(here):
    done("consortium new Baltic --host localhost")
    assert re.search(r"until 20\d\d-\d\d-\d\d", done("consortium renew").output)


def test_all_at_once_is_the_same_as_step_by_step(here):
    made = enrol_all(here / "consortium", [here / name for name in SITES], port=9777, also=["localhost"])
    assert made == Consortium.read(here / "consortium") and set(made.node_keys) == set(SITES)
    for name in SITES:
        assert SiteIdentity.read(name, here / name / "state" / "identity").roster == made.roster
        assert (here / name / "connector" / "ca.crt").read_bytes() == made.ca_certificate
    assert Coordinator.read(here / "north" / "connector" / "coordinator.yaml").address == "127.0.0.1:9777"
