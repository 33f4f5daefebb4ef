"""The coordinator's folder: whom it admits, what its certificates prove, and who may read its keys."""

from __future__ import annotations

import ssl
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.disk.atomic_file import write_whole
from common.errors import IdentityError, RunError
from common.identity.enrolment import Request
from common.identity.roster import SigningKey
from server.consortium import certificates, revoked
from server.consortium import consortium as folder_of_consortium
from server.consortium.certificates import make_authority, make_server, not_after
from server.consortium.consortium import Consortium
from tests.support.enrolment import node_public, request


@pytest.fixture
def consortium(tmp_path) -> Consortium:
    return Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org", also=["fl.example.net"])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_consortium_is_empty_and_reads_back(consortium):
    found = Consortium.read(consortium.folder)
    assert (found.name, found.host, found.port, found.address) == (
        "Baltic",
        "fl.example.org",
        9443,
        "fl.example.org:9443",
    )
    assert dict(found.roster.sites) == {} and dict(found.node_keys) == {}
    assert found == consortium


def test_keys_are_for_their_owner_only(consortium):
    private = {path.name for path in consortium.folder.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()}
    assert private == {"ca.key", "server.key"}
    assert mode(consortium.folder / "ca" / "ca.key") == mode(consortium.server_key) == 0o600
    folders = [consortium.folder, *(path for path in consortium.folder.rglob("*") if path.is_dir())]
    assert {mode(path) for path in folders} == {0o700}


def test_a_consortium_is_never_made_over_another(consortium, tmp_path):
    before = consortium.ca_file.read_bytes()
    with pytest.raises(RunError, match="not an empty folder"):
        Consortium.new(consortium.folder, "Adriatic", "fl.example.org")
    assert consortium.ca_file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["consortium"]


@pytest.mark.parametrize(
    "host",
    ["https://x.org", "x.org:443", "*.x.org", "", "x..org", "-x.org", "x_y.org", "bücher.de", "1.2.3.999", "a b"],
)
def test_a_host_that_no_certificate_names_is_refused(host, tmp_path):
    with pytest.raises(RunError):
        Consortium.new(tmp_path / "consortium", "Baltic", host)
    with pytest.raises(RunError):
        Consortium.new(tmp_path / "consortium", "Baltic", "fl.example.org", also=[host])
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------- certificates


