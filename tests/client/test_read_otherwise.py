"""What a hospital changes in its site file between two sums, because a study's error or a new table asks for it, shows
no single patient. Without privacy.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.cuts import asked_about, opening
from client.data.prepare import prepare
from client.site import SiteFolder, read_site
from common.errors import AnsweredError, DataError
from common.study import Study
from tests.client.test_no_part import GENES, HASH, LABS, cut, of, ward, without
from tests.support.hospital import STUDY, study_of

SEX = ("W", "M")


def of_words(*words: str) -> Study:
    labs = STUDY["modalities"]["labs"] | {"categorical": {"sex": list(words)}}
    return study_of({"split": HASH, "modalities": {"labs": labs}})


def edited(root: Path, **changes: Any) -> SiteFolder:
    file = yaml.safe_load((root / "site.yaml").read_text())
    (root / "site.yaml").write_text(yaml.safe_dump(file | changes))
    return read_site(root)


@pytest.mark.parametrize(("words", "answered"), [(SEX[::-1], True), ((*SEX, "X"), False)])
def test_a_study_with_one_word_more_does_not_show_the_patient_who_has_it(tmp_path, words, answered) -> None:
    """The first was refused until the word was listed as a gap, and then left out whom the second one took."""
    first, second = of_words(*SEX), of_words(*words)
    folder = ward(tmp_path, lambda row: row | dict.fromkeys(LABS, "") | {"sex": "X"})
    records = {"labs": {"file": "records.csv", "columns": {"crp": "CRP (mg/l)"}}}
    folder = edited(tmp_path, records=records)
    with pytest.raises(DataError, match="missing"):
        prepare(folder, first)
    folder = edited(tmp_path, records={"labs": records["labs"] | {"missing": ["X"]}})
    assert len(cut(folder, first).sides) == 19
    opening(tmp_path / "run", first.digest, cut(folder, first), 10)
    if not answered:
        folder = edited(tmp_path, records=records)
        assert len(cut(folder, second).sides) == 20 and asked_about(tmp_path / "run", second.digest, cut(folder, second))
    with nullcontext() if answered else pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path / "run", second.digest, cut(folder, second), 10)


@pytest.mark.parametrize("genes_alone", [False, True])
@pytest.mark.parametrize("key", ["policy", "site.yaml"])
def test_a_modality_that_a_site_reads_newly_brings_few_into_no_sum(tmp_path, key, genes_alone) -> None:
    """The one who has nothing else came into the study's sums; who has labs too was there before."""
    ward(tmp_path, without(*(LABS if genes_alone else GENES["genes"])))
    study, file = of(HASH, "labs", "genes"), yaml.safe_load((tmp_path / "site.yaml").read_text())
    less = {"policy": file["policy"] | {"modalities": ["labs"]}} if key == "policy" else {"sequences": {}}
    narrow = replace(cut(edited(tmp_path, **less), study), used=frozenset({"labs"}))
    opening(tmp_path / "run", study.digest, narrow, 10)
    wide = cut(edited(tmp_path, **file), study)
    assert len(wide.sides) == 20 and len(narrow.sides) == 20 - genes_alone
    with pytest.raises(AnsweredError, match="these 1 patients") if genes_alone else nullcontext():
        opening(tmp_path / "run", study.digest, wide, 10)
    opening(tmp_path / "run", study.digest, narrow, 10)


def test_who_comes_with_a_table_that_was_read_before_is_a_new_patient(tmp_path) -> None:
    """The genes came with the data: nobody chose by them who is in the sums."""
    study = of(HASH, "labs", "genes")
    folder = ward(tmp_path, without(*LABS, *GENES["genes"]))
    opening(tmp_path / "run", study.digest, cut(folder, study), 10)
    wide = cut(ward(tmp_path, without(*LABS)), study)
    assert len(wide.sides) == 20
    opening(tmp_path / "run", study.digest, wide, 10)
