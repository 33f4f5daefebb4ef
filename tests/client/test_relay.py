"""The agent's socket, as its worst neighbour would use it: a connector that somebody has taken over."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import logging
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client import relay_pb2 as relay
from client.agent import LARGEST_REQUEST, Agent, with_gate
from client.approvals import Approvals
from client.handlers import SiteHandler
from client.identity import SiteIdentity
from client.policy import Gate
from client.relay import LONGEST_PATH, PIECE_BYTES, PROTOCOL, SERVICE, RelayClient, RelayServer, in_pieces, whole
from client.round import Site
from client.site import read_site
from common.audit import Audit
from common.errors import SiteFileError
from common.messages import (
    MESSAGE_TYPES,
    ActivityReply,
    ActivityRequest,
    ConfirmRequest,
    JoinReply,
    JoinRequest,
    OfferReply,
    Refusal,
    RevealReply,
    from_bytes,
    from_records,
    to_bytes,
    to_records,
)
from common.study import Study, read_study
from deploy.enrol_all import enrol_all
from tests.support.deployment import Process, in_own_network, wait_for
from tests.support.other_user import open_folder
from tests.support.records import record_hospitals

NAME = "Müller, Anna"
TRACES = ["Müller".encode(), "Müller".encode("latin-1"), b"ller, Anna", b"Anna", b"M\\u00fcller", b"M\\xfcller"]
RUN = "0123456789abcdef"


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Path, Study]]:
    """A site that has joined a consortium, and its study, approved. The folder's path is short enough for a socket."""
    with open_folder() as folder:
        study = read_study(record_hospitals(folder / "h"))
        sites = sorted(path.parent for path in (folder / "h").glob("*/site.yaml"))
        enrol_all(folder / "consortium", sites, "127.0.0.1", 9443)
        Approvals(read_site(sites[0]).path(Path("state"))).approve(study)
        yield sites[0], study


def agent_of(folder: Path, handler: Callable[[Site], SiteHandler] | None = None) -> Agent:
    """As `wardround site agent` makes it."""
    return Agent(read_site(folder), handler or with_gate)


@contextlib.contextmanager
def served(agent: Agent) -> Iterator[Path]:
    """The agent listening; where."""
    path = agent.folder.path(agent.folder.file.socket)
    server = agent.serve(path)
    try:
        yield path
    finally:
        server.stop()


@pytest.fixture(scope="module")
def listening(place: tuple[Path, Study]) -> Iterator[Path]:
    with served(agent_of(place[0])) as path:
        yield path


def join(folder: Path, study: str) -> JoinRequest:
    site = read_site(folder)
    identity = SiteIdentity.read(site.file.site, site.path(site.file.state) / "identity")
    return JoinRequest(RUN, study, identity.roster.digest.hex(), 1)


def answered(path: Path, request: bytes) -> object:
    client = RelayClient(path)
    try:
        return from_records(from_bytes(client.answer(request)))
    finally:
        client.close()


def code_of(path: Path, request: bytes) -> str:
    """The code that the request is refused with."""
    reply = answered(path, request)
    assert isinstance(reply, Refusal), reply
    return reply.code


