"""A site's side of enrolment: what it makes, what it pins, and whom it does not believe."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from client.membership import joining
from client.membership.enrolment import SitePlace, enrol, rotate
from client.membership.identity import KEY_FILE, SiteIdentity, read_key
from client.membership.joining import compare, join
from common.errors import IdentityError, RunError, SiteFileError
from common.identity.enrolment import Coordinator, Kit, Request
from common.identity.node_key import generate, public_of
from common.identity.roster import Roster, SigningKey, fingerprint
from server.consortium.certificates import read_key as read_authority_key
from server.consortium.consortium import Consortium
from tests.support.enrolment import enrolled, node_public, request, secrets, site_folder


@pytest.fixture
def consortium(tmp_path) -> Consortium:
    return Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org")


@pytest.fixture
def north(tmp_path, consortium) -> SitePlace:
    """A site that was admitted and has joined, beside another one."""
    place, asked = enrolled(tmp_path, "north")
    consortium.admit(request("south")).admit(asked)
    join(place, kit(consortium, "north"))
    return place


def kit(consortium: Consortium, site: str) -> Kit:
    return Consortium.read(consortium.folder).kit(site)


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def node_of(place: SitePlace) -> str:
    return public_of((place.connector / "node.key").read_bytes(), "node.key")


# ---------------------------------------------------------------------------------------------------------- enrolment


def test_enrolling_makes_keys_for_the_owner_only(tmp_path):
    place, asked = enrolled(tmp_path, "north")
    assert mode(place.identity / "signing.key") == mode(place.connector / "node.key") == 0o600
    folders = place.identity, place.identity.parent, place.connector
    assert {mode(folder) for folder in folders} == {0o700}
    assert asked.public == place.signing_key().public and asked.node_key == node_of(place)


def test_folders_that_others_could_enter_are_closed(tmp_path):
    folder = site_folder(tmp_path, "north")
    for name in ("state", "connector"):
        (folder / name).mkdir(mode=0o777)
        (folder / name).chmod(0o777)
    place = SitePlace.at(folder)
    enrol(place)
    assert mode(folder / "state") == mode(folder / "connector") == 0o700


def test_the_connector_is_given_no_signing_key(north):
    signing = (north.identity / "signing.key").read_bytes()
    assert all(
        signing not in data and signing.hex().encode() not in data for data in contents(north.connector).values()
    )


def test_enrolling_again_gives_the_same_request(tmp_path):
    place, asked = enrolled(tmp_path, "north")
    assert enrol(place) == asked == Request.read(place.request)


def test_no_secret_is_in_a_request_or_a_kit(tmp_path, consortium):
    place, asked = enrolled(tmp_path, "north")
    consortium.admit(asked)
    turned = rotate(place)
    texts = asked.to_text() + turned.to_text() + kit(consortium, "north").to_text() + repr((place, asked, consortium))
    for secret in secrets(tmp_path):
        assert secret not in texts
    assert "PRIVATE" not in texts


@pytest.mark.parametrize("key", ["state/identity/signing.key", "connector/node.key"])
def test_a_key_that_others_may_read_is_not_used(tmp_path, key):
    place, _ = enrolled(tmp_path, "north")
    (tmp_path / "north" / key).chmod(0o644)
    with pytest.raises(IdentityError, match=f"{Path(key).name}.*chmod 600"):
        enrol(place)


def test_the_name_is_the_site_files(tmp_path):
    folder = site_folder(tmp_path, "north")
    assert SitePlace.at(folder).name == SitePlace.at(folder / "site.yaml").name == "north"
    with pytest.raises(SiteFileError, match=r"'north'.*'south'"):
        SitePlace.at(folder, "south")


def test_a_site_may_enrol_before_it_has_a_site_file(tmp_path):
    with pytest.raises(SiteFileError, match="--name"):
        SitePlace.at(tmp_path)
    enrol(SitePlace.at(tmp_path, "north"))
    assert SitePlace.at(tmp_path).name == "north"


def test_folders_are_where_the_site_file_says(tmp_path):
    folder = site_folder(tmp_path, "north")
    with (folder / "site.yaml").open("a") as file:
        file.write(f"state: {tmp_path / 'var' / 'state'}\nconnector: ../net\n")
    enrol(SitePlace.at(folder))
    assert (tmp_path / "var" / "state" / "identity" / "signing.key").exists()
    assert (tmp_path / "net" / "node.key").exists()


# ------------------------------------------------------------------------------------------------------------ joining


def test_joining_pins_the_roster_the_authority_and_the_way(north, consortium):
    now = Consortium.read(consortium.folder)
    identity = SiteIdentity.read("north", north.identity)
    assert identity.roster == now.roster
    assert (north.connector / "ca.crt").read_bytes() == now.ca_certificate
    found = Coordinator.read(north.connector / "coordinator.yaml")
    assert (found.consortium, found.site, found.address) == ("Baltic", "north", "fl.example.org:9443")
    assert north.authority() == now.ca_certificate.decode()


def test_the_first_join_shows_everybody(tmp_path, consortium):
    place, asked = enrolled(tmp_path, "north")
    other = request("south")
    consortium.admit(other).admit(asked)
    changes = compare(place, kit(consortium, "north"))
    assert changes.first and not changes.none
    assert changes.added == {"north": fingerprint(asked.public), "south": fingerprint(other.public)}


def test_looking_changes_nothing(north, consortium):
    consortium.admit(request("west"))
    before = contents(north.identity, north.connector)
    assert not compare(north, kit(consortium, "north")).none
    assert contents(north.identity, north.connector) == before


def test_who_came_went_and_changed_is_shown_with_fingerprints(north, consortium, tmp_path):
    assert compare(north, kit(consortium, "north")).none
    before = Consortium.read(consortium.folder)
    west, east = SigningKey.generate(), SigningKey.generate()
    before.admit(request("west", west))
    join(north, kit(consortium, "north"))
    newer = SigningKey.generate()
    consortium.admit(Request.make("west", newer, node_public(), previous=west))
    consortium.admit(request("east", east))
    consortium.remove("south")
    changes = compare(north, kit(consortium, "north"))
    assert changes.added == {"east": fingerprint(east.public)}
    assert changes.removed == {"south": fingerprint(before.roster.sites["south"])}
    assert changes.changed == {"west": (fingerprint(west.public), fingerprint(newer.public))}
    assert not changes.first and changes.replaces is None and changes.moved is None


def test_a_new_address_is_shown(north, consortium):
    path = consortium.folder / "consortium.yaml"
    path.write_text(path.read_text().replace("fl.example.org", "moved.example.org"))
    changes = compare(north, kit(consortium, "north"))
    assert changes.moved == "fl.example.org:9443" and not changes.none
    join(north, changes.kit)
    assert Coordinator.read(north.connector / "coordinator.yaml").host == "moved.example.org"


def test_a_kit_of_another_site_is_refused(north, consortium):
    with pytest.raises(IdentityError, match=r"'south'.*'north'"):
        join(north, kit(consortium, "south"))


def test_a_site_does_not_join_with_a_key_that_it_does_not_hold(tmp_path, consortium):
    """Somebody enrolled first, under this site's name."""
    place, _ = enrolled(tmp_path, "north")
    consortium.admit(request("north"))
    with pytest.raises(IdentityError, match=r"does not hold.*telephone"):
        join(place, kit(consortium, "north"))
    assert not (place.identity / "roster.yaml").exists() and not (place.connector / "ca.crt").exists()


