"""What can be known of a study without any site is refused before any hospital is asked, all of it at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.errors import PrivacyError, StudyError
from common.modalities.image import ImageEncoder, ImageModality
from common.modalities.note import NoteEncoder
from common.plan import least_owners, least_sites, threshold_of
from common.study import SecureSum, Server, parse_study
from common.study_check import problems, require_playable, size_of
from tests.support.tiny import study_of

IMAGE = ImageModality(kind="image", size=32, encoder=ImageEncoder(backbone="resnett18"))


def test_a_whole_study_has_no_problem() -> None:
    study = study_of("chart", "panel")
    assert problems(study) == [] == problems(study, 4)
    require_playable(study, 3)


def test_all_is_named_at_once_and_each_by_itself_as_what_it_is() -> None:
    study = study_of("chart", "panel")
    unknown = replace(study, server=Server(strategy="FedMagic"))
    network = replace(study, modalities={**study.modalities, "scan": IMAGE, "other": replace(IMAGE, size=64)})
    unsafe = replace(study, secure_sum=SecureSum(threshold=2, colluding=2))
    for wrong, said in ((unknown, "FedMagic"), (unsafe, "secure_sum.threshold: 2 is unsafe")):
        with pytest.raises(StudyError, match=said):
            require_playable(wrong)
    assert [str(one).partition(":")[0] for one in problems(network)] == ["modalities.scan", "modalities.other"]
    all_of_it = replace(network, server=unknown.server, secure_sum=unsafe.secure_sum)
    with pytest.raises(StudyError) as refused:
        require_playable(all_of_it, 3)
    told = str(refused.value)
    of_sum = ("threshold: 2 is unsafe", "3 sites, but a sum needs 4")
    assert all(words in told for words in ("FedMagic", "modalities.scan", "modalities.other", *of_sum))
    assert "resnet18" in told  # the nearest name that there is


def test_a_budget_that_no_noise_reaches_is_a_problem_of_privacy() -> None:
    privacy = {"mode": "local", "epsilon": 1e-9, "sample_rate": 1.0, "expected_batch_size": 4.0}
    with pytest.raises(PrivacyError):
        require_playable(study_of("chart", privacy=privacy, rounds=100))


@pytest.mark.parametrize("colluding", [1, 2, 5])
@pytest.mark.parametrize("threshold", [None, 2, 3, 4, 6, 9])
def test_the_fewest_sites_of_a_study_are_the_fewest_of_its_sum(colluding: int, threshold: int | None) -> None:
    """Four copies of this rule were two: a run that needs four sites began to wait for three."""
    study = replace(study_of("chart"), secure_sum=SecureSum(threshold=threshold, colluding=colluding))
    able = [sites for sites in range(1, 40) if not problems(study, sites)]
    assert bool(able) == (problems(study) == [])
    if able:
        assert min(able) == least_sites(study) >= least_owners(study) == colluding + 2
        assert all(threshold_of(study, sites) for sites in able)
        if threshold is not None:
            assert max(able) == 2 * threshold - colluding - 1
    in_the_open = replace(study, secure_sum=SecureSum(enabled=False))
    assert least_sites(in_the_open) == 1 and problems(in_the_open, 1) == []


def test_a_network_is_looked_at_without_the_files_that_each_site_has_of_it() -> None:
    study = study_of("chart", "letter")
    letter = replace(study.modalities["letter"], encoder=NoteEncoder(source="folder", folder="bert"))
    scan = replace(IMAGE, encoder=ImageEncoder(backbone="resnet18", weights="resnet18.pth"))
    assert problems(replace(study, modalities={**study.modalities, "letter": letter, "scan": scan})) == []
    wrong = replace(scan, encoder=replace(scan.encoder, backbone="resnet19"))
    assert len(problems(replace(study, modalities={**study.modalities, "scan": wrong}))) == 1


def test_the_size_of_the_model_is_that_of_what_is_sent() -> None:
    study = study_of("chart", "panel")
    found, packed = size_of(study), size_of(replace(study, secure_sum=SecureSum(bits=16)))
    assert found.parameters == packed.parameters > 0
    assert (found.sent, packed.sent, found.memory) == tuple(k * found.parameters for k in (4, 2, 12))


def test_a_study_of_schema_0_is_looked_at_like_any_other() -> None:
    text = "study: a\ntask: {kind: binary, classes: [a, b]}\nmodalities: {n: {kind: note}}\nrounds: 2\n"
    assert problems(parse_study(text)) == []