@contextlib.contextmanager
def stream(path: Path) -> Iterator[Callable[[Iterable[relay.Piece]], list[relay.Piece]]]:
    """The bare RPC, for pieces that no RelayClient would send."""
    with grpc.insecure_channel(f"unix:{path}", options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.stream_stream(
            f"/{SERVICE}/Answer", relay.Piece.SerializeToString, relay.Piece.FromString
        )  # fmt: skip
        yield lambda pieces: list(call(iter(pieces), timeout=30))


def refused(path: Path, pieces: Iterable[relay.Piece]) -> grpc.RpcError:
    with stream(path) as send, pytest.raises(grpc.RpcError) as error:
        send(pieces)
    assert answered(path, to_bytes(to_records(ConfirmRequest(1, ())))), "and it goes on"
    return error.value


def head(size: int, protocol: int = PROTOCOL) -> relay.Piece:
    return relay.Piece(head=relay.Head(protocol=protocol, size=size))


def data(content: bytes) -> relay.Piece:
    return relay.Piece(data=content)


# ------------------------------------------------------------------------------------------------- not on the list


@pytest.mark.parametrize(
    "reply",
    [JoinReply(b"x"), OfferReply(b"x"), RevealReply(b"x"), Refusal("error"), ActivityReply("idle", 0, 0, 0)],
)
def test_a_reply_is_no_request(listening: Path, reply: object) -> None:
    assert code_of(listening, to_bytes(to_records(reply))) == "run"  # type: ignore[arg-type]


def records(**config: object) -> bytes:
    return to_bytes(RecordDict({"config": ConfigRecord(config)}))  # type: ignore[arg-type]


def test_what_is_on_no_list_is_refused(listening: Path, place: tuple[Path, Study]) -> None:
    good = to_records(join(place[0], place[1].digest))
    for kind in ("Train", "query.join", "__class__", "", "SiteHandler"):
        changed = dict(good["config"]) | {"kind": kind}
        assert code_of(listening, records(**changed)) == "run", kind
    for protocol in (0, 2, 4, -3, "3", True):
        changed = dict(good["config"]) | {"protocol": protocol}
        assert code_of(listening, records(**changed)) == "run", protocol
    for name in good["config"]:
        changed = {key: value for key, value in good["config"].items() if key != name}
        assert code_of(listening, records(**changed)) == "run", f"without {name}"
    assert code_of(listening, records(**dict(good["config"]), more=1)) == "run"
    assert code_of(listening, records(**(dict(good["config"]) | {"number": "1"}))) == "run"
    assert code_of(listening, to_bytes(RecordDict({}))) == "run"
    assert code_of(listening, to_bytes(RecordDict({"config": good["config"]})) + b"\x00") == "run"
    assert code_of(listening, b"") == "run"
    assert code_of(listening, to_bytes(to_records(ActivityRequest(RUN)))) in ("run", "out_of_order")


def test_the_list_is_of_requests_that_a_handler_takes() -> None:
    from client.handlers import _HANDLERS

    assert set(MESSAGE_TYPES) - {ActivityRequest} == set(_HANDLERS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda tail: b"\x0a" + tail)))
def test_garbage_is_refused_and_never_raises(place: tuple[Path, Study], garbage: bytes) -> None:
    reply = from_records(from_bytes(quiet_agent(place[0]).answer(garbage)))
    assert isinstance(reply, Refusal) and reply.code in ("run", "error")


_AGENTS: dict[Path, Agent] = {}


def quiet_agent(folder: Path) -> Agent:
    return _AGENTS.setdefault(folder, agent_of(folder))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_wrong_bit_is_refused_or_makes_another_request(place: tuple[Path, Study], at: int, bit: int) -> None:
    good = bytearray(to_bytes(to_records(join(place[0], "0" * 64))))
    good[at % len(good)] ^= 1 << bit
    reply = from_records(from_bytes(quiet_agent(place[0]).answer(bytes(good))))
    assert isinstance(reply, Refusal)


# ------------------------------------------------------------------------------------------------------ the framing


INVALID = grpc.StatusCode.INVALID_ARGUMENT


def test_another_protocol_in_the_head_is_named(listening: Path) -> None:
    for protocol in (0, PROTOCOL + 1, 2**32 - 1):
        error = refused(listening, [head(1, protocol), data(b"x")])
        assert error.code() is INVALID and "of different releases" in error.details()


def test_the_activity_of_another_protocol_is_named(listening: Path) -> None:
    with grpc.insecure_channel(f"unix:{listening}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/Activity", relay.ActivityRequest.SerializeToString, relay.ActivityReply.FromString
        )
        with pytest.raises(grpc.RpcError) as error:
            ask(relay.ActivityRequest(protocol=PROTOCOL + 1), timeout=5)
        assert "of different releases" in error.value.details()
        assert ask(relay.ActivityRequest(protocol=PROTOCOL), timeout=5).state == "idle"