@pytest.mark.parametrize("name", ["Adriatic", "Baltic"])
def test_another_consortium_is_joined_only_when_the_site_says_so(north, tmp_path, name):
    """Also one that only has the same name: a pretender who got hold of the site's request."""
    other = Consortium.new(tmp_path / "other", name, "evil.example.org")
    other.admit(Request.read(north.request))
    before = contents(north.identity, north.connector)
    for step in (compare, join):
        with pytest.raises(IdentityError, match=r"belongs to consortium 'Baltic'.*--replace"):
            step(north, kit(other, "north"))
    assert contents(north.identity, north.connector) == before
    changes = join(north, kit(other, "north"), replace=True)
    assert changes.replaces == "Baltic" and not changes.first and set(changes.added) == {"north"}
    assert SiteIdentity.read("north", north.identity).roster == Consortium.read(other.folder).roster
    assert north.authority() == other.ca_certificate.decode()


def test_a_roster_signed_by_another_authority_is_refused(north, consortium, tmp_path):
    """The pinned certificate is public: whoever writes a kit around it has not its key."""
    other = Consortium.new(tmp_path / "other", "Baltic", "fl.example.org")
    forger = read_authority_key((other.folder / "ca" / "ca.key").read_bytes(), "ca.key")
    roster = Roster("Baltic", {"north": north.signing_key().public, "evil": SigningKey.generate().public})
    with pytest.raises(IdentityError, match="not signed by the certificate authority"):
        Kit.make(forger, consortium.ca_certificate.decode(), roster, "north", "fl.example.org", 9443)


