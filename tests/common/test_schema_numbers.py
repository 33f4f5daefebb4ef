"""Schema numbers: a file of a newer release is refused as newer, and an older study keeps its digest."""

from __future__ import annotations

import pytest

from client.site import SiteFile
from common import schema as border
from common.errors import SiteFileError, StudyError
from common.study import Study, parse_study, study_text

STUDY = """
study: s
task: {kind: binary, classes: [a, b]}
modalities: {r: {kind: record, numeric: {x: {low: 0, high: 1}}}}
rounds: 2
"""
SITE = "site: a\ntarget: {file: t.csv, column: y}\n"
PRIVATE = "privacy: {mode: local}\n"


def test_an_absent_number_is_schema_0_and_writes_no_key() -> None:
    study = parse_study(STUDY)
    assert study.schema == 0
    assert "schema" not in study_text(study)
    assert parse_study(STUDY + "schema: 0\n").digest == study.digest


def test_a_number_is_part_of_the_digest() -> None:
    assert parse_study(STUDY + PRIVATE + "schema: 1\n").digest != parse_study(STUDY + PRIVATE).digest
    study = parse_study(STUDY + PRIVATE + "schema: 1\n")
    assert parse_study(study_text(study)) == study


@pytest.mark.parametrize("number", [border.SCHEMA + 1, 99])
def test_a_newer_file_is_refused_as_newer(number: int) -> None:
    with pytest.raises(StudyError, match="newer release"):
        parse_study(STUDY + f"schema: {number}\nquantum: 1\n")
    with pytest.raises(SiteFileError, match="newer release"):
        border.parse(SITE + f"schema: {number}\n", SiteFile, SiteFileError, "site.yaml")


@pytest.mark.parametrize("number", ["-1", "1.0", "one", "true"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(StudyError, match="whole number"):
        parse_study(STUDY + f"schema: {number}\n")


def test_schema_1_asks_for_privacy_in_writing() -> None:
    for text in ("", "privacy: {epsilon: 3}\n"):
        with pytest.raises(StudyError, match=r"privacy\.mode"):
            parse_study(STUDY + text + "schema: 1\n")
    assert not parse_study(STUDY + "privacy: {mode: none}\nschema: 1\n").private
    assert not parse_study(STUDY).private  # as 0.1 read it


def test_site_files_of_either_number_are_read() -> None:
    for text in (SITE, SITE + "schema: 0\n", SITE + "schema: 1\n"):
        assert border.parse(text, SiteFile, SiteFileError, "site.yaml").site == "a"


def test_no_field_of_a_later_schema_has_another_default_than_its_neutral_value() -> None:
    study = parse_study(STUDY)
    assert border.plain(study) == border.plain(Study(**{k: getattr(study, k) for k in study.__dataclass_fields__}))


@pytest.mark.parametrize(
    ("modality", "place"),
    [
        ("{kind: record, numeric: {x: {low: -.inf, high: 1}}}", "modalities.r.numeric.x.low"),
        ("{kind: record, numeric: {x: {low: 0, high: .nan}}}", "modalities.r.numeric.x.high"),
        ("{kind: record, numeric: {x: {low: 0, high: 1, mean: .inf, sd: 1}}}", "modalities.r.numeric.x.mean"),
        ("{kind: sequence, genes: [g, h], mean: [0, -.inf]}", "modalities.r.mean.1"),
        ("{kind: image, intensity: window, window: [.nan, 1]}", "modalities.r.window.0"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_in_words(modality: str, place: str) -> None:
    """It has no digest, by which a study is approved."""
    with pytest.raises(StudyError, match=f"{place}: write a finite number"):
        parse_study(f"study: s\ntask: {{kind: binary, classes: [a, b]}}\nmodalities: {{r: {modality}}}\nrounds: 2\n")


@pytest.mark.parametrize(
    "modality",
    ["{kind: record, numeric: {x: {low: -%s, high: %s}}}", "{kind: sequence, genes: [g], low: -%s, high: %s}"],
)
def test_a_range_wider_than_single_precision_is_refused_from_schema_1(modality: str) -> None:
    """A study of 0.1 with one stays readable."""
    head = "study: s\ntask: {kind: binary, classes: [a, b]}\nrounds: 2\nprivacy: {mode: local}\n"
    for number, bound, refused in ((0, "1.0e+308", False), (1, "1.0e+308", True), (1, "1.0e+38", False)):
        text = f"{head}schema: {number}\nmodalities: {{r: {modality % (bound, bound)}}}\n"
        if refused:
            with pytest.raises(StudyError, match="further apart than single precision"):
                parse_study(text)
        else:
            assert len(parse_study(text).digest) == 64