def test_what_announces_too_much_is_refused_before_it_is_sent(listening: Path) -> None:
    """The pieces after the head never come: who waits for them would not answer."""
    began, never = time.monotonic(), threading.Event()

    def pieces(size: int) -> Iterator[relay.Piece]:
        yield head(size)
        never.wait(30)

    for size in (LARGEST_REQUEST + 1, 2**63, 2**64 - 1):
        error = refused(listening, pieces(size))
        assert error.code() is INVALID and "larger than this site takes" in error.details()
    never.set()
    assert time.monotonic() - began < 15


def test_the_framing_is_kept_to_the_byte(listening: Path) -> None:
    wrong = {
        "shorter": [[head(10), data(b"x" * 9)], [head(1)], [head(10), data(b"")]],
        "longer": [[head(10), data(b"x" * 11)], [head(0), data(b"x")], [head(2), *[data(b"x")] * 3],
                   [head(1), head(1)], [head(1), data(b"x"), head(0)], [head(1), relay.Piece()]],
        "without its head": [[data(b"x"), head(1)], [data(b"x")], [relay.Piece()], []],
    }  # fmt: skip
    for words, streams in wrong.items():
        for pieces in streams:
            error = refused(listening, pieces)
            assert error.code() is INVALID and words in error.details(), pieces


def test_an_endless_stream_is_cut_at_what_it_announced(listening: Path) -> None:
    sent = 0

    def pieces() -> Iterator[relay.Piece]:
        nonlocal sent
        yield head(3 * PIECE_BYTES)
        for sent in itertools.count(1):  # noqa: B007  # counted by itself
            yield data(b"x" * PIECE_BYTES)

    error = refused(listening, pieces())
    assert error.code() is INVALID and "longer than its head says" in error.details()
    assert sent < 100


def test_one_piece_that_is_too_large_is_not_taken(listening: Path) -> None:
    size = 5 << 20  # gRPC takes 4 MiB
    error = refused(listening, [head(size), data(b"x" * size)])
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_the_three_calls_are_there(listening: Path) -> None:
    with grpc.insecure_channel(f"unix:{listening}") as channel:
        for name in ("/wardround.relay.Agent/Run", "/wardround.relay.Agent/", "/grpc.reflection.v1.ServerReflection/X"):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(name)(b"", timeout=5)
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@given(content=st.binary(max_size=3000), size=st.integers(1, 999))
def test_pieces_of_any_size_make_the_whole(content: bytes, size: int) -> None:
    cut = [data(content[start : start + size]) for start in range(0, len(content), size)]
    assert whole(iter([head(len(content)), *cut]), 3000) == content == whole(in_pieces(content), 3000)


# ----------------------------------------------------------------------------------------------------- the socket


def test_a_path_that_no_socket_can_have_is_refused_in_words(tmp_path: Path) -> None:
    long = tmp_path / ("é" * LONGEST_PATH) / "agent.sock"
    for make in (lambda: RelayClient(long), lambda: RelayServer(long, bytes, _idle, largest=1)):
        with pytest.raises(SiteFileError, match=r"socket: .* more than 107 bytes. Choose a shorter one"):
            make()


def _idle() -> ActivityReply:
    return ActivityReply("idle", 0, 0, 0)


def test_the_longest_path_that_is_let_through_works() -> None:
    with open_folder() as folder:
        name = "s" * (LONGEST_PATH - len(os.fsencode(folder)) - 1)
        server = RelayServer(folder / name, lambda request: request, _idle, largest=10)
        server.start()
        client = RelayClient(folder / name)
        assert len(os.fsencode(folder / name)) == LONGEST_PATH and client.answer(b"abc") == b"abc"
        client.close()
        server.stop()
        assert not (folder / name).exists()


def test_the_socket_is_its_owners_and_its_groups(listening: Path) -> None:
    assert stat.S_ISSOCK(listening.stat().st_mode)
    assert stat.S_IMODE(listening.stat().st_mode) == 0o660
    assert stat.S_IMODE(listening.parent.stat().st_mode) & 0o007 == 0
    umask = os.umask(0)
    os.umask(umask)
    assert umask != 0o117, "what the process writes later has the mode that it would have had"