def test_joining_before_enrolling_says_what_to_do(tmp_path, consortium):
    consortium.admit(request("north"))
    with pytest.raises(IdentityError, match="site enrol"):
        join(SitePlace.at(site_folder(tmp_path, "north")), kit(consortium, "north"))


# ------------------------------------------------------------------------------------------------- older, or two of one


def test_an_older_kit_does_not_bring_a_removed_site_back(north, consortium):
    early = kit(consortium, "north")
    consortium.remove("south")
    join(north, kit(consortium, "north"))
    before = contents(north.identity, north.connector)
    for step in (compare, join):
        with pytest.raises(IdentityError, match=r"serial 2, and this site has joined with 3.*newest kit.*--replace"):
            step(north, early)
    assert contents(north.identity, north.connector) == before


def test_a_kit_that_says_a_later_serial_than_it_was_made_with_is_none(north, consortium, tmp_path):
    early = kit(consortium, "north")
    (tmp_path / "later.yaml").write_text(early.to_text().replace("serial: 2", "serial: 9"))
    with pytest.raises(IdentityError, match="not signed"):
        Kit.read(tmp_path / "later.yaml")


def test_two_rosters_of_one_serial_are_refused(north, consortium, tmp_path):
    """Two copies of the coordinator's folder, each of which admits somebody else."""
    shutil.copytree(consortium.folder, tmp_path / "copy")
    consortium.admit(request("west"))
    Consortium.read(tmp_path / "copy").admit(request("evil"))
    join(north, kit(consortium, "north"))
    with pytest.raises(IdentityError, match=r"two copies of the coordinator's folder.*telephone"):
        join(north, Consortium.read(tmp_path / "copy").kit("north"))
    assert "evil" not in north.roster().sites


def test_a_coordinator_that_went_back_to_a_backup_is_followed_when_the_site_says_so(north, consortium, tmp_path):
    shutil.copytree(consortium.folder, tmp_path / "backup")
    consortium.admit(request("west"))
    join(north, kit(consortium, "north"))
    restored = Consortium.read(tmp_path / "backup")
    changes = join(north, restored.kit("north"), replace=True)
    assert changes.reverts == 3 and not changes.none and set(changes.removed) == {"west"} and changes.replaces is None
    assert north.roster() == restored.roster
    assert join(north, restored.admit(request("west")).kit("north")).reverts is None


def test_the_same_kit_may_be_joined_again(north, consortium):
    assert join(north, kit(consortium, "north")).none


# ----------------------------------------------------------------------------------------------------------- new keys


def test_a_removed_site_returns_with_new_keys(north, consortium):
    old, old_node = north.signing_key().public, node_of(north)
    consortium.remove("north")
    asked = enrol(north, new_keys=True)
    assert asked.previous is None and asked.public != old and asked.node_key != old_node
    assert north.signing_key().public == old, "until the kit is here, nothing of the site changes"
    assert enrol(north, new_keys=True) == asked
    consortium.admit(asked)
    changes = join(north, kit(consortium, "north"))
    assert changes.changed == {"north": (fingerprint(old), fingerprint(asked.public))}
    assert SiteIdentity.read("north", north.identity).key.public == asked.public and node_of(north) == asked.node_key
    assert not north.pending


def test_the_first_keys_are_new_keys(tmp_path):
    place = SitePlace.at(site_folder(tmp_path, "north"))
    assert enrol(place, new_keys=True) == enrol(place) and not place.pending


def test_a_site_that_lost_its_state_returns_with_new_keys(north, consortium):
    """The node key is left, which the coordinator does not take again."""
    shutil.rmtree(north.identity.parent)
    consortium.remove("north")
    node = node_of(north)
    asked = enrol(north, new_keys=True)
    assert asked.node_key != node
    consortium.admit(asked)
    join(north, kit(consortium, "north"))
    assert SiteIdentity.read("north", north.identity).key.public == asked.public and node_of(north) == asked.node_key


def test_a_site_that_enrols_with_what_is_left_of_revoked_keys_is_told_the_way(north, consortium):
    shutil.rmtree(north.identity.parent)
    consortium.remove("north")
    with pytest.raises(IdentityError, match="--new-keys"):
        consortium.admit(enrol(north))
    consortium.admit(enrol(north, new_keys=True))
    join(north, kit(consortium, "north"))
    assert SiteIdentity.read("north", north.identity) and not north.pending


# ----------------------------------------------------------------------------------------------------------- rotation


