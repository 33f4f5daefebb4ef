"""The secure sum beside Flower's SecAgg+, on one vector of 11.7 million values and 8 sites: CPU time, one thread.

Both sides do all that a sum asks of them: keys, shares, stochastic rounding, masks, and at the coordinator adding up,
unmasking and decoding. Ours signs, checks and range-checks besides, under AES-256 where Flower's masks come from a
Mersenne Twister. Flower's site runs the functions of its `secaggplus_mod` itself; its coordinator the steps of its
`SecAggPlusWorkflow` with the same functions, without the strategy that averages afterwards.

Memory that is touched for the first time counts, on both sides, save the coordinator's room for the sum, which it
keeps from round to round (`server/run/secure_sum.py`). What does not is the host of a virtual machine that
took back what lay free: see `settle`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.masking import WordSource
from common.secure_sum.messages import Offer
from common.secure_sum.packing import pack, unpack
from common.secure_sum.site import SiteSum, Upload
from common.summand import Layout, Segment
from tests.benchmarks.figure import Figure
from tests.support.secagg_plus import FlowerSecAgg
from tests.support.secure_sum import PLAN, Consortium, next_member

GROUP = "secure_sum"
VALUES, SITES, BOUND, TIMES = 11_700_000, 8, 4.0, 5
CASES, MOST_CASES = 137.0, 1000.0  # a site's update is weighted by its cases, as Flower's is by its examples
LAYOUT = Layout((Segment("update/shared", VALUES, BOUND * MOST_CASES),))
ROOT = Path(__file__).resolve().parents[3]


def measure() -> Iterator[Figure]:
    """All figures of one run; ours and Flower's alternate."""
    update = an_update()
    site, coordinator, dropped, cipher = [list[float]() for _ in range(4)]
    room = np.zeros(VALUES)  # for the sum: a coordinator has it from the round before
    flower_site, flower_coordinator = list[float](), list[float]()
    flower = FlowerSecAgg(update, SITES)
    for _ in range(TIMES):
        ours = OneSum(update, room)
        site.append(ours.site_seconds)
        coordinator.append(ours.coordinator_seconds)
        cipher.append(bare_cipher(SITES))
        dropped.append(OneSum(update, room, dropped=2).coordinator_seconds)
        settle()
        flower_site.append(flower.site_seconds())
        settle()
        flower_coordinator.append(flower.coordinator_seconds())
    median = statistics.median
    told = f"median of {TIMES}, CPU, 1 thread, {VALUES:,} values, {SITES} sites"
    ours_text = f"ours {1e3 * median(site):.0f} ms"
    yield Figure(
        "secure_sum.client_speedup",
        median(flower_site) / median(site),
        ">= 10",
        f"{ours_text}, Flower's secaggplus_mod {1e3 * median(flower_site):.0f} ms; all legs; {told}",
    )
    yield Figure(
        "secure_sum.client_vs_cipher",
        median(site) / median(cipher),
        "<= 1.6",
        f"{ours_text}, bare AES-256-CTR streams and adds of as many masks {1e3 * median(cipher):.0f} ms; {told}",
    )
    yield Figure(
        "secure_sum.server_speedup",
        median(flower_coordinator) / median(coordinator),
        ">= 12",
        f"ours {1e3 * median(coordinator):.0f} ms, Flower's workflow without its strategy "
        f"{1e3 * median(flower_coordinator):.0f} ms; {told}",
    )
    yield Figure(
        "secure_sum.dropout_cost",
        median(dropped) / median(coordinator),
        "<= 2",
        f"2 of {SITES} dropped after their offers {1e3 * median(dropped):.0f} ms; {told}",
    )
    for bits, bar in ((32, "<= 4.01"), (16, "<= 2.5")):
        sent = OneSum(update, room, bits=bits)
        note = (
            f"all that a site sends in a sum; words of {word_bits(bits, SITES)} bits; {1e3 * sent.site_seconds:.0f} ms"
        )
        yield Figure(f"secure_sum.bytes_per_value_{bits}", sent.bytes_sent / VALUES, bar, note)
    yield Figure(
        "secure_sum.memory_copies",
        memory_copies(),
        "<= 3",
        "peak resident memory of a site from the float32 update to its upload, the update itself included, over its "
        "size; a process of its own",
    )
    yield two_threads(update)
    yield packing()