def test_the_agent_listens_nowhere_else(place: tuple[Path, Study]) -> None:
    with in_its_own_process(place[0]) as process:
        inodes = {Path(f"/proc/{process.popen.pid}/fd/{name}").readlink().name for name in _descriptors(process)}
        tables = "".join(Path(f"/proc/{process.popen.pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6", "udp"))
        assert not [line for line in tables.splitlines() if any(f"[{line.split()[9]}]" in inode for inode in inodes)]


def _descriptors(process: Process) -> list[str]:
    return [path.name for path in Path(f"/proc/{process.popen.pid}/fd").iterdir()]


# -------------------------------------------------------------------------------------------------- a greedy connector


def test_parallel_streams_do_not_exhaust_the_agent(place: tuple[Path, Study], listening: Path) -> None:
    """Ten that begin and never go on, and forty that are taken back: health and activity answer, and work goes on."""
    never, client = threading.Event(), RelayClient(listening)

    def pieces() -> Iterator[relay.Piece]:
        yield head(10)
        never.wait(60)

    with grpc.insecure_channel(f"unix:{listening}") as channel:
        call = channel.stream_stream(f"/{SERVICE}/Answer", relay.Piece.SerializeToString, relay.Piece.FromString)
        open_calls = [call(pieces()) for _ in range(10)]
        time.sleep(0.5)
        assert client.is_serving(5) and client.activity().state == "idle"
        for _ in range(40):
            call(pieces()).cancel()
        assert client.is_serving(5) and client.activity().state == "idle"
        for each in open_calls:
            each.cancel()
        never.set()
    wait_for(lambda: _takes(client), "the agent works again", 20)
    client.close()


def _takes(client: RelayClient) -> bool:
    try:
        return bool(client.answer(to_bytes(to_records(ConfirmRequest(1, ())))))
    except grpc.RpcError:
        return False


def test_requests_that_wait_for_a_long_one_do_not_exhaust_the_agent() -> None:
    """A connector that is started again and again while the agent trains asks again and again."""
    goes_on, working = threading.Event(), threading.Event()

    def answer(request: bytes) -> bytes:
        working.set()
        goes_on.wait(60)
        return request

    with open_folder() as folder:
        server = RelayServer(folder / "agent.sock", answer, _idle, largest=100)
        server.start()
        with grpc.insecure_channel(f"unix:{folder / 'agent.sock'}") as channel:
            call = channel.stream_stream(f"/{SERVICE}/Answer", relay.Piece.SerializeToString, relay.Piece.FromString)
            first = call(in_pieces(b"first"))
            assert working.wait(10)
            for _ in range(20):
                call(in_pieces(b"again")).cancel()
            others = [call(in_pieces(b"again")) for _ in range(8)]
            client = RelayClient(folder / "agent.sock")
            time.sleep(0.3)
            assert client.is_serving(5) and client.activity().state == "idle"
            goes_on.set()
            assert whole(first, 100) == b"first"
            ends = [_end_of(each) for each in others]
            assert set(ends) <= {"again", "RESOURCE_EXHAUSTED"}
            client.close()
        client = RelayClient(folder / "agent.sock")
        assert client.answer(b"later") == b"later"
        client.close()
        server.stop()


def _end_of(call: Iterator[relay.Piece]) -> str:
    try:
        return whole(call, 100).decode()
    except grpc.RpcError as error:
        return str(error.code().name)


# -------------------------------------------------------------------------------------------------- not approved


class Opened:
    """Paths that this process opens while `watch` runs."""

    def __init__(self) -> None:
        self.watching, self.paths = False, set[str]()
        sys.addaudithook(self._hear)  # for good: a hook cannot be taken away, only be deaf

    def _hear(self, event: str, given: tuple[object, ...]) -> None:
        if self.watching and event in ("open", "os.listdir", "os.scandir"):
            self.paths.add(str(given[0]))

    @contextlib.contextmanager
    def watch(self) -> Iterator[set[str]]:
        self.paths.clear()
        self.watching = True
        try:
            yield self.paths
        finally:
            self.watching = False


