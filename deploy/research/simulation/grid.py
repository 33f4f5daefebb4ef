"""The in-process grid: Flower's Grid over worker processes on this machine. No server, no port, no Ray.

The same handlers run behind it as in a deployed site. A site is always played by the same worker, whose network, cases
and secrets stay warm. A worker that dies takes its sites along, as a hospital's bad day does: their messages come back
as errors, and a fresh worker plays them from the next leg on, without the old one's secrets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from flwr.app import DEFAULT_TTL, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run as FlowerRun

from common.messages import new_message
from common.study import Study
from deploy.research.simulation.forks import forks
from deploy.research.simulation.worker import SitePlace, Watched, serve

LOST = 3  # Flower's error code for a node that is not available

Fate = Callable[[Message], bool]  # True: this message, or its answer, is lost


class InProcessGrid(Grid):
    """Nodes 1..N are the sites in the order given; use as a context manager, so that no worker is left behind."""

    def __init__(
        self,
        study: Study,
        places: Sequence[SitePlace],
        *,
        workers: int,
        log: Path,
        watch: Callable[[Watched], None] | None = None,
        fate: Fate | None = None,
    ) -> None:
        self._study, self._log, self._watch, self._fate = study, log, watch, fate
        self._places = dict(enumerate(places, start=1))
        self._workers = [
            _Worker(study, {node: self._places[node] for node in nodes}, log)
            for nodes in _shares(list(self._places), workers)
        ]
        self._of_node = {node: worker for worker in self._workers for node in worker.places}
        self._answers: dict[str, Message] = {}
        self._count = 0
        self._run = FlowerRun.create_empty(run_id=1)

    def __enter__(self) -> InProcessGrid:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.stop()

    # ----------------------------------------------------------------------------------------------- Flower's Grid

    def set_run(self, run: FlowerRun) -> None:
        self._run = run

    @property
    def run(self) -> FlowerRun:
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return new_message(content, message_type, dst_node_id, group_id, ttl or DEFAULT_TTL)

    def get_node_ids(self) -> Iterable[int]:
        return list(self._places)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identities = []
        for message in messages:
            self._count += 1
            identity = f"message-{self._count}"
            message.metadata.__dict__["_message_id"] = identity
            identities.append(identity)
            if self._fate is not None and self._fate(message):
                self._answers[identity] = _lost(message)
            else:
                self._of_node[message.metadata.dst_node_id].queue.append(message)
        self._feed()
        return identities

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self._collect(0.05)
        return [self._answers.pop(identity) for identity in message_ids if identity in self._answers]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        left = set(self.push_messages(messages))
        ends = time.monotonic() + timeout if timeout is not None else None
        replies: list[Message] = []
        while left and (ends is None or time.monotonic() < ends):
            came = list(self.pull_messages(left))
            replies += came
            left -= {message.metadata.reply_to_message_id for message in came}
        return replies

    # ------------------------------------------------------------------------------------------------- the workers

    def _feed(self) -> None:
        for worker in self._workers:
            worker.send_next()

    def _collect(self, seconds: float) -> None:
        """Take what workers have said, waiting for the first word at most `seconds`."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=seconds):
            assert isinstance(pipe, Connection)
            worker = by_pipe[pipe]
            try:
                said = pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            if isinstance(said, Watched):
                if self._watch is not None:
                    self._watch(said)
            else:
                asked = worker.finish()
                self._answers[asked.metadata.message_id] = said
        self._feed()

    def _bury(self, worker: _Worker) -> None:
        """A worker died: what its sites were asked is lost; a fresh worker takes its place."""
        for message in worker.lose_all():
            self._answers[message.metadata.message_id] = _lost(message)
        worker.restart()


class _Worker:
    """A process, its pipe, the message it works on, and those that wait."""

    def __init__(self, study: Study, places: Mapping[int, SitePlace], log: Path) -> None:
        self.places = dict(places)
        self.queue: list[Message] = []
        self._busy: Message | None = None
        self._arguments = (study, self.places, log)
        self.process, self.pipe = self._start()

    def _start(self) -> tuple[BaseProcess, Connection]:
        context = forks()
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def send_next(self) -> None:
        if self._busy is None and self.queue:
            self._busy = self.queue.pop(0)
            with suppress(OSError):  # a dead worker is noticed where answers are collected
                self.pipe.send((self._busy.metadata.dst_node_id, self._busy))

    def finish(self) -> Message:
        done, self._busy = self._busy, None
        assert done is not None, "a worker answers only what it was asked"
        return done

    def lose_all(self) -> list[Message]:
        lost = ([self._busy] if self._busy is not None else []) + self.queue
        self._busy, self.queue = None, []
        return lost

    def restart(self) -> None:
        self.stop()
        self.process, self.pipe = self._start()

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(timeout=2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _lost(message: Message) -> Message:
    return Message(Error(LOST, "the site vanished"), reply_to=message)


def _shares(nodes: list[int], workers: int) -> list[list[int]]:
    count = max(1, min(workers, len(nodes)))
    return [nodes[start::count] for start in range(count)]
