"""What a site must remember of its secure sums, on disk, so that no crash, copy or restart makes it answer twice.

    numbers    per run, the highest number that it made an offer for
    uploads    per run, the highest number that it made a masked vector for
    answered   what was summed over whom: a question about the same data is answered over one set of sites only

Every claim is checked and written under one lock, and is on disk before what it allows. Two processes on one state
folder (a fork, a second daemon, a machine resumed from a snapshot) share these claims; on two disks they cannot.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.errors import AnsweredError, ProtocolOrderError, RunError
from common.whole_file import write_whole

Records = dict[str, dict[str, int | str]]


class SumRecords:
    """In `secure_sum.json` of a site's state folder."""

    def __init__(self, state: Path) -> None:
        self._path, self._lock = state / "secure_sum.json", state / "secure_sum.lock"

    def offering(self, run: str, number: int) -> None:
        """Claim a number. ProtocolOrderError unless it is above all before."""
        with self._locked() as records:
            _raise_to(records["numbers"], run, number, "The number of this sum was used before; count on.")

    def uploading(self, run: str, number: int) -> None:
        """Claim the only upload of a number. ProtocolOrderError when one was made, here or by a copy of this site."""
        with self._locked() as records:
            _raise_to(records["uploads"], run, number, "A masked vector was made for this number before.")

    def require_same(self, questions: Sequence[str], survivors: Sequence[str]) -> None:
        """AnsweredError when one of the questions was answered over other sites."""
        with self._locked() as records:
            _require_same(records["answered"], questions, survivors)

    def answering(self, questions: Sequence[str], survivors: Sequence[str]) -> None:
        """Claim the answers to these questions for these sites. AnsweredError when others have them."""
        with self._locked() as records:
            _require_same(records["answered"], questions, survivors)
            records["answered"] |= dict.fromkeys(questions, _names(survivors))

    @contextmanager
    def _locked(self) -> Iterator[Records]:
        """The records; what is changed in them is on disk when the block ends, and nothing when it raises."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._lock.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    before = self._read()
                    records = {kind: dict(before.get(kind, {})) for kind in ("numbers", "uploads", "answered")}
                    yield records
                    if records != before:
                        self._write(records)
                finally:  # closing does not free it while a child forked meanwhile has the file
                    fcntl.flock(lock, fcntl.LOCK_UN)
        except OSError as problem:
            raise RunError(f"{self._path}: cannot be kept ({problem.strerror}). Make room, or mend the disk.") from None

    def _read(self) -> Records:
        try:
            records: Records = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise RunError(f"{self._path}: is damaged. Restore it from a backup taken after the last round.") from None
        return records

    def _write(self, records: Records) -> None:
        write_whole(self._path, json.dumps(records).encode())


def _raise_to(highest: dict[str, int | str], run: str, number: int, refusal: str) -> None:
    key = hashlib.sha256(run.encode()).hexdigest()
    if number <= int(highest.get(key, 0)):
        raise ProtocolOrderError(refusal)
    highest[key] = number


def _require_same(answered: dict[str, int | str], questions: Sequence[str], survivors: Sequence[str]) -> None:
    if any(answered.get(question, _names(survivors)) != _names(survivors) for question in questions):
        raise AnsweredError(
            "This was summed before over other sites, and the difference of the two sums would show a site. "
            "Only the same sites can repeat it; a private study pays for a new answer instead."
        )


def _names(survivors: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(survivors)).encode()).hexdigest()