OPENED = Opened()


def data_files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.suffix in (".csv", ".dcm") or path.name == "images"}


def test_for_a_study_that_is_not_approved_no_data_file_is_opened(place: tuple[Path, Study]) -> None:
    folder, study = place
    other = replace(study, rounds=study.rounds + 1)
    shutil.rmtree(folder / "state" / "cache", ignore_errors=True)  # what was prepared before is not read again
    with served(agent_of(folder)) as path:
        with OPENED.watch() as opened:
            assert code_of(path, to_bytes(to_records(join(folder, other.digest)))) == "not_approved"
            assert code_of(path, to_bytes(to_records(join(folder, "../../etc/passwd")))) in ("not_approved", "run")
        assert not opened & data_files(folder)
        with OPENED.watch() as opened:
            assert isinstance(answered(path, to_bytes(to_records(join(folder, study.digest)))), JoinReply)
        assert opened & data_files(folder), "otherwise the search above proves nothing"


def test_a_study_that_was_withdrawn_is_refused_by_the_running_agent(place: tuple[Path, Study]) -> None:
    folder, study = place
    other = replace(study, rounds=study.rounds + 2)
    approvals = Approvals(folder / "state")
    approvals.approve(other)
    with served(agent_of(folder)) as path:
        request = to_bytes(to_records(join(folder, other.digest)))
        assert isinstance(answered(path, request), JoinReply)
        approvals.pause(other.digest)
        assert code_of(path, request) == "paused"
        approvals.resume(other.digest)
        approvals.withdraw(other.digest)
        with OPENED.watch() as opened:
            assert code_of(path, request) == "not_approved"
            assert code_of(path, to_bytes(to_records(ConfirmRequest(1, ())))) == "not_approved"
        assert not opened & data_files(folder)


# ------------------------------------------------------------------------------------------ a name in an exception


class Tap:
    """A socket in front of another, that keeps every byte of both directions."""

    def __init__(self, path: Path, behind: Path) -> None:
        self.path, self._behind, self.heard = path, behind, bytearray()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listening.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(str(self._behind))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while read := source.recv(1 << 16):
                self.heard += read
                sink.sendall(read)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.close()
        self.path.unlink()


class RaisesInJoin(SiteHandler):
    def _let_out(self, kind: str, request: object, handle: object) -> object:  # type: ignore[override]
        raise KeyError(NAME)


class RaisesInReply(SiteHandler):
    def reply(self, records: RecordDict) -> RecordDict:
        try:
            raise ValueError(NAME)
        except ValueError as first:
            raise UnicodeDecodeError("utf-8", NAME.encode("latin-1"), 1, 2, NAME) from first


def raises_at_once(site: Site) -> SiteHandler:
    raise RuntimeError({"patient": NAME})


def raises_what_cannot_be_shown(site: Site) -> SiteHandler:
    class Unspeakable(Exception):  # what a library may raise
        def __str__(self) -> str:
            raise KeyError(NAME)

        __repr__ = __str__

    raise Unspeakable


