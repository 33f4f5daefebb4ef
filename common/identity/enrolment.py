"""What a site and its coordinator hand each other to enrol: a request and a kit, each a YAML file of public things.

The **request** is signed with the site's own key over everything in it (RFC 8032), so that nobody enrols a key that is
not his, and nothing in it can be altered on the way; one for a new key in place of an old carries the old key's
signature too. The **kit** is signed with the key of the coordinator's certificate authority: once a site has pinned
that authority, only it can hand the site another roster, and never an older one again: each has a serial. Neither
signature says who somebody is: people compare fingerprints by telephone for that.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field

from common import schema as border
from common.document import PROTOCOL, Document
from common.errors import IdentityError
from common.identity.authority import sign, signed_by_authority
from common.identity.encoding import MAX_NUMBER, encode, number
from common.identity.node_key import require_node_key
from common.identity.roster import Roster, SigningKey, require_key, signed_by
from common.schema import schema

REQUEST, ROTATION, KIT = "enrolment request", "enrolment rotation", "enrolment kit"

SiteName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$|^::1$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Serial = Annotated[int, Field(ge=0, le=MAX_NUMBER)]


@schema
class Rotation:
    """The key that the site had before, and that key's signature over the request: 32 and 64 bytes in hex."""

    previous: Key
    signature: Signature


@schema
class Request(Document):
    """A site asks to be admitted with these keys. There is none with a wrong signature or key: IdentityError."""

    document: Literal["wardround enrolment request"] = "wardround enrolment request"
    protocol: int = PROTOCOL
    site: SiteName
    signing_key: Key  # Ed25519
    node_key: str  # EC P-384, OpenSSH text
    rotation: Rotation | None = None
    signature: Signature

    def __post_init__(self) -> None:
        require_key(self.site, self.public)
        require_node_key(self.node_key, f"site {self.site!r}")
        previous = self.previous
        fields = _request_fields(self.protocol, self.site, self.public, self.node_key, previous)
        if not signed_by(self.public, bytes.fromhex(self.signature), REQUEST, *fields):
            raise IdentityError(
                f"The request of site {self.site!r} is not signed with the key in it: it was altered or damaged on "
                "its way. Ask the site to send it again (`wardround site enrol`, or `rotate`)."
            )
        if previous is not None and self.rotation is not None:
            require_key(self.site, previous)
            if not signed_by(previous, bytes.fromhex(self.rotation.signature), ROTATION, *fields):
                raise IdentityError(
                    f"The request of site {self.site!r} for a new key is not signed with the key before it. Ask the "
                    "site to make it with `wardround site rotate`."
                )

    @property
    def public(self) -> bytes:
        """The site's public signing key."""
        return bytes.fromhex(self.signing_key)

    @property
    def previous(self) -> bytes | None:
        """The signing key that this request wants replaced, if it is a rotation."""
        return bytes.fromhex(self.rotation.previous) if self.rotation else None

    @classmethod
    def make(cls, site: str, key: SigningKey, node_key: str, previous: SigningKey | None = None) -> Self:
        """Signed with `key`; for a rotation with the key before it as well."""
        fields = _request_fields(PROTOCOL, site, key.public, node_key, previous.public if previous else None)
        return cls(
            site=site,
            signing_key=key.public.hex(),
            node_key=node_key,
            rotation=_rotation(previous, fields) if previous else None,
            signature=key.sign(REQUEST, *fields).hex(),
        )


@schema
class Kit(Document):
    """What an admitted site needs. IdentityError unless the authority in it signed all of it."""

    document: Literal["wardround enrolment kit"] = "wardround enrolment kit"
    protocol: int = PROTOCOL
    consortium: Name
    site: SiteName
    host: Host
    port: Port
    ca_certificate: str  # PEM
    serial: Serial  # of the roster
    sites: dict[SiteName, Key]  # the roster
    signature: Annotated[str, Field(pattern=r"^([0-9a-f]{2}){8,72}$")]  # ECDSA, DER

    def __post_init__(self) -> None:
        if self.site not in self.roster.sites:
            raise IdentityError(f"The kit is for site {self.site!r}, which its own roster does not have.")
        fields = _kit_fields(self.protocol, self.site, self.host, self.port, self.ca_certificate, self.roster)
        if not signed_by_authority(self.ca_certificate, bytes.fromhex(self.signature), KIT, *fields):
            raise IdentityError(
                "The kit is not signed by the certificate authority in it: it was altered or damaged on its way. Ask "
                "the coordinator to send it again (`wardround consortium kit SITE`)."
            )

    @cached_property
    def roster(self) -> Roster:
        return Roster(self.consortium, {site: bytes.fromhex(key) for site, key in self.sites.items()}, self.serial)

    @classmethod
    def make(
        cls, authority: ec.EllipticCurvePrivateKey, certificate: str, roster: Roster, site: str, host: str, port: int
    ) -> Self:
        """Signed with the authority's key."""
        return cls(
            consortium=roster.consortium,
            site=site,
            host=host,
            port=port,
            ca_certificate=certificate,
            serial=roster.serial,
            sites={name: key.hex() for name, key in roster.sites.items()},
            signature=sign(authority, KIT, *_kit_fields(PROTOCOL, site, host, port, certificate, roster)).hex(),
        )


@schema
class Coordinator:
    """connector/coordinator.yaml: whom the connector calls, and as whom."""

    format: int = border.format_number(1)
    consortium: Name
    site: SiteName
    host: Host
    port: Port

    @property
    def address(self) -> str:
        """host:port as gRPC takes it."""
        return address(self.host, self.port)

    @classmethod
    def read(cls, path: Path) -> Self:
        """IdentityError when it is not there or not whole."""
        return border.read(path, cls, IdentityError)


def address(host: str, port: int) -> str:
    """host:port, with an IPv6 address in brackets (RFC 3986)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _request_fields(
    protocol: int, site: str, public: bytes, node_key: str, previous: bytes | None
) -> tuple[bytes, ...]:
    return number(protocol), site.encode(), public, node_key.encode(), previous or b""


def _rotation(previous: SigningKey, fields: tuple[bytes, ...]) -> Rotation:
    return Rotation(previous=previous.public.hex(), signature=previous.sign(ROTATION, *fields).hex())


def _kit_fields(protocol: int, site: str, host: str, port: int, certificate: str, roster: Roster) -> tuple[bytes, ...]:
    sites = encode(*(encode(name.encode(), key) for name, key in roster.sites.items()))
    place = number(protocol), roster.consortium.encode(), site.encode(), host.encode(), number(port)
    return *place, certificate.encode(), number(roster.serial), sites
