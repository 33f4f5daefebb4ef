"""Flower's SuperLink as a process of its own, behind the guard.

`python -m server.flower.superlink SECRET_FILE FLAGS...`.

The flags are `flower-superlink`'s. The secret is read from a file that only this user can read: arguments and
environments are visible to others.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.processes.parent import end_with
from server.flower.guard import Guard
from server.flower.long_poll import Bell
from server.flower.patches import make_lean

if TYPE_CHECKING:
    from starlette.requests import Request

# SQLite lets one writer in at a time. Flower waits 5 seconds for the turn and then fails the request; a large update
# that is being stored can take longer.
BUSY_MILLISECONDS = 120_000
PATIENCE_SECONDS = 3.0  # its web server waits for connections that sites keep open; the database stands a kill
PRAGMAS = {
    "busy_timeout": str(BUSY_MILLISECONDS),
    # Each of some ten connections would map a quarter of a gigabyte, and keep its own cache of 64 MB.
    "mmap_size": "0",
    "cache_size": "-4000",
    # The log of a large update is cut when it was written back; else the file keeps its largest size for good.
    "journal_size_limit": str(64 << 20),
}


def serve(secret: str) -> int:
    """Run flower-superlink with the arguments of this process until it is told to stop."""
    os.environ |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    import uvicorn
    from flwr.server.superlink.linkstate import SqlLinkState
    from flwr.supercore import sql_mixin
    from flwr.superlink import extensions
    from flwr.superlink.cli.flower_superlink import flower_superlink
    from flwr.superlink.routers.fleet import node_auth
    from flwr.superlink.servicer.fleet import fleet_handlers
    from starlette.middleware import Middleware

    from server.flower import door
    from server.flower.ownership import bind
    from server.flower.signature import Signed, verify_remembered

    settings: Any = vars(sql_mixin)  # neither is a setting that Flower offers
    settings["SQLITE_PRAGMAS"] = tuple((dict(settings["SQLITE_PRAGMAS"]) | PRAGMAS).items())
    extensions.get_middleware = lambda: (Middleware(Guard, secret=secret, signed=Signed()), Middleware(Bell))
    vars(uvicorn)["run"] = door.run
    vars(node_auth)["verify_signature"] = verify_remembered
    vars(node_auth)["authenticate_node"] = only_enrolled(node_auth.authenticate_node)
    setattr(SqlLinkState, "get_message_ins", until_confirmed(SqlLinkState.get_message_ins))  # noqa: B010
    bind(fleet_handlers)
    make_lean()
    logging.getLogger("uvicorn.access").addFilter(has_failed)
    logging.getLogger("uvicorn.error").addFilter(is_no_warning)
    flower_superlink()
    return 0


def has_failed(record: logging.LogRecord) -> bool:
    """What the web server failed at is kept in its log. Strangers' calls, with paths of their own, could fill disks."""
    status = record.args[-1] if isinstance(record.args, tuple) and record.args else 0
    return not isinstance(status, int) or status >= 500


def is_no_warning(record: logging.LogRecord) -> bool:
    """What the web server warns of is what a caller did wrong: each call that is no HTTP left a line."""
    return record.levelno != logging.WARNING


def only_enrolled(authenticate: Callable[[Request], None]) -> Callable[[Request], None]:
    """Flower's check of a node, which lets every key with a good signature come as far as to activate its node.

    There a key that nobody enrolled would be answered as one whose node is connected already: 412. Here it is 401.
    """
    from fastapi import HTTPException
    from flwr.proto.fleet_pb2 import ActivateNodeRequest
    from flwr.superlink.dependencies.linkstate import get_linkstate

    def authenticate_enrolled(request: Request) -> None:
        authenticate(request)
        asked = request.state.protobuf_request
        if not isinstance(asked, ActivateNodeRequest):
            return
        if get_linkstate(request).get_node_id_by_public_key(asked.public_key) is None:
            raise HTTPException(401, "Invalid SuperNode authentication")

    return authenticate_enrolled


def until_confirmed(hand_over: Callable[..., Any]) -> Callable[..., Any]:
    """Flower's hand-over of messages to a node: once, also when the answer is lost, or the node before it has it whole.

    Here a node that asks again is given again what it has not confirmed; with a confirmation the objects go.
    """
    from flwr.supercore.state.schema.linkstate_models import MessageIns
    from flwr.supercore.state.schema.objectstore_models import StoredObject
    from flwr.supercore.utils import uint64_to_int64
    from sqlalchemy import exists, or_, select, update

    kept = exists().where(StoredObject.object_id == MessageIns.message_id)

    def get_message_ins(state: Any, node_id: int, limit: int | None, **more: Any) -> Any:
        mine, new = MessageIns.dst_node_id == uint64_to_int64(node_id), MessageIns.delivered_at == ""
        again = update(MessageIns).where(mine, ~new, kept).values(delivered_at="")
        with state.session() as session:  # of its own: nearly every look finds nothing, and reading waits for no writer
            if session.scalar(select(MessageIns.message_id).where(mine, or_(new, kept)).limit(1)) is None:
                return []
        with state.session() as session:  # one transaction with what follows
            session.execute(again, execution_options={"synchronize_session": False})
            return hand_over(state, node_id, limit, **more)

    return get_message_ins


if __name__ == "__main__":
    end_with(os.getppid(), PATIENCE_SECONDS)
    file = Path(sys.argv.pop(1))
    sys.exit(serve(file.read_text(encoding="ascii").strip()))
