"""A mutant: one object of the product, and what a mistake or a traitor would have put in its place."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True)
class Mutant:
    """What is replaced, by what, and which tests are to notice.

    target: dotted name of the object, as the code that uses it finds it: "client.round.round.noisy"
    make: the original object -> its replacement
    tests: node ids; at least one has to fail. Whoever adds a mutant names the cheapest that do
    """

    name: str
    target: str
    make: Callable[[Any], Any]
    tests: tuple[str, ...]
    reached: list[bool] = field(default_factory=list, compare=False, repr=False)

    @property
    def original(self) -> Any:
        """The object. LookupError where there is none of this name any more: then the mutant says nothing."""
        owner, name = self._place()
        found = vars(owner).get(name, getattr(owner, name, None))
        if found is None:
            raise LookupError(f"{self.name}: {self.target} is no more. Name what has taken its place.")
        return found

    def _place(self) -> tuple[Any, str]:
        path, _, name = self.target.rpartition(".")
        parts = path.split(".")
        for end in range(len(parts), 0, -1):
            try:
                owner: Any = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                continue
            for part in parts[end:]:
                owner = getattr(owner, part, None)
            return owner, name
        raise LookupError(f"{self.name}: {path} is no more.")

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The product with this mistake in it. `reached` tells whether the replacement was called."""
        replacement = self.make(self.original)

        def called(*arguments: Any, **named: Any) -> Any:
            self.reached.append(True)
            return replacement(*arguments, **named)

        owner, name = self._place()
        with patch.object(owner, name, property(called) if isinstance(self.original, property) else called):
            yield
