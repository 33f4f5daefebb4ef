"""The report as two files beside each other: report.json and report.html, each whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.errors import RunError
from server.report.evidence import Evidence, to_json
from server.report.release import released
from server.report.text import shown
from server.report.view import view


def write(evidence: Evidence, folder: Path) -> Path:
    """Write report.json and report.html into the folder, made if need be, and return the page's path.

    Both are made before either is written. A crash at any moment leaves each file as it was or as it will be.
    """
    evidence = released(evidence)
    page, data = render(evidence), to_json(evidence)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "report.json", data)
        _replace(folder / "report.html", page)
    except OSError as problem:
        raise RunError(
            f"{folder}: the report cannot be written ({problem.strerror}). Check space and permissions."
        ) from None
    return folder / "report.html"


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


def _replace(path: Path, text: str) -> None:
    """Write beside, force to disk, rename over."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