def test_old_keys_serve_until_the_new_kit_is_joined(north, consortium):
    old, old_node = north.signing_key().public, node_of(north)
    asked = rotate(north)
    assert asked.previous == old and asked.public != old and asked.node_key != old_node
    assert SiteIdentity.read("north", north.identity).key.public == old and node_of(north) == old_node
    join(north, kit(consortium, "north"))  # a kit for another reason, on the way before the rotation
    assert north.pending and SiteIdentity.read("north", north.identity).key.public == old
    consortium.admit(asked)
    join(north, kit(consortium, "north"))
    assert SiteIdentity.read("north", north.identity).key.public == asked.public and node_of(north) == asked.node_key
    assert not north.pending
    names = {path.name for folder in (north.identity, north.connector) for path in folder.rglob("*")}
    assert names == {"signing.key", "roster.yaml", "request.yaml", "node.key", "ca.crt", "coordinator.yaml"}


def test_the_keys_of_a_rotation_are_private_too(north):
    rotate(north)
    assert {mode(path) for path in (*north.identity.rglob("*.key"), *north.connector.rglob("*.key"))} == {0o600}
    assert mode(north.identity / "next") == mode(north.connector / "next") == 0o700


def test_rotating_again_gives_the_same_request(north):
    assert rotate(north) == rotate(north)


def test_a_rotation_before_enrolment_says_what_to_do(tmp_path):
    with pytest.raises(IdentityError, match="site enrol"):
        rotate(SitePlace.at(site_folder(tmp_path, "north")))


def test_an_early_kit_does_not_bring_the_old_key_back(north, consortium):
    early = kit(consortium, "north")
    consortium.admit(rotate(north))
    join(north, kit(consortium, "north"))
    with pytest.raises(IdentityError, match="kit is old"):
        join(north, early)
    with pytest.raises(IdentityError, match="does not hold"):
        join(north, early, replace=True)


@pytest.mark.parametrize("after", range(4))
def test_a_join_cut_short_is_completed_by_joining_again(north, consortium, monkeypatch, after):
    """A crash after each of the steps that write, in turn, while a rotation is taken over."""
    asked = rotate(north)
    consortium.admit(asked)
    newer, left = kit(consortium, "north"), [after]

    class Crash(BaseException):
        pass

    def counted(step):
        def run(*arguments):
            if not left[0]:
                raise Crash
            left[0] -= 1
            return step(*arguments)

        return run

    with monkeypatch.context() as patched:
        for name in ("write_whole", "pin_roster", "_take_next"):
            patched.setattr(joining, name, counted(getattr(joining, name)))
        with pytest.raises(Crash):
            join(north, newer)
    join(north, newer)
    assert SiteIdentity.read("north", north.identity).key.public == asked.public and node_of(north) == asked.node_key


def test_a_crash_between_the_two_new_keys_is_completed(north, consortium):
    asked = rotate(north)
    consortium.admit(asked)
    (north.identity / "next" / KEY_FILE).replace(north.identity / KEY_FILE)
    join(north, kit(consortium, "north"))
    assert read_key(north.identity / KEY_FILE).public == asked.public and node_of(north) == asked.node_key


def test_a_damaged_node_key_is_named(tmp_path):
    place, _ = enrolled(tmp_path, "north")
    (place.connector / "node.key").write_bytes(generate()[:50])
    with pytest.raises(IdentityError, match=r"node\.key: is not a node key"):
        enrol(place)


def test_an_authority_that_cannot_be_read_is_named(north):
    (north.identity / "ca.crt").unlink()
    (north.identity / "ca.crt").mkdir()
    with pytest.raises(IdentityError, match=r"ca\.crt: cannot be read"):
        north.authority()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    folder = site_folder(tmp_path, "north")
    (folder / "connector").write_text("a file, not a folder")
    with pytest.raises(RunError, match=r"connector: cannot be made private"):
        enrol(SitePlace.at(folder))


def test_a_link_in_place_of_a_pinned_file_is_not_followed(north, consortium, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (north.connector / "ca.crt").unlink()
    (north.connector / "ca.crt").symlink_to(victim)
    with pytest.raises((RunError, IdentityError)):
        join(north, kit(consortium, "north"), replace=True)
    assert victim.read_text() == "untouched"


def test_a_copied_site_is_the_same_site(north, tmp_path):
    """Restoring a backup needs nothing but the folder."""
    shutil.copytree(tmp_path / "north", tmp_path / "restored")
    place = SitePlace.at(tmp_path / "restored")
    assert SiteIdentity.read("north", place.identity).roster == north.roster()