def handshake(consortium: Consortium, name: str, authority: bytes | None = None) -> None:
    """TLS in memory: a client that trusts only the authority, and asks for `name`."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(cadata=(authority or consortium.ca_certificate).decode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(consortium.server_certificate, consortium.server_key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() == "TLSv1.3" and ends[0].getpeercert()


@pytest.mark.parametrize(
    "name", ["fl.example.org", "fl.example.net", "FL.EXAMPLE.ORG", "127.0.0.1", "localhost", "::1"]
)
def test_the_certificate_proves_each_of_its_names(consortium, name):
    handshake(consortium, name)


@pytest.mark.parametrize("name", ["example.org", "x.fl.example.org", "127.0.0.2", "fl.example.org.evil.net", "::2"])
def test_the_certificate_proves_no_other_name(consortium, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(consortium, name)


def test_another_authority_does_not_vouch_for_it(consortium):
    with pytest.raises(ssl.SSLCertVerificationError, match=r"signature|issuer|self-signed"):
        handshake(consortium, "fl.example.org", make_authority("Baltic").certificate)


def test_ipv6_has_a_certificate_too(tmp_path):
    handshake(Consortium.new(tmp_path / "six", "Six", "::1"), "::1")


def test_the_certificates_say_what_they_are_for(consortium):
    authority = x509.load_pem_x509_certificate(consortium.ca_certificate)
    server = x509.load_pem_x509_certificate(consortium.server_certificate.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical and constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert authority.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    uses = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.SERVER_AUTH]
    for certificate, days in ((authority, 3650), (server, 825)):
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
        assert days <= (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days <= days + 1
    server.verify_directly_issued_by(authority)


def test_a_long_name_still_has_a_certificate(tmp_path):
    made = Consortium.new(tmp_path / "long", "Ωμέγα " * 16, f"{'a' * 60}.{'b' * 60}.example.org")
    handshake(made, made.host)


def test_renewal_keeps_the_authority_and_takes_new_names(consortium):
    path = consortium.folder / "consortium.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"also": ["new.example.org"]}))
    before = consortium.server_certificate.read_bytes()
    now = consortium.renew()
    assert now.server_certificate.read_bytes() != before and mode(now.server_key) == 0o600
    handshake(now, "new.example.org", consortium.ca_certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(now, "fl.example.net")


def test_a_certificate_is_due_90_days_before_its_end(tmp_path, monkeypatch):
    for days, due in ((89, True), (91, False)):
        monkeypatch.setattr(certificates, "SERVER_DAYS", days)
        made = Consortium.new(tmp_path / str(days), "Baltic", "fl.example.org")
        assert made.needs_renewal() == due
    monkeypatch.undo()
    assert not Consortium.read(tmp_path / "89").renew().needs_renewal()


def test_a_certificate_ends_with_the_authority_and_is_not_renewed_for_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "AUTHORITY_YEARS", 0.1)
    made = Consortium.new(tmp_path / "late", "Baltic", "fl.example.org")
    assert not_after(made.server_certificate.read_bytes()) == not_after(made.ca_certificate)
    assert not made.needs_renewal()


def test_what_a_crash_in_a_renewal_leaves_is_mended_by_the_next(consortium):
    before = consortium.server_certificate.read_bytes()
    consortium.renew()
    consortium.server_certificate.write_bytes(before)  # the key was written, the certificate was not
    assert consortium.needs_renewal() and not consortium.renew().needs_renewal()
    handshake(consortium, "fl.example.org")


def test_a_damaged_certificate_is_named(consortium):
    consortium.server_certificate.write_text("no certificate")
    with pytest.raises(RunError, match=r"server\.crt.*consortium renew"):
        consortium.needs_renewal()


# --------------------------------------------------------------------------------------------------------- membership


def test_an_admitted_site_is_on_the_roster_with_both_keys(consortium):
    asked = request("north")
    now = consortium.admit(asked)
    assert now.roster.sites == {"north": asked.public}
    assert now.node_keys == {"north": asked.node_key.encode()}
    assert Consortium.read(consortium.folder) == now == now.admit(asked)  # twice is once


def test_a_name_with_another_key_is_refused(consortium):
    now = consortium.admit(request("north"))
    with pytest.raises(IdentityError, match=r"admitted with another key.*rotate.*remove north"):
        now.admit(request("north"))
    assert Consortium.read(consortium.folder) == now


def test_keys_of_another_site_are_refused(consortium):
    key, node = SigningKey.generate(), node_public()
    now = consortium.admit(request("north", key, node))
    with pytest.raises(IdentityError, match="signing key of site 'north'"):
        now.admit(request("south", key))
    with pytest.raises(IdentityError, match="node key of site 'north'"):
        now.admit(request("south", node=node))
    assert Consortium.read(consortium.folder) == now


def test_the_node_key_of_a_member_changes_by_rotation_only(consortium):
    key = SigningKey.generate()
    now = consortium.admit(request("north", key))
    with pytest.raises(IdentityError, match=r"another node key.*rotate"):
        now.admit(request("north", key))


def test_a_rotation_takes_the_old_keys_away(consortium):
    old, new = SigningKey.generate(), SigningKey.generate()
    first = request("north", old)
    then = consortium.admit(first)
    rotation = Request.make("north", new, node_public(), previous=old)
    now = then.admit(rotation)
    assert now.roster.sites == {"north": new.public} and now.node_keys == {"north": rotation.node_key.encode()}
    with pytest.raises(IdentityError, match="is not on the roster with this key"):
        now.roster.require_member("north", old.public)
    with pytest.raises(IdentityError, match="another key"):
        now.admit(first)
    with pytest.raises(IdentityError, match="not signed with the key on the roster"):
        now.roster.require_signature("north", old.sign("offer", b"x"), "offer", b"x")
    assert now.admit(rotation) == now


def test_an_old_rotation_does_not_bring_an_old_key_back(consortium):
    keys = [SigningKey.generate() for _ in range(3)]
    now = consortium.admit(request("north", keys[0]))
    steps = [Request.make("north", new, node_public(), previous=old) for old, new in pairwise(keys)]
    for step in steps:
        now = now.admit(step)
    with pytest.raises(IdentityError, match="another key"):
        now.admit(steps[0])


def test_a_rotation_signed_by_a_stranger_is_refused(consortium):
    now = consortium.admit(request("north"))
    with pytest.raises(IdentityError, match="another key"):
        now.admit(Request.make("north", SigningKey.generate(), node_public(), previous=SigningKey.generate()))


def test_a_rotation_does_not_take_over_another_site(consortium):
    north, south = SigningKey.generate(), SigningKey.generate()
    now = consortium.admit(request("north", north)).admit(request("south", south))
    for taken in (
        Request.make("north", south, node_public(), previous=north),
        Request.make("north", SigningKey.generate(), now.node_keys["south"].decode(), previous=north),
    ):
        with pytest.raises(IdentityError, match="of site 'south'"):
            now.admit(taken)


def test_a_rotation_needs_a_member(consortium):
    rotation = Request.make("north", SigningKey.generate(), node_public(), previous=SigningKey.generate())
    with pytest.raises(IdentityError, match="is not admitted"):
        consortium.admit(rotation)


def test_a_removed_site_is_gone_with_its_node_key(consortium):
    now = consortium.admit(request("north")).admit(request("south")).remove("north")
    assert set(now.roster.sites) == set(now.node_keys) == {"south"}
    assert not (now.folder / "nodes" / "north.pub").exists()
    for step in (now.kit, now.remove):
        with pytest.raises(IdentityError, match="'north' is not a member"):
            step("north")
    assert set(now.admit(request("north")).roster.sites) == {"north", "south"}


def test_the_roster_counts_its_changes(consortium):
    key = SigningKey.generate()
    first = request("north", key)
    serials = [consortium.roster.serial]
    for change in (
        lambda: consortium.admit(first),
        lambda: consortium.admit(first),  # twice is once
        lambda: consortium.admit(request("south")),
        lambda: consortium.admit(Request.make("north", SigningKey.generate(), node_public(), previous=key)),
        lambda: consortium.remove("north"),
        consortium.renew,
    ):
        serials.append(change().roster.serial)
    assert serials == [0, 1, 1, 2, 3, 4, 4]
    assert Consortium.read(consortium.folder).kit("south").serial == 4


def test_a_roster_of_before_there_were_serials_is_read(consortium):
    path = consortium.folder / "roster.yaml"
    path.write_text(path.read_text().replace("serial: 0\n", ""))
    assert consortium.admit(request("north")).roster.serial == 1


def test_an_old_request_of_a_removed_site_is_refused(consortium):
    asked = request("north")
    now = consortium.admit(asked).remove("north")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    with pytest.raises(IdentityError, match=rf"left the roster on {today}.*old request.*enrol --new-keys"):
        now.admit(asked)
    assert Consortium.read(consortium.folder) == now
    assert set(now.admit(request("north")).roster.sites) == {"north"}


def test_a_key_that_left_does_not_return_in_part_or_under_another_name(consortium):
    key, node = SigningKey.generate(), node_public()
    now = consortium.admit(request("north", key, node)).remove("north")
    for asked in (
        request("south", key),
        request("south", node=node),
        request("north", key),
        request("north", node=node),
    ):
        with pytest.raises(IdentityError, match="left the roster"):
            now.admit(asked)


def test_a_key_of_before_a_rotation_does_not_return_after_the_removal(consortium):
    old, new = SigningKey.generate(), SigningKey.generate()
    first, rotation = request("north", old), Request.make("north", new, node_public(), previous=old)
    now = consortium.admit(first).admit(rotation).remove("north")
    with pytest.raises(IdentityError, match="left the roster"):
        now.admit(first)
    with pytest.raises(IdentityError, match="not admitted"):
        now.admit(rotation)


@pytest.mark.parametrize("file", ["revoked.yaml", "roster.yaml"])
def test_a_removal_that_a_crash_cut_short_is_completed_by_removing_again(consortium, monkeypatch, file):
    """Before either file is written, the site is as it was, or as good as removed; never a member in part."""
    asked = request("north")
    consortium.admit(asked)

    class Crash(BaseException):
        pass

    def write(path, *arguments):
        if path.name == file:
            raise Crash
        write_whole(path, *arguments)

    with monkeypatch.context() as patched:
        for module in (revoked, folder_of_consortium):
            patched.setattr(module, "write_whole", write)
        with pytest.raises(Crash):
            consortium.remove("north")
    assert set(Consortium.read(consortium.folder).roster.sites) == {"north"}
    assert Consortium.read(consortium.folder).admit(asked).node_keys == {"north": asked.node_key.encode()}
    now = consortium.remove("north")
    with pytest.raises(IdentityError, match="left the roster"):
        now.admit(asked)


def test_a_folder_is_not_read_in_the_middle_of_a_change(consortium, monkeypatch):
    """As the server reads it, again and again, while sites come and go."""
    consortium.admit(request("north"))
    with ThreadPoolExecutor(1) as pool:

        def write(path, *arguments):
            write_whole(path, *arguments)
            if path.name == "roster.yaml":  # the node key is still there
                looking.append(pool.submit(Consortium.settled, consortium.folder))
                with pytest.raises(TimeoutError):
                    looking[0].result(0.2)

        looking = []
        monkeypatch.setattr(folder_of_consortium, "write_whole", write)
        now = consortium.remove("north")
        assert looking[0].result(10) == now


def test_two_admissions_at_once_lose_no_site(consortium):
    """Each starts from what it read before the other wrote."""
    asked = [request(name) for name in "abcdef"]
    threads = [threading.Thread(target=consortium.admit, args=(one,)) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(Consortium.read(consortium.folder).roster.sites) == set("abcdef")


def test_a_crash_between_node_key_and_roster_admits_nobody(consortium):
    asked = request("north")
    (consortium.folder / "nodes" / "north.pub").write_text(asked.node_key + "\n")
    assert dict(Consortium.read(consortium.folder).node_keys) == {}
    assert set(consortium.admit(asked).roster.sites) == {"north"}


def test_kits_carry_the_roster_of_the_day(consortium, tmp_path):
    now = consortium.admit(request("north"))
    early = now.kit("north")
    now = now.admit(request("south"))
    assert set(early.roster.sites) == {"north"} and now.kit("north").roster == now.roster
    assert [path.name for path in now.write_kits(tmp_path / "kits")] == ["north.yaml", "south.yaml"]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("consortium.yaml", "name: Baltic\nhost: x.org\nprot: 1\n", RunError),
        ("consortium.yaml", "name: Adriatic\nhost: fl.example.org\n", IdentityError),
        ("roster.yaml", "consortium: Baltic\nsites: {north: 12}\n", IdentityError),
        ("nodes/north.pub", "ssh-ed25519 AAAA", IdentityError),
        ("ca/ca.crt", "no certificate", IdentityError),
    ],
)
def test_a_damaged_folder_is_refused_in_words(consortium, name, text, error):
    consortium.admit(request("north"))
    (consortium.folder / name).write_text(text)
    with pytest.raises(error):
        Consortium.read(consortium.folder)


def test_a_missing_node_key_and_a_missing_folder_are_named(consortium, tmp_path):
    now = consortium.admit(request("north"))
    (now.folder / "nodes" / "north.pub").unlink()
    with pytest.raises(RunError, match=r"north\.pub.*backup"):
        Consortium.read(now.folder)
    with pytest.raises(RunError, match="consortium new"):
        Consortium.read(tmp_path / "nowhere")


def test_an_authority_open_to_others_signs_nothing(consortium):
    now = consortium.admit(request("north"))
    (now.folder / "ca" / "ca.key").chmod(0o640)
    for step in (lambda: now.kit("north"), now.renew):
        with pytest.raises(IdentityError, match=r"ca\.key.*chmod 600"):
            step()


def test_no_key_shows_itself(consortium):
    authority = make_authority("Baltic")
    shown = repr(authority) + repr(make_server(authority, ["x.org"])) + repr(consortium)
    assert "PRIVATE" not in shown and authority.key.decode().splitlines()[1] not in shown
