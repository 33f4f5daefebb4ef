"""Whom a list of opt-outs means is sought among all of whom a cohort may be made, in whichever way the file is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.data import prepare as preparing
from client.data.exclusions import Found, found_here
from client.data.losses import told
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.site import SiteFolder, read_site
from common.errors import DataError
from tests.client.data.test_opt_outs import NUMBERS, STUDY, ward, write_list
from tests.support.hospital import study_of, write_site
from tests.support.scripted import PRIVATE

TORN = "CRP from outside:\n12/3,4,5,6,7,8"  # its second line could be another patient's row, of this table's width


def with_remark(root: Path, patient: str, remark: str) -> None:
    """A column of remarks in the target's file, in quotes as a spreadsheet writes a cell of two lines."""
    first, *rows = (root / "records.csv").read_text().splitlines()
    ends = [f',"{remark}"' if row.startswith(f"{patient},") else "," for row in rows]
    rows = [f"{first},remark", *(row + end for row, end in zip(rows, ends, strict=True))]
    (root / "records.csv").write_text("\n".join(rows) + "\n")


def trained_on(folder: SiteFolder, *, private: bool = False) -> set[str]:
    study = study_of(PRIVATE, ["labs"]) if private else STUDY
    cohort, secret = prepare(folder, study, at_work=private), site_secret(folder.root / "state")
    return {one for one in NUMBERS if secret.pseudonym(one) in cohort.sides}


@pytest.mark.parametrize("line", ["10000", "10000.0", "010000", "MRN 10000", "10000 (objected)", "10003 / 10000"])
def test_whoever_objected_is_out_also_where_a_remark_looks_like_a_neighbours_row(tmp_path: Path, line: str) -> None:
    """A study without privacy keeps such a row, and sought nobody in it: by its exact number alone it was left out."""
    folder = ward(tmp_path, *NUMBERS)
    with_remark(tmp_path, "10000", TORN)
    assert trained_on(folder) == set(NUMBERS)
    write_list(tmp_path, line, "10005")
    assert trained_on(folder) == set(NUMBERS) - {"10000", "10005"} - ({"10003"} if "/" in line else set())
    assert "10000" not in trained_on(folder, private=True)  # where such a row is a broken one, listed or not


def test_who_came_into_the_file_after_the_list_was_looked_up_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that writes the numbers with zeros, in place between the two readings, brought back who objected."""
    folder = ward(tmp_path, *NUMBERS)
    write_list(tmp_path, "10000", "10005")
    before = (tmp_path / "records.csv").read_text()

    def then_exported(at: SiteFolder) -> Found:
        found = found_here(at)
        (tmp_path / "records.csv").write_text(before.replace("\n10000,", "\n010000,"))
        return found

    monkeypatch.setattr(preparing, "found_here", then_exported)
    cohort, secret = prepare(folder, STUDY), site_secret(tmp_path / "state")
    assert not {secret.pseudonym(one) for one in ("10000", "010000", "10005")} & cohort.sides.keys()
    assert "exclusions: 1 patient who came into the target's file while it was read" in " ".join(told(cohort.counts))
    monkeypatch.undo()
    assert prepare(folder, STUDY).opt_outs == "2 listed, 2 found here, 1 by a near miss (line 2)"


@pytest.mark.parametrize("listed", [True, False])
def test_without_privacy_an_open_quote_that_takes_a_neighbours_note_is_an_error(tmp_path: Path, listed: bool) -> None:
    """The note of one who objected stood in a neighbour's, under the neighbour's label, and was trained on."""
    folder = ward(tmp_path, *NUMBERS)
    write_list(tmp_path, "10007" if listed else "10005")
    path, study = tmp_path / "notes.csv", study_of(modalities=["report"])
    rows = [f"{one},a wound" for one in NUMBERS]
    rows[NUMBERS.index("10006")], rows[NUMBERS.index("10007")] = '10006,"a wound of 5', '10007,syphilis, a wound of 7"'
    write_site(tmp_path, {"images": None, "records": None, "sequences": None, "identity": None,
                          "notes": {"report": {"file": "notes.csv"}}, "exclusions": "list.csv"})  # fmt: skip
    folder = read_site(tmp_path)
    path.write_text("patient_id,text\n" + "\n".join(rows).replace("syphilis,", "syphilis and") + "\n")
    with pytest.raises(DataError, match=r"line 8: .*closes in the row of another patient"):
        prepare(folder, study)
    rows[NUMBERS.index("10006")] = '10006,"a wound of 5""\nand another, of 3"'
    rows[NUMBERS.index("10007")] = '10007,"syphilis\nand a wound of 7"'
    path.write_text("patient_id,text\n" + "\n".join(rows) + "\n")
    assert len(prepare(folder, study).sides) == len(NUMBERS) - 1


def test_a_note_that_was_prepared_with_an_objectors_words_is_read_anew(tmp_path: Path) -> None:
    """Nobody knew the number in the middle of a neighbour's note; once it was listed, the note came from the cache."""
    ward(tmp_path, *NUMBERS)
    write_site(tmp_path, {"images": None, "records": None, "sequences": None, "identity": None,
                          "notes": {"report": {"file": "notes.csv"}}, "exclusions": "list.csv"})  # fmt: skip
    folder, study = read_site(tmp_path), study_of(modalities=["report"])
    rows = [f"{one},a wound" for one in NUMBERS]
    rows[0] = f'{NUMBERS[0]},"a wound of 5\n10055,syphilis and a wound of 7"'
    (tmp_path / "notes.csv").write_text("patient_id,text\n" + "\n".join(rows) + "\n")
    write_list(tmp_path, NUMBERS[1])
    assert len(prepare(folder, study).sides) == len(NUMBERS) - 1
    write_list(tmp_path, NUMBERS[1], "10056")
    assert len(prepare(folder, study).sides) == len(NUMBERS) - 1
    write_list(tmp_path, NUMBERS[1], "10055")
    with pytest.raises(DataError, match=r"line 2: .*closes in the row of another patient"):
        prepare(folder, study)
