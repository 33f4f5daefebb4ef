"""Requests and kits: what was signed is what is read, and nothing else passes for one."""

from __future__ import annotations

import base64
import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import IdentityError
from common.identity.authority import in_last_year, read_authority, require_in_force, term
from common.identity.enrolment import KIT, REQUEST, Coordinator, Kit, Request, address
from common.identity.node_key import generate, public_of, require_node_key
from common.identity.roster import Roster, SigningKey
from server.consortium.certificates import make_authority, make_server, read_key
from tests.support.enrolment import node_public, request

KEYS = {name: SigningKey.generate() for name in ("north", "south", "west")}
NODE = node_public()
AUTHORITY = make_authority("Baltic")
PEM = AUTHORITY.certificate.decode()
ROSTER = Roster("Baltic", {name: key.public for name, key in KEYS.items()}, serial=7)
KIT_OF_NORTH = Kit.make(read_key(AUTHORITY.key, "ca.key"), PEM, ROSTER, "north", "fl.example.org", 9443)
REQUEST_OF_NORTH = Request.make("north", KEYS["north"], NODE)
ROTATED = Request.make("north", SigningKey.generate(), node_public(), previous=KEYS["north"])


def altered(document, **changes) -> str:
    content = yaml.safe_load(document.to_text())
    for name, value in changes.items():
        content[name] = value(content[name]) if callable(value) else value
    return yaml.safe_dump(content)


def read(kind, text: str | bytes, tmp_path):
    path = tmp_path / "document.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return kind.read(path)


@pytest.mark.parametrize("document", [REQUEST_OF_NORTH, ROTATED, KIT_OF_NORTH])
def test_what_is_written_is_what_is_read(document, tmp_path):
    assert read(type(document), document.to_text(), tmp_path) == document


def test_a_kit_carries_the_roster_and_the_way(tmp_path):
    kit = read(Kit, KIT_OF_NORTH.to_text(), tmp_path)
    assert kit.roster == ROSTER and (kit.host, kit.port) == ("fl.example.org", 9443)


@pytest.mark.parametrize(
    ("document", "changes"),
    [
        (REQUEST_OF_NORTH, {"site": "south"}),
        (REQUEST_OF_NORTH, {"signing_key": KEYS["south"].public.hex()}),
        (REQUEST_OF_NORTH, {"node_key": node_public()}),
        (REQUEST_OF_NORTH, {"signature": "00" * 64}),
        (REQUEST_OF_NORTH, {"rotation": yaml.safe_load(ROTATED.to_text())["rotation"]}),
        (ROTATED, {"rotation": None}),
        (ROTATED, {"rotation": lambda old: old | {"previous": KEYS["south"].public.hex()}}),
        (ROTATED, {"rotation": lambda old: old | {"signature": "11" * 64}}),
        (KIT_OF_NORTH, {"host": "evil.example.org"}),
        (KIT_OF_NORTH, {"port": 9444}),
        (KIT_OF_NORTH, {"serial": 8}),
        (KIT_OF_NORTH, {"site": "south"}),
        (KIT_OF_NORTH, {"consortium": "Adriatic"}),
        (KIT_OF_NORTH, {"sites": lambda old: old | {"east": SigningKey.generate().public.hex()}}),
        (KIT_OF_NORTH, {"sites": lambda old: {name: key for name, key in old.items() if name != "west"}}),
        (KIT_OF_NORTH, {"ca_certificate": make_authority("Baltic").certificate.decode()}),
    ],
)
def test_an_altered_document_is_refused(document, changes, tmp_path):
    with pytest.raises(IdentityError, match=r"not signed|altered"):
        read(type(document), altered(document, **changes), tmp_path)