def an_update() -> NDArray[np.float32]:
    """Values as of a trained update, within the bound."""
    values = np.random.default_rng(0).normal(0, 0.1, VALUES).astype(np.float32)
    return np.clip(values, -BOUND, BOUND)


def words_of(point: FixedPoint, update: NDArray[np.float32]) -> WordSource:
    """The words that a site sends: its update, weighted."""
    return point.words(LAYOUT.summand({"update/shared": (update, CASES)}), (1, 2, 3))


def settle(size: int = 1 << 30) -> None:
    """Touch as much memory as the next step can need, and free it.

    The host of a virtual machine takes free memory back after a second or two. Getting it again is charged to whoever
    asks for it first, and was seen to cost 4 ms for 2 MiB, at random: more than all that is measured here.
    """
    np.ones(size, dtype=np.uint8)


def cpu(act: Callable[[], object]) -> float:
    """Seconds of this process's CPU."""
    began = time.process_time()
    act()
    return time.process_time() - began


class OneSum:
    """A whole sum of real sites and a real coordinator's half, of whom the first site and the coordinator are timed."""

    def __init__(
        self, update: NDArray[np.float32], room: NDArray[np.float64], *, dropped: int = 0, bits: int = 32
    ) -> None:
        self.point = FixedPoint(LAYOUT, bits=word_bits(bits, SITES), sites=SITES)
        self.group = Consortium(SITES, 0, bits=self.point.bits)
        self.update, self.room, self.bytes_sent = update, room, 0
        self.site_seconds = self.coordinator_seconds = 0.0
        self._first = next(iter(self.group.sites))
        self._run(list(self.group.sites)[: SITES - dropped])

    def _run(self, stay: list[str]) -> None:
        group, half = self.group, list[CoordinatorSum]()
        offers = {name: self._site(name, lambda s=site: s.offer(group.context)) for name, site in group.sites.items()}
        self._coordinator(lambda: half.append(CoordinatorSum(group.context, PLAN, VALUES, group.roster)))
        for offer in offers.values():
            self._coordinator(lambda offer=offer: half[0].add_offer(offer))
        shown = self._coordinator(lambda: half[0].offers)
        settle()
        for name in stay:
            self._site(name, lambda name=name: group.sites[name].agree(PLAN, shown))
            head, packed = self._upload(name, shown)
            self._coordinator(lambda head=head, packed=packed: half[0].add_masked(head, packed))
        survivors = self._coordinator(lambda: half[0].survivors)
        for name in stay:
            confirmed = self._site(name, lambda name=name: group.sites[name].confirm(survivors))
            self._coordinator(lambda confirmed=confirmed: half[0].add_confirmation(confirmed))
        confirmations = self._coordinator(lambda: half[0].confirmations)
        for name in stay:
            reveal = self._site(name, lambda name=name: group.sites[name].reveal(confirmations))
            self._coordinator(lambda reveal=reveal: half[0].add_reveal(reveal))
        values = self._coordinator(lambda: self.point.values(self.room))
        self._coordinator(lambda: half[0].open_into(values))
        total = values.vector
        worst = float(np.max(np.abs(total - len(stay) * CASES * self.update.astype(np.float64))))
        assert worst <= len(stay) * self.point.resolution()["update/shared"], "the sum is not the sum"

    def _upload(self, name: str, shown: Any) -> Upload:
        upload: Upload = self._site(
            name, lambda: self.group.sites[name].mask(PLAN, shown, words_of(self.point, self.update))
        )
        if name == self._first:
            self.bytes_sent += upload[1].nbytes
        return upload

    def _site(self, name: str, act: Callable[[], Any]) -> Any:
        began = time.process_time()
        said = act()
        if name == self._first:
            self.site_seconds += time.process_time() - began
            self.bytes_sent += len(_sent(said))
        return said

    def _coordinator(self, act: Callable[[], Any]) -> Any:
        began = time.process_time()
        result = act()
        self.coordinator_seconds += time.process_time() - began
        return result


