"""Of one patient's folders that cannot be read a coordinator learns nothing, and nobody else's images or notes go."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from client.data.losses import losses
from client.data.prepare import prepare
from client.site import read_site
from common.messages import JoinReply
from tests.support.hospital import hospital, write_site
from tests.support.other_user import NOBODY, as_nobody, needs_root, open_folder
from tests.support.scripted import ME
from tests.support.ward import PATIENTS, Ward, private

_IMPORTS = """
import json, pathlib, sys, tempfile
from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from tests.support.hospital import hospital, study_of
from tests.support.scripted import PRIVATE
study = study_of(PRIVATE, modalities=["labs", "xray", "report"])
notes = study_of(PRIVATE, modalities=["report"])
with tempfile.TemporaryDirectory() as warm:  # what is loaded late is loaded before the user is changed
    prepare(hospital(pathlib.Path(warm), 16), study, at_work=True)
"""
_COUNTS = """
print(json.dumps([prepare(read_site(pathlib.Path(one)), study, at_work=True).counts for one in sys.argv[1:]]))
"""
_SUMS = """
cohorts = [prepare(read_site(pathlib.Path(one)), notes, at_work=True) for one in sys.argv[1:]]
print(json.dumps([{name: sums.tolist() for name, sums in statistic_sums(notes, one).items()} for one in cohorts]))
"""


@needs_root
def test_a_patients_images_that_may_not_be_read_are_a_loss() -> None:
    """Prepared by another user, to whom one patient's folder, or one file of it, is closed. Counted, and the rest is
    there, all notes among it.
    """
    with open_folder() as root:
        for what in ("whole", "folders", "entries"):
            written(root / what)
        for one in (root / "folders" / "images").iterdir(), (root / "entries" / "images").rglob("*"):
            close(sorted(path for path in one if path.is_dir() == ("folders" in path.parts))[0])
        places = [str(root / what) for what in ("whole", "folders", "entries")]
        whole, *torn = json.loads(as_nobody(_COUNTS, *places, imports=_IMPORTS).splitlines()[-1])
    assert not losses(whole)
    for what, counts in zip(("folders", "entries"), torn, strict=True):
        assert counts[f"images.xray: {what} that cannot be read"] == 1 < counts[f"images.xray: {what}"]
        assert 1 in [loss.number for loss in losses(counts) if loss.reason == "that cannot be read"]
        assert 1 < counts["images.xray: patients"] <= whole["images.xray: patients"]
        assert {place for place in counts if place.startswith("notes.report: patients")} == {"notes.report: patients"}


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["identity", "headers"])
def test_one_patients_folder_that_may_not_be_read_takes_nobody_elses_note(named: bool) -> None:
    """A study of notes, at a site whose files of `identity`, or whose headers alone, say who patients are. One patient
    more, of whom there is a folder that nobody may enter, changes no sum; the notes of those without images are in it
    where `identity` names them, and else never.
    """
    with open_folder() as root:
        for what in ("without", "with"):
            written(root / what, {} if named else {"identity": None})
        (root / "with" / "images" / "one_more").mkdir()
        close(root / "with" / "images" / "one_more")
        places = str(root / "without"), str(root / "with")
        without, with_it = json.loads(as_nobody(_SUMS, *places, imports=_IMPORTS).splitlines()[-1])
    assert with_it == without
    assert without["present"] == [12 if named else 8]  # of 16: every fourth has no note, every third no image


def written(root: Path, site: dict[str, Any] | None = None) -> None:
    root.mkdir()
    hospital(root, PATIENTS, site=site)
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def close(path: Path) -> None:
    """To everybody but root."""
    os.chown(path, 0, 0)
    path.chmod(0o700)


@pytest.mark.parametrize(("levels", "name"), [(1_100, "a"), (40, "a" * 250)], ids=["deep", "long"])
@pytest.mark.parametrize("kind", ["xray", "report"])
def test_folders_of_a_patient_that_lie_too_deep_are_a_loss(tmp_path: Path, kind: str, levels: int, name: str) -> None:
    """Deeper than Python recurses, or longer than a path may be: the site answers as ever, and counts what it could not
    read. A study of notes reads the headers of the images too.
    """
    ward = Ward(tmp_path, private({}, "labs", kind))
    write_site(ward.root, {"site": ME})
    ward.sites[ME] = ward.start(ME)
    before = prepare(read_site(ward.root), ward.study)
    with deep(sorted((ward.root / "images").iterdir())[0], levels, name):
        after = prepare(read_site(ward.root), ward.study)
        assert isinstance(ward.join(), JoinReply)
    assert [len(part) for part in (after.train, after.test)] == [len(part) for part in (before.train, before.test)]
    if kind == "xray":
        assert after.counts["images.xray: folders that cannot be read"] == 1


@contextmanager
def deep(folder: Path, levels: int, name: str) -> Iterator[None]:
    here = Path.cwd()
    try:
        os.chdir(folder)
        for _ in range(levels):
            Path(name).mkdir()
            os.chdir(name)
        os.chdir(here)
        yield
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(folder / name)], check=True)  # `rmtree` recurses