@given(st.sampled_from([REQUEST_OF_NORTH, ROTATED, KIT_OF_NORTH]), st.data())
@settings(max_examples=150, deadline=None)
def test_no_flipped_bit_changes_what_a_document_says(tmp_path_factory, document, data):
    text = bytearray(document.to_text().encode())
    text[data.draw(st.integers(0, len(text) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = read(type(document), bytes(text), tmp_path_factory.mktemp("bits"))
    except IdentityError as error:
        assert all(sign.isprintable() or sign == "\n" for sign in str(error))
    else:
        assert found == document  # a blank, or how YAML quotes


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=200, deadline=None)
def test_no_file_whatever_breaks_the_reader(tmp_path_factory, data):
    for kind in (Request, Kit):
        with pytest.raises(IdentityError):
            read(kind, data, tmp_path_factory.mktemp("any"))


@pytest.mark.parametrize(
    "text",
    ["[" * 50_000, "? [a]\n: 1\n", "&a [*a]", "2001-99-99", "!!python/object:os.system x", "a: 1\na: 2", "\x07", ""],
)
def test_hostile_yaml_is_refused_in_words(text, tmp_path):
    with pytest.raises(IdentityError, match=r"document\.yaml"):
        read(Request, text, tmp_path)


def test_what_a_terminal_would_obey_is_not_shown(tmp_path):
    with pytest.raises(IdentityError) as caught:
        read(Request, REQUEST_OF_NORTH.to_text() + '"\\e[2Jall is well": 1\n', tmp_path)
    assert "\x1b" not in str(caught.value) and "unknown key" in str(caught.value)


def test_a_file_too_large_is_not_read(tmp_path):
    with pytest.raises(IdentityError, match="too large"):
        read(Kit, b" " * (2 << 20), tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(IdentityError, match=r"absent\.yaml.*No such file"):
        Request.read(tmp_path / "absent.yaml")


@pytest.mark.parametrize("document", [REQUEST_OF_NORTH, KIT_OF_NORTH])
def test_another_version_is_a_named_refusal(document, tmp_path):
    newer = altered(document, protocol=3) + "something_new: 1\n"
    with pytest.raises(IdentityError, match=r"version 3 of enrolment.*newer release of wardround"):
        read(type(document), newer, tmp_path)
    with pytest.raises(IdentityError, match=r"version 1 of enrolment, of an older release"):
        read(type(document), altered(document, protocol=1), tmp_path)


def test_a_version_that_hides_is_refused(tmp_path):
    text = REQUEST_OF_NORTH.to_text().replace("protocol: 2", "protocol: 0x3")
    with pytest.raises(IdentityError):
        read(Request, text, tmp_path)


def test_a_request_is_no_kit(tmp_path):
    with pytest.raises(IdentityError, match="document"):
        read(Kit, REQUEST_OF_NORTH.to_text(), tmp_path)


def test_a_signature_for_another_purpose_does_not_serve(tmp_path):
    """The same fields, signed by the same key as a kit's."""
    assert REQUEST != KIT
    fields = (2).to_bytes(8, "big"), b"north", KEYS["north"].public, NODE.encode(), b""
    assert KEYS["north"].sign(REQUEST, *fields).hex() == REQUEST_OF_NORTH.signature
    with pytest.raises(IdentityError):
        read(Request, altered(REQUEST_OF_NORTH, signature=KEYS["north"].sign(KIT, *fields).hex()), tmp_path)


@pytest.mark.parametrize("name", ["North", "north ", "ｎorth", "../north", "north\n", "", "n" * 41, "nörth", "1north"])
def test_a_name_that_reads_like_another_is_none(name, tmp_path):
    with pytest.raises(IdentityError):
        read(Request, altered(REQUEST_OF_NORTH, site=name), tmp_path)


def test_a_key_under_which_anybody_signs_is_refused(tmp_path):
    with pytest.raises(IdentityError, match="not a public Ed25519 key"):
        read(Request, altered(REQUEST_OF_NORTH, signing_key="01" + "00" * 31), tmp_path)


def openssh(key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.mark.parametrize(
    "text",
    [
        openssh(ec.generate_private_key(ec.SECP256R1())),
        openssh(ec.generate_private_key(ec.SECP521R1())),
        openssh(rsa.generate_private_key(65537, 2048)),
        openssh(Ed25519PrivateKey.generate()),
        f"{NODE} root@host",
        f" {NODE}",
        NODE[:-8],
        "ecdsa-sha2-nistp384 AAAA",
        "",
    ],
    ids=lambda _: "key",  # the keys are new in each process, and their names must not be
)
def test_only_a_bare_p384_node_key_passes(text):
    with pytest.raises(IdentityError, match=r"P-384|comments"):
        require_node_key(text, "site 'north'")
    with pytest.raises(IdentityError):
        request(node=text or "x")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damaged_node_key_passes_for_this_one(data):
    """A damaged point may by chance be one of the curve, and so another key; nothing but IdentityError says no."""
    blob = bytearray(base64.b64decode(NODE.split()[1]))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] = data.draw(st.integers(0, 255))
    text = f"ecdsa-sha2-nistp384 {base64.b64encode(blob).decode()}"
    try:
        require_node_key(text, "site 'north'")
    except IdentityError:
        assert text != NODE


def test_a_compressed_point_is_refused():
    blob = bytearray(base64.b64decode(NODE.split()[1]))
    point = blob.index(b"\x04", len(blob) - 97)
    blob[point] = 2
    with pytest.raises(IdentityError, match="P-384"):
        require_node_key(f"ecdsa-sha2-nistp384 {base64.b64encode(blob).decode()}", "site 'north'")


def test_a_private_node_key_of_another_kind_is_refused():
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    for data in (other, b"", generate()[:-60]):
        with pytest.raises(IdentityError, match=r"node\.key"):
            public_of(data, "node.key")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_node_key_is_what_openssh_reads(tmp_path):
    (tmp_path / "node.key").write_bytes(private := generate())
    (tmp_path / "node.key").chmod(0o600)
    done = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", tmp_path / "node.key"], capture_output=True, check=True)
    assert done.stdout.decode().split()[:2] == public_of(private, "node.key").split()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_damaged_certificate_breaks_the_reader(data):
    """Each byte of what the PEM holds, where a flipped letter of base64 would mostly be refused as such."""
    der = bytearray(x509.load_pem_x509_certificate(AUTHORITY.certificate).public_bytes(Encoding.DER))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] = data.draw(st.integers(0, 255).filter(lambda value: value != der[place]))
    with pytest.raises(IdentityError, match="CA certificate"):
        read_authority(ssl.DER_cert_to_PEM_cert(bytes(der)))


def test_a_signature_with_unused_bits_is_refused():
    """The same certificate, and signed all right; but people would compare another fingerprint."""
    der = b"\1"
    while der[-1] % 2:  # a bit can be unused only where it is 0
        made = make_authority("Baltic").certificate
        der = x509.load_pem_x509_certificate(made).public_bytes(Encoding.DER)
    signature = x509.load_der_x509_certificate(der).signature
    other = der[: -len(signature) - 1] + b"\1" + signature
    read_authority(made.decode())
    with pytest.raises(IdentityError, match="CA certificate"):
        read_authority(ssl.DER_cert_to_PEM_cert(other))


def signed_kit(certificate: str, key: bytes) -> Kit:
    return Kit.make(read_key(key, "key"), certificate, ROSTER, "north", "fl.example.org", 9443)


def test_a_kit_needs_an_authority_and_nothing_beside_it():
    server = make_server(AUTHORITY, ["fl.example.org"])
    for certificate, key in [
        (server.certificate.decode(), server.key),
        (PEM + PEM, AUTHORITY.key),
        (PEM + AUTHORITY.key.decode(), AUTHORITY.key),
        ("", AUTHORITY.key),
    ]:
        with pytest.raises(IdentityError, match="CA certificate"):
            signed_kit(certificate, key)
    with pytest.raises(IdentityError, match="not signed by the certificate authority"):
        signed_kit(PEM, server.key)


def test_a_kit_for_a_site_outside_its_roster_is_none():
    with pytest.raises(IdentityError, match="its own roster does not have"):
        Kit.make(read_key(AUTHORITY.key, "ca.key"), PEM, ROSTER, "east", "fl.example.org", 9443)


def test_a_wrong_clock_is_named():
    now = datetime.now(UTC)
    require_in_force(PEM, now)
    require_in_force(PEM, now - timedelta(minutes=10))
    with pytest.raises(IdentityError, match="clock"):
        require_in_force(PEM, now - timedelta(days=3))
    with pytest.raises(IdentityError, match="expired"):
        require_in_force(PEM, now + timedelta(days=3660))


def test_an_authority_says_in_its_last_year_what_follows():
    ends = read_authority(PEM).not_valid_after_utc
    early, late = ends - timedelta(days=366), ends - timedelta(days=364)
    assert term(PEM, early) == f"valid until {ends:%Y-%m-%d}" and not in_last_year(PEM, early)
    assert "--replace" in term(PEM, late) and in_last_year(PEM, late)


def test_addresses_are_as_grpc_takes_them():
    assert address("fl.example.org", 9443) == "fl.example.org:9443"
    assert address("2001:db8::1", 9443) == "[2001:db8::1]:9443"
    assert Coordinator(consortium="B", site="a", host="::1", port=1).address == "[::1]:1"