def _sent(said: Any) -> bytes:
    """What a site sends of what it worked out; of T nothing, and of its vector the head: the rest is counted apart."""
    if isinstance(said, bytes):
        return b""
    sent: bytes = (said[0] if isinstance(said, tuple) else said).to_bytes()
    return sent


def bare_cipher(masks: int, block: int = 1 << 16) -> float:
    """CPU seconds of the least that any such site must do: AES-256-CTR streams, and adding them up, block by block in
    the cache. The vector's memory was touched before.
    """
    words = np.ones(VALUES, dtype=np.uint32)
    zeros, room = bytes(4 * block), bytearray(4 * block)
    began = time.process_time()
    streams = [Cipher(AES(os.urandom(32)), CTR(bytes(16))).encryptor() for _ in range(masks)]
    for start in range(0, VALUES, block):
        part = words[start : start + block]
        plain, mask = memoryview(zeros)[: part.nbytes], memoryview(room)[: part.nbytes]
        for stream in streams:
            stream.update_into(plain, mask)
            np.add(part, np.frombuffer(mask, dtype=np.uint32), out=part)
    return time.process_time() - began


def two_threads(update: NDArray[np.float32]) -> Figure:
    """Wall time of masking with one thread over that with two."""
    seconds = {}
    for threads in (1, 2):
        taken = []
        for _ in range(TIMES):
            site, offers = a_site(threads)
            words = words_of(FixedPoint(LAYOUT, bits=32, sites=SITES), update)
            settle()
            began = time.perf_counter()
            site.mask(PLAN, offers, words)
            taken.append(time.perf_counter() - began)
        seconds[threads] = statistics.median(taken)
    note = f"wall time of masking: {1e3 * seconds[1]:.0f} ms with one thread, {1e3 * seconds[2]:.0f} ms with two"
    return Figure("secure_sum.two_threads_speedup", seconds[1] / seconds[2], None, note)


def a_site(threads: int) -> tuple[SiteSum, tuple[Offer, ...]]:
    """One of 8 sites, on so many threads, and all their offers."""
    group = Consortium(SITES, 0)
    name = next(iter(group.sites))
    site = SiteSum(group.members[name], group.keys[name], group.signing[name], group.roster, threads=threads)
    others = [group.sites[other].offer(group.context) for other in group.sites if other != name]
    return site, (site.offer(group.context, next_member(group.members[name], group.signing[name])), *others)


def packing(bits: int = 19) -> Figure:
    """CPU time of packing words that are not whole bytes, as a study of 16 bits and 8 sites has them."""
    words = np.random.default_rng(0).integers(0, 1 << bits, VALUES, dtype=np.uint32)
    seconds, back = [list[float]() for _ in range(2)]
    for _ in range(TIMES):
        seconds.append(cpu(lambda: pack(words, bits)))
        packed = pack(words, bits)
        back.append(cpu(lambda packed=packed: unpack(packed, bits, VALUES)))
    note = f"ms of CPU for {VALUES:,} words; unpacking {1e3 * statistics.median(back):.0f} ms; median of {TIMES}"
    return Figure(f"secure_sum.packing_{bits}_bits", 1e3 * statistics.median(seconds), None, note)


def memory_copies() -> float:
    """Measured in a process of its own, whose peak nothing else has raised."""
    command = [sys.executable, "-P", "-c", "from tests.benchmarks.groups import secure_sum as s; s.print_memory()"]
    place = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True, check=True)
    return float(told.stdout)


def print_memory() -> None:
    """Peak of resident memory while a site masks, in sizes of the update; the update counts as one."""
    update = an_update()
    group = Consortium(SITES, 0)
    offers = tuple(site.offer(group.context) for site in group.sites.values())
    site = next(iter(group.sites.values()))
    words = words_of(FixedPoint(LAYOUT, bits=32, sites=SITES), update)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel's high-water mark starts again from here
    before = _kilobytes("VmRSS")
    upload = site.mask(PLAN, offers, words)
    peak = _kilobytes("VmHWM")
    assert upload[1].nbytes == 4 * VALUES
    print((peak - before) * 1024 / update.nbytes + 1)


def _kilobytes(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
