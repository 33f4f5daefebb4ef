"""The page: loads nothing, believes nothing that it is given, is whole or not there, and stands missing parts."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from common.errors import RunError
from server.report import attendance
from server.report.evidence import Comparison, Coverage, read_evidence
from server.report.page import render, write
from tests.support.evidence import comparison, coverage, deployed, evidence, round_of
from tests.support.reading import read_page

HOSTILE = (
    "</title></style></svg><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\"'><b a='{{7*7}}'&"
)
ROOT = Path(__file__).resolve().parents[3]


def hostile():
    """A run in which every string that comes from outside is an attack."""
    bad = {HOSTILE: 30.0}
    return evidence(
        study={HOSTILE: HOSTILE, "study": HOSTILE, "task": {"classes": [HOSTILE, HOSTILE]}},
        study_digest=HOSTILE,
        run=HOSTILE,
        started=HOSTILE,
        finished=HOSTILE,
        rounds=(
            round_of(1, drop_reasons={HOSTILE: 1}, metrics={HOSTILE: 0.5, "auc": 0.6}),
            round_of(2, drop_reasons={HOSTILE: 1}),
        ),
        coverage=(Coverage(HOSTILE, bad, bad, bad),),
        comparisons=(
            comparison(HOSTILE, "federated", 0.8, note=HOSTILE),
            comparison(HOSTILE, "alone", 0.7, note=HOSTILE),
            Comparison(HOSTILE, "single_modality", {HOSTILE: 0.5, "auc": 0.6}, None, HOSTILE),
        ),
        warnings=(HOSTILE,),
        software={HOSTILE: HOSTILE},
    )


VARIANTS = {
    "simulated": evidence(),
    "deployed": deployed(),
    "hostile": hostile(),
    "no rounds": evidence(rounds=()),
    "no comparisons": evidence(comparisons=()),
    "nothing": evidence(
        study={}, rounds=(), comparisons=(), coverage=(), warnings=(), software={}, finished=None,
        selected_round=None, threshold=None,
    ),
    "one round": evidence(rounds=(round_of(0, metrics=None, epsilon=None),)),
    "held out": evidence(rounds=tuple(round_of(n, held_out_epsilon=0.1 * n) for n in range(1, 5))),
    "many rounds": evidence(rounds=tuple(round_of(n) for n in range(3000)), selected_round=2000),
    "no numbers": evidence(
        rounds=(round_of(1, seconds=math.nan, metrics={"auc": math.nan, "log_loss": math.inf}),),
        comparisons=(
            Comparison("F", "federated", {"auc": math.nan}, (math.nan, math.nan), ""),
            Comparison("S", "alone", {"auc": 1e300, "log_loss": -math.inf, "brier": -1e-12}, (-1e308, 1e308), ""),
        ),
        coverage=(Coverage(None, {"train": math.nan}, {"scan": -3.2}, {"no": math.inf}),),
    ),
    "noisy": evidence(coverage=(Coverage(None, {"train": -2.0, "test": 1.0}, {"scan": 5.0}, {"no": -1.0}),)),
}  # fmt: skip


@pytest.fixture(params=VARIANTS, scope="module")
def page(request):
    return render(VARIANTS[request.param])


class TestAnyPage:
    """True of every page, whatever the run was."""

    def test_it_loads_nothing(self, page):
        found = read_page(page)
        tags = {tag for tag, _ in found.tags}
        assert not tags & {"script", "link", "iframe", "object", "embed", "base", "img", "image", "use", "form", "a"}
        for _, attributes in found.tags:
            assert not {"src", "href", "xlink:href", "srcset", "action", "style", "data"} & set(attributes)
            assert not [name for name in attributes if name.startswith("on")]
        assert "@import" not in found.style and "http" not in found.style
        assert all(address.startswith("#") for address in re.findall(r"url\(([^)]*)\)", page))

    def test_a_browser_is_told_to_load_nothing(self, page):
        (policy,) = [meta for meta in read_page(page).named("meta") if meta.get("http-equiv")]
        assert policy["http-equiv"] == "Content-Security-Policy"
        assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"

    def test_every_drawing_is_well_formed_and_has_words(self, page):
        for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            drawing = ElementTree.fromstring(text)
            assert (
                drawing.get("aria-hidden") == "true" or drawing.find("title") is not None or drawing.get("aria-label")
            )

    def test_no_number_is_shown_that_is_none(self, page):
        words = read_page(page).text
        assert not re.search(r"\b(nan|inf|None|Infinity)\b", words.partition("The study")[0])
        assert not re.search(r'="-?(nan|inf|None)"', page)

    def test_ids_are_unique_and_those_referred_to_exist(self, page):
        found = read_page(page)
        ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in found.tags:
            for name in ("aria-labelledby", "aria-describedby"):
                assert set((attributes.get(name) or "").split()) <= set(ids)
        assert {address[1:] for address in re.findall(r"url\(([^)]*)\)", page)} <= set(ids)

    def test_sections_follow_one_order(self, page):
        places = [page.index(f'id="{name}"') for name in ("verdict", "comparison", "metrics", "privacy", "coverage")]
        assert places == sorted(places)


def test_hostile_text_is_text():
    tags = {tag for tag, _ in read_page(render(hostile())).tags}
    assert tags <= {tag for tag, _ in read_page(render(evidence())).tags}
    words = read_page(render(hostile())).text
    assert words.count(HOSTILE) >= 15  # shown, as what it is: nothing was dropped to be safe
    assert "49" not in [word.strip("'") for word in words.split()]


def test_hidden_characters_are_shown_as_such():
    page = render(evidence(run="safe\u202egnp.exe\x00\ud800", warnings=("a\u2066b\x1b[31m",)))
    assert not set(page) & set("\u202e\u2066\x00\x1b\ud800") and "safe\ufffdgnp" in page
    page.encode("utf-8")


def test_the_same_evidence_makes_the_same_page():
    assert render(evidence()) == render(evidence())


def test_what_was_switched_off_is_loud():
    off = {**evidence().study, "privacy": {"mode": "none"}, "secure_sum": {"enabled": False}}
    page = render(evidence(study=off))
    assert 'class="loud alarm"' in page
    assert "WITHOUT differential privacy" in page and "secure sum was OFF" in page
    assert 'class="loud alarm"' not in render(evidence())


def test_spending_more_than_agreed_is_loud():
    page = render(evidence(rounds=(round_of(1, epsilon=8.01),)))
    assert 'class="loud alarm"' in page and "MORE WAS SPENT THAN AGREED" in page


def test_a_clean_run_says_that_nothing_was_off():
    whole = evidence(threshold=5, rounds=tuple(round_of(n, held_out_epsilon=0.1 * n) for n in range(1, 6)))
    assert "Nothing was switched off" in render(whole)
    assert "Nothing was switched off" not in render(evidence())


def test_measures_without_noise_are_told_with_epsilon():
    told = "without noise"
    assert told in render(evidence())
    assert told not in render(evidence(rounds=(round_of(1, held_out_epsilon=0.3),)))


def test_a_delta_above_one_in_the_patients_is_told():
    many = coverage(None, (30_000, 170, 338), (1450, 1693, 1199, 1280), 393)
    assert "not below one in the number of training patients" in render(evidence(coverage=(many,)))
    assert "not below one in the number of training patients" not in render(evidence())


def test_a_simulation_shows_its_sites_and_a_deployment_none():
    assert all(site in render(evidence()) for site in ("ashford", "brantley", "corwen", "dunmore"))
    words = read_page(render(deployed())).text
    assert not any(site in words for site in ("ashford", "brantley", "corwen", "dunmore"))
    assert "deployed: sums only" in words and "All sites" in words


def test_a_sum_over_fewer_sites_says_over_how_many_of_them():
    """Of a site that was away for the statistics, and of one that was away for the scores."""
    tested = replace(deployed().comparisons[0], sites=4)
    first = round_of(0, sites=3, run_sites=5)
    words = re.sub(r"\s+", " ", read_page(render(deployed(rounds=(first, round_of(1)), comparisons=(tested,)))).text)
    assert attendance.tested_over(deployed(rounds=(first,)), [replace(tested, sites=5), tested]) == "4 of the 5 sites"
    assert "tested on the test patients of 4 of the 5 sites" in words and "4 of 5 sites in its last sum" in words
    assert "3 of the 5 sites 1 185" in words and "The sum is that of round 0, over 3 of the 5 sites" in words
    whole = deployed(rounds=(round_of(0, run_sites=4), round_of(1)), comparisons=(tested,))
    words = re.sub(r"\s+", " ", read_page(render(whole)).text)
    assert "of all sites" in words and "All sites 1 185" in words and "The sum is that of round 0" not in words


def test_a_modality_that_a_site_lacks_is_none_and_not_zero_percent():
    words = re.sub(r"\s+", " ", read_page(render(evidence())).text)
    assert "brantley 310 45 88 97 % 431 100 % 443 none 99 % 437" in words
    assert "dunmore 190 27 54 21 % 58 100 % 271" in words


def test_the_table_holds_every_round_or_says_how_many_not():
    assert "left out here" not in render(evidence())
    words = read_page(render(VARIANTS["many rounds"])).text
    shown = re.search(r"(\d+) rounds between these are left out", words)
    assert shown and 2800 < int(shown[1]) < 3000
    assert len(render(VARIANTS["many rounds"])) < 400_000


def test_scores_that_noise_hides_in_every_round_were_scored_all_the_same():
    hidden = replace(evidence(), rounds=tuple(
        replace(entry, metrics={**(entry.metrics or {}), "auc": 0.6, "auc_noise": 0.3, "share_noise": 0.3})
        for entry in evidence().rounds
    ))  # fmt: skip
    assert "Nothing is drawn" in render(hidden) and "No round was evaluated" not in render(hidden)
    unscored = replace(evidence(), rounds=tuple(replace(entry, metrics=None) for entry in evidence().rounds))
    assert "No round was evaluated" in render(unscored) and "Nothing is drawn" not in render(unscored)


def test_a_score_that_noise_hides_has_no_bar_and_its_table_speaks_of_none():
    entry = comparison("federated", "federated", 0.6)
    hidden = replace(entry, metrics={**entry.metrics, "auc_noise": math.inf, "share_noise": 0.3}, interval=(0.0, 1.0))
    page = render(deployed(comparisons=(hidden,)))
    assert "hidden by the noise" in page and 'class="whisker"' not in page
    assert "No bar is drawn" in page and "Bars show" not in page and "All models below" not in page
    known = render(deployed(comparisons=(entry,)))
    assert 'class="whisker"' in known and "Bars show" in known and "dashed line" not in known


def test_epsilon_is_that_of_whoever_spent_most():
    """Training patients had spent 6.55 and validation patients 6.72: the page said 6.55."""
    last = max(entry.epsilon or 0.0 for entry in evidence().rounds)
    rounds = tuple(replace(entry, held_out_epsilon=(entry.epsilon or 0.0) + 0.25) for entry in evidence().rounds)
    words = re.sub(r"\s+", " ", read_page(render(evidence(rounds=rounds))).text)
    assert f"Epsilon spent {last + 0.25:.2f}" in words


def test_the_statistics_before_the_first_round_are_no_round():
    began = evidence(rounds=tuple(round_of(number) for number in range(5)))
    words = re.sub(r"\s+", " ", read_page(render(began)).text)
    assert re.search(r"Rounds\s*4\s*kept", words)


def test_numbers_are_the_evidence_s_own():
    words = read_page(render(evidence())).text
    for figure in ("0.861", "0.788", "0.892", "of 8", "kept: round 17", "sums open with 3", "1\u202f185", "47.7 MB"):
        assert figure in words
    assert f"{max(entry.epsilon for entry in evidence().rounds):.2f}" in words


class TestFiles:
    """Two files, each whole or as it was."""

    def test_both_are_written_and_nothing_else(self, tmp_path):
        path = write(evidence(), tmp_path / "runs" / "demo")
        assert path == tmp_path / "runs" / "demo" / "report.html"
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["report.html", "report.json"]
        assert read_evidence(path.with_name("report.json")) == evidence()
        assert path.read_text(encoding="utf-8") == render(evidence())

    def test_a_page_can_be_made_again_from_its_json(self, tmp_path):
        first = write(evidence(), tmp_path / "a")
        again = write(read_evidence(first.with_name("report.json")), tmp_path / "b")
        assert first.read_bytes() == again.read_bytes()

    def test_what_cannot_be_rendered_writes_nothing(self, tmp_path):
        broken = evidence(study={"study": object()})
        with pytest.raises((TypeError, yaml.YAMLError)):
            write(broken, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_made_is_a_clear_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(RunError, match="cannot be written") as refusal:
            write(evidence(), tmp_path / "file" / "run")
        assert refusal.value.__cause__ is None

    def test_a_full_disk_leaves_the_old_page(self, tmp_path, monkeypatch):
        """/dev/full takes no byte: the same error that a full disk gives, in the middle of the write."""
        old, write_text = write(evidence(), tmp_path).read_bytes(), Path.write_text

        def full(path, *given, **named):
            return write_text(Path("/dev/full") if "report.html" in path.name else path, *given, **named)

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(RunError, match="cannot be written"):
            write(evidence(run="second"), tmp_path)
        assert (tmp_path / "report.html").read_bytes() == old
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "report.json"]

    def test_a_link_in_the_place_of_its_draft_is_not_followed(self, tmp_path):
        kept = tmp_path / "kept"
        kept.write_text("kept")
        (tmp_path / ".report.html.draft").symlink_to(kept)
        assert "<html" in write(evidence(), tmp_path).read_text(encoding="utf-8")
        assert kept.read_text() == "kept" and not (tmp_path / "report.html").is_symlink()

    def test_killed_at_any_moment_each_file_is_whole(self, tmp_path):
        """A process writes two runs in turn as fast as it can, and is killed: each file is of one run or the other."""
        runs = {f"run-{name}": evidence(run=f"run-{name}", rounds=tuple(map(round_of, range(900)))) for name in "ab"}
        pages = set()
        for name, whole in runs.items():
            write(whole, tmp_path / name)
            pages.add((tmp_path / name / "report.html").read_bytes())
        killed = 0
        for pause in (0.05, 0.13, 0.21, 0.34):
            writer = start_writer(tmp_path)
            assert writer.stdout.readline() == "writing\n"
            time.sleep(pause)
            os.kill(writer.pid, signal.SIGKILL)
            killed += writer.wait() == -signal.SIGKILL
            assert (tmp_path / "out" / "report.html").read_bytes() in pages
            assert read_evidence(tmp_path / "out" / "report.json").run in runs
        assert killed == 4
        write(runs["run-a"], tmp_path / "out")
        assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["report.html", "report.json"]


def start_writer(folder: Path) -> "subprocess.Popen[str]":
    code = (
        "import sys; from pathlib import Path; from server.report.evidence import read_evidence;"
        "from server.report import page; folder = Path(sys.argv[1]);"
        "runs = [read_evidence(folder / f'run-{name}' / 'report.json') for name in 'ab'];"
        "made = [(page.to_json(run), page.render(run)) for run in runs];"
        "page.write(runs[0], folder / 'out'); print('writing', flush=True)\n"
        "while True:\n"
        "    for data, html in made:\n"
        "        page._write(folder / 'out' / 'report.json', data)\n"
        "        page._write(folder / 'out' / 'report.html', html)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_the_json_beside_the_page_is_plain_json(tmp_path):
    path = write(replace(evidence(), selected_round=None), tmp_path).with_name("report.json")
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert tree["run"] == "amber-heron" and tree["selected_round"] is None and len(tree["rounds"]) == 20
