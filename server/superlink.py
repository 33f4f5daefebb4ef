"""Flower's SuperLink as a process of its own, behind the guard: `python -m server.superlink SECRET_FILE FLAGS...`.

The flags are `flower-superlink`'s. The secret is read from a file that only this user can read: arguments and
environments are visible to others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from server.guard import Guard

# SQLite lets one writer in at a time. Flower waits 5 seconds for the turn and then fails the request; a large update
# that is being stored can take longer.
BUSY_MILLISECONDS = 120_000


def serve(secret: str) -> int:
    """Run flower-superlink with the arguments of this process until it is told to stop."""
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    from flwr.supercore import sql_mixin
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from starlette.middleware import Middleware

    settings: Any = vars(sql_mixin)  # neither is a setting that Flower offers
    settings["SQLITE_PRAGMAS"] = tuple(
        (dict(settings["SQLITE_PRAGMAS"]) | {"busy_timeout": str(BUSY_MILLISECONDS)}).items()
    )
    extensions.get_middleware = lambda: (Middleware(Guard, secret=secret),)
    flower_superlink()
    return 0


if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    sys.exit(serve(file.read_text(encoding="ascii").strip()))
