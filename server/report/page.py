"""The report as two files beside each other: report.json and report.html, each whole or not there."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.disk.atomic_file import BY_UMASK, whole_file
from common.errors import RunError
from common.format_number import NEWER
from server.report.evidence import Evidence, read_evidence, to_json
from server.report.release import released
from server.report.text import shown
from server.report.view import view

REPORT = "report.json"


def write(evidence: Evidence, folder: Path) -> Path:
    """Write report.json and report.html into the folder, made if need be, and return the page's path.

    Both are made before either is written. A crash at any moment leaves each file as it was or as it will be. RunError
    where a newer release has written a report there.
    """
    require_no_newer(folder)
    evidence = released(evidence)
    page, data = render(evidence), to_json(evidence)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / REPORT, data)
        _write(folder / "report.html", page)
    except OSError as problem:
        raise RunError(
            f"{folder}: the report cannot be written ({problem.strerror}). Check space and permissions."
        ) from None
    return folder / "report.html"


def require_no_newer(folder: Path) -> None:
    """Refuse to write over the report of a newer release. One that is torn is written anew."""
    try:
        read_evidence(folder / REPORT)
    except RunError as problem:
        if NEWER in str(problem):
            raise


def render(evidence: Evidence) -> str:
    """The page as one HTML text that loads nothing."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(view=view(released(evidence)))


def _write(path: Path, text: str) -> None:
    with whole_file(path, BY_UMASK) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")
