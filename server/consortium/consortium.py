"""The coordinator's folder: its authority and server certificate, and which sites belong to the consortium.

roster.yaml says who is a member: it is written last when a site comes, and first when one goes, so that a crash between
two files never leaves a member whose node key is missing, nor lets one in who is not on the roster. Its serial rises
with every change, so that a site tells an older roster from a newer one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from common import schema as border
from common.disk.atomic_file import PUBLIC, make_private, write_whole
from common.disk.audit import Admitted, Audit, Removed
from common.errors import IdentityError, RunError
from common.identity.authority import authority_fingerprint
from common.identity.enrolment import Kit, Request, address
from common.identity.roster import Roster
from server.consortium.certificates import (
    Issued,
    alternative_name,
    make_authority,
    make_server,
    needs_renewal,
    read_key,
)
from server.consortium.folder import (
    CONSORTIUM_FILE,
    DEFAULT_PORT,
    ROSTER_FILE,
    ConsortiumFile,
    made_whole,
    members_locked,
    node_file,
    node_key,
    read_file,
    read_private,
    write_server,
)
from server.consortium.revoked import Revoked


@dataclass(frozen=True)
class Consortium:
    """What the coordinator's folder holds. Every change returns what it holds then.

    node_keys: site -> OpenSSH public key, canonical, without a line end; the sites are the roster's
    ca_certificate: PEM
    """

    folder: Path
    file: ConsortiumFile
    roster: Roster
    node_keys: Mapping[str, bytes]
    ca_certificate: bytes
    revoked: Revoked

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def host(self) -> str:
        return self.file.host

    @property
    def port(self) -> int:
        return self.file.port

    @property
    def address(self) -> str:
        """host:port, as sites call it."""
        return address(self.host, self.port)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca" / "ca.crt"

    @property
    def server_certificate(self) -> Path:
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        return self.folder / "server.key"

    @property
    def state(self) -> Path:
        """For the server's database and secrets; mode 0700."""
        return self.folder / "state"

    @property
    def audit(self) -> Audit:
        """What the coordinator did, hash-chained."""
        return Audit(self.state / "audit.jsonl")

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def fingerprint(self) -> str:
        """Of the certificate authority: what a site compares by telephone before it joins."""
        return authority_fingerprint(self.ca_certificate.decode())

    @classmethod
    def new(cls, folder: Path, name: str, host: str, *, also: Sequence[str] = (), port: int = DEFAULT_PORT) -> Self:
        """Make the folder, whole or not at all. RunError where there is one, or for a host that has no such name."""
        for each in (host, *also):
            alternative_name(each)
        text = border.dump(ConsortiumFile(name=name, host=host, port=port, also=list(also)))
        file = border.parse(text, ConsortiumFile, RunError, "consortium")
        roster = Roster(name, {})
        authority = make_authority(roster.consortium)
        server = make_server(authority, file.names)
        with made_whole(folder) as draft:
            for inner in ("ca", "nodes", "state", "runs"):
                make_private(draft / inner)
            write_whole(draft / "ca" / "ca.key", authority.key)
            write_whole(draft / "ca" / "ca.crt", authority.certificate, PUBLIC)
            write_server(draft, server)
            write_whole(draft / ROSTER_FILE, roster.to_text().encode(), PUBLIC)
            write_whole(draft / CONSORTIUM_FILE, border.dump(replace(file, name=roster.consortium)).encode(), PUBLIC)
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the folder, or RunError or IdentityError with what is missing, and what to do."""
        if not (folder / CONSORTIUM_FILE).exists():
            raise RunError(
                f"{folder}: holds no consortium. Make one with `wardround consortium new`, or give another --at."
            )
        file = border.read(folder / CONSORTIUM_FILE, ConsortiumFile, RunError)
        roster = Roster.read(folder / ROSTER_FILE)
        if roster.consortium != file.name:
            raise IdentityError(f"{folder}: {ROSTER_FILE} and {CONSORTIUM_FILE} are of two consortia.")
        nodes = {site: node_key(folder, site) for site in roster.sites}
        certificate = read_file(folder / "ca" / "ca.crt")
        authority_fingerprint(certificate.decode(errors="replace"))  # refuses what is none
        return cls(folder.absolute(), file, roster, nodes, certificate, Revoked.read(folder))

    @classmethod
    def settled(cls, folder: Path) -> Self:
        """As `read`, of a folder that is there, and not while a command is about to change it."""
        with members_locked(folder):
            return cls.read(folder)

    def admit(self, request: Request) -> Self:
        """With the site of this request. The same request again changes nothing; IdentityError as `require_new`."""
        with self._alone() as now:
            now.require_new(request)
            before = now.roster.sites.get(request.site)
            if before not in (None, request.public):
                now._revoke(request.site)
            write_whole(node_file(self.folder, request.site), f"{request.node_key}\n".encode(), PUBLIC)
            if before != request.public:
                sites = {**now.roster.sites, request.site: request.public}
                self.audit.append(Admitted(request.public.hex(), len(sites)))
                now._write_roster(sites)
            return type(self).read(self.folder)

    def require_new(self, request: Request) -> None:
        """IdentityError when a name or key is another's, the name has another key already, or a key was revoked."""
        pinned, node = self.roster.sites.get(request.site), request.node_key.encode()
        if pinned is not None and pinned not in (request.public, request.previous):
            raise IdentityError(
                f"Site {request.site!r} is admitted with another key, and that key did not sign this request. If the "
                "site changes its key, have it run `wardround site rotate`; if it lost its key, telephone it, then "
                f"`wardround consortium remove {request.site}`, and admit what `site enrol --new-keys` makes."
            )
        if pinned is None and request.previous is not None:
            raise IdentityError(
                f"Site {request.site!r} is not admitted: it has no key to change. Have it run `wardround site enrol`."
            )
        if pinned == request.public and self.node_keys[request.site] != node:
            raise IdentityError(
                f"Site {request.site!r} is admitted with another node key. Have it run `wardround site rotate`."
            )
        for other in self.roster.sites:
            if other != request.site and request.public == self.roster.sites[other]:
                raise IdentityError(f"Site {request.site!r} comes with the signing key of site {other!r}. Refuse it.")
            if other != request.site and node == self.node_keys[other]:
                raise IdentityError(f"Site {request.site!r} comes with the node key of site {other!r}. Refuse it.")
        if pinned != request.public:
            self.revoked.require_none_in(request)
        Roster(self.roster.consortium, {**self.roster.sites, request.site: request.public})

    def remove(self, site: str) -> Self:
        """Without this site, from the next start of a run on, and its keys revoked. IdentityError if no member."""
        with self._alone() as now:
            now.require_site(site)
            sites = {name: key for name, key in now.roster.sites.items() if name != site}
            now._revoke(site)
            self.audit.append(Removed(now.roster.sites[site].hex(), len(sites)))
            now._write_roster(sites)
            node_file(self.folder, site).unlink(missing_ok=True)
            return type(self).read(self.folder)

    def _revoke(self, site: str) -> None:
        self.revoked.revoke(self.folder, site, self.roster.sites[site], self.node_keys[site])

    def _write_roster(self, sites: Mapping[str, bytes]) -> None:
        roster = Roster(self.roster.consortium, sites, self.roster.serial + 1)
        write_whole(self.folder / ROSTER_FILE, roster.to_text().encode(), PUBLIC)

    def require_site(self, site: str) -> None:
        """IdentityError unless this site is a member."""
        if site not in self.roster.sites:
            raise IdentityError(
                f"Site {site!r} is not a member. `wardround consortium show --at {self.folder}` lists them."
            )

    def kit(self, site: str) -> Kit:
        """What this site needs to join, with the roster as it is now."""
        self.require_site(site)
        key = read_key(read_private(self.folder / "ca" / "ca.key"), "ca.key")
        return Kit.make(key, self.ca_certificate.decode(), self.roster, site, self.host, self.port)

    def write_kits(self, folder: Path) -> list[Path]:
        """The kit of every site, as SITE.yaml in `folder`: after each admission and removal all sites need theirs."""
        if not self.roster.sites:
            raise RunError("No site is admitted yet, so there are no kits. Run `wardround consortium admit REQUEST`.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise RunError(f"{folder}: cannot be made ({problem.strerror}). Choose another folder.") from None
        paths = [folder / f"{site}.yaml" for site in self.roster.sites]
        for path in paths:
            write_whole(path, self.kit(path.stem).to_text().encode(), PUBLIC)
        return paths

    def renew(self) -> Self:
        """With a new server certificate, for the names in consortium.yaml as it is now. Sites need no new kit."""
        with self._alone() as now:
            authority = Issued(now.ca_certificate, read_private(self.folder / "ca" / "ca.key"))
            write_server(self.folder, make_server(authority, now.file.names))
            return now

    def needs_renewal(self) -> bool:
        """Whether the server's certificate is to be made new before the server starts."""
        server = Issued(read_file(self.server_certificate), read_private(self.server_key))
        return needs_renewal(server, self.ca_certificate)

    @contextmanager
    def _alone(self) -> Iterator[Self]:
        """The folder as it is now, while nobody else changes it: two commands at once lose no site."""
        with members_locked(self.folder):
            yield type(self).read(self.folder)
