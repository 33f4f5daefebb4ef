"""The command line: `wardround …`. Each subcommand imports its side only when it is called."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

# Before anything else is imported: nothing that wardround starts may phone home, download, or import from the folder
# that it happens to be started in; and a worker has one thread, because several on shared cores are slower, not faster.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONSAFEPATH": "1",
    "OMP_NUM_THREADS": "1",
}
os.environ.update({**QUIET, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")})

import click  # noqa: E402

from common.errors import WardroundError  # noqa: E402
from deploy.commands import (  # noqa: E402
    consent,  # noqa: F401
    consortium,  # noqa: F401
    daemons,
    enrolment,  # noqa: F401
    groups,
    preparing,  # noqa: F401
    research,
    sets,  # noqa: F401
    standing,  # noqa: F401
    study,
)
from deploy.commands.control_c import end_at_the_next, heed_once  # noqa: E402
from deploy.commands.groups import INTERRUPTED, Stopped  # noqa: E402

INTERNAL = 70
OF_FILES = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOENT, errno.ENOTDIR}


def main() -> None:
    """Run the command line; every failure ends in a sentence and an exit code that tells its kind."""
    heed_once()
    try:
        sys.exit(commands(standalone_mode=False))  # None, or the code of a click.exceptions.Exit
    except WardroundError as error:
        click.secho(f"wardround: {error}", fg="red", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        end_at_the_next()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        # Click raises the same for Ctrl-C, which it names as the cause, and for a question without a yes.
        asked = isinstance(error, click.Abort) and error.__cause__ is None
        Stopped("It was not agreed to, and nothing was changed." if asked else "").show()
        end_at_the_next()
        sys.exit(INTERRUPTED)
    except Exception as error:
        click.secho(f"wardround: {_unforeseen(error)}", fg="red", err=True)
        sys.exit(INTERNAL)


def _unforeseen(error: Exception) -> str:
    """The text of a foreign exception, and the path in it, may quote a patient's data: its kind and place are shown."""
    if isinstance(error, OSError) and error.errno in OF_FILES:
        return (
            f"a file or folder cannot be used ({os.strerror(error.errno)}), in {_place_of(error)}. Is the disk full, "
            "or is it another user's? Run wardround as the user whose folder it is."
        )
    return (
        f"internal error, {type(error).__name__} at {_place_of(error)}. This is a fault of the program: please report "
        "this line. Its text is withheld because it could quote patients' data."
    )


def _place_of(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}, line {place.lineno}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wardround")
def commands() -> None:
    """Federated learning across hospital sites: multimodal models, differential privacy, secure sums."""


for group in (groups.consortium, groups.coordinator, groups.site):
    commands.add_command(group)
for command in (*daemons.STUDIES, study.study, *research.RESEARCH):
    commands.add_command(command)


if __name__ == "__main__":
    main()