@pytest.mark.parametrize(
    "handler", [lambda site: RaisesInJoin(site, gate=Gate(site)), RaisesInReply, raises_at_once,
                raises_what_cannot_be_shown]
)  # fmt: skip
def test_a_patients_name_in_an_exception_leaves_no_trace(
    place: tuple[Path, Study], handler: Callable[[Site], SiteHandler], capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    folder, study = place
    caplog.set_level(logging.DEBUG)
    agent = agent_of(folder, handler)
    with served(agent) as path:
        tap = Tap(path.with_name("tap.sock"), path)
        reply = answered(tap.path, to_bytes(to_records(join(folder, study.digest))))
        tap.close()
    assert reply == Refusal("error")
    output, errors = capfd.readouterr()
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    everywhere = bytes(tap.heard) + (output + errors + logged).encode() + (agent.state / "audit.jsonl").read_bytes()
    assert len(tap.heard) > 200 and "failed with" in logged
    for trace in TRACES:
        assert trace not in everywhere, trace
    assert Audit(agent.state / "audit.jsonl").verify().broken is None


@contextlib.contextmanager
def in_its_own_process(folder: Path, wrap: Callable[[list[str]], list[str]] = list) -> Iterator[Process]:
    """`wardround site agent`, serving."""
    process = Process(folder / "agent.log", "site", "agent", "--at", str(folder), wrap=wrap)
    client = RelayClient(folder / "run" / "agent.sock")
    try:
        wait_for(lambda: client.is_serving() or not process.runs, "agent")
        assert process.runs, process.text
        yield process
    finally:
        client.close()
        process.stop()


def with_cell(text: str, column: str, content: str) -> str:
    """The table with this content in a cell of its first row."""
    names, row, *rest = csv.reader(io.StringIO(text))
    row[names.index(column)] = content
    out = io.StringIO()
    csv.writer(out).writerows([names, row, *rest])
    return out.getvalue()


BROKEN = {
    "a number that is a name": lambda text: with_cell(text, "Alter", NAME),
    "a word that is a name": lambda text: with_cell(text, "Geschlecht", NAME),
    "a target that is a name": lambda text: with_cell(text, "Verschlechterung", NAME),
    "a row too long": lambda text: text + f'"{NAME}","{NAME}"' * 40 + "\n",
    "a quote that does not end": lambda text: text + f'"{NAME}\n',
    "a column that is a name": lambda text: text.replace("Alter", f'"{NAME}"', 1),
}


@pytest.mark.parametrize("how", BROKEN)
def test_data_that_cannot_be_read_is_not_quoted(
    place: tuple[Path, Study], tmp_path: Path, how: str, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The reader itself raises, over a cell that holds a name."""
    folder, study = place
    table, before = folder / "records.csv", (folder / "records.csv").read_bytes()
    audit = (folder / "state" / "audit.jsonl").stat().st_size
    try:
        table.write_text(BROKEN[how](before.decode("utf-8")), encoding="utf-8")
        with served(agent_of(folder)) as path:
            tap = Tap(path.with_name("tap.sock"), path)
            reply = answered(tap.path, to_bytes(to_records(join(folder, study.digest))))
            tap.close()
    finally:
        table.write_bytes(before)
    assert reply == Refusal("bad_data")
    output, errors = capfd.readouterr()
    everywhere = bytes(tap.heard) + (output + errors + caplog.text).encode()
    everywhere += (folder / "state" / "audit.jsonl").read_bytes()[audit:]
    for trace in TRACES:
        assert trace not in everywhere, trace


# ------------------------------------------------------------------------------------------------------- no network


may_unshare = pytest.mark.skipif(
    subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode != 0,
    reason="this user may not make a network namespace",
)


@may_unshare
def test_without_any_network_the_agent_answers_and_reaches_nobody(place: tuple[Path, Study]) -> None:
    folder, study = place
    with socket.create_server(("127.0.0.1", 0)) as server, in_its_own_process(folder, in_own_network) as process:
        reply = answered(folder / "run" / "agent.sock", to_bytes(to_records(join(folder, study.digest))))
        assert isinstance(reply, JoinReply)
        port, pid = server.getsockname()[1], process.popen.pid
        interfaces = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        assert Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        reached = _reaches(port)
        inside = _reaches(port, "nsenter", f"--net=/proc/{pid}/ns/net")
    assert reached.startswith("connected"), "otherwise what follows proves nothing"
    assert set(inside.split()) == {"unreachable"}


_TRY = """
import errno, socket, sys
for family, address in ((2, ("127.0.0.1", int(sys.argv[1]))), (2, ("192.0.2.1", 443)), (10, ("::1", int(sys.argv[1])))):
    try:
        with socket.socket(family) as there:
            there.settimeout(3)
            there.connect(address)
        print("connected")
    except OSError as problem:
        print("unreachable" if problem.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL) else "timeout")
"""


def _reaches(port: int, *wrap: str) -> str:
    done = subprocess.run(
        [*wrap, sys.executable, "-c", _TRY, str(port)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout
