"""The runner of benchmarks: keys and bars as agreed, nothing lost, nothing that a broken group can stop."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
HEAD = "from tests.benchmarks.figure import Figure\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to stand in, with a folder of groups."""
    (tmp_path / "groups").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def group(place: Path, name: str, *body: str) -> None:
    lines = "\n".join(f"    {line}" for line in body)
    (place / "groups" / f"{name}.py").write_text(f"{HEAD}GROUP = {name!r}\ndef measure():\n{lines}\n")


def measured(place: Path, *arguments: str) -> dict:
    assert main(list(arguments), place / "groups") == 0
    return json.loads((place / "bench.json").read_text())


@pytest.mark.parametrize(
    ("value", "bar", "holds"),
    [
        (1.3, "<= 1.3", True),
        (1.31, "<= 1.3", False),
        (0.88, ">= .88", True),
        (0.8799, ">=.88", False),
        (0.0, "> 0", False),
        (1e-9, "> 0", True),
        (-0.03, ">= -.03", True),
        (239, "< 240.", True),
        (4, "== 4", True),
        (2e-5, "<= 1e-4", True),
        (float("nan"), "<= 1", False),
        (float("nan"), ">= 1", False),
        (None, "<= 1", None),
        (0.7, None, None),
        ("no CUDA here", None, None),
    ],
)
def test_a_bar_is_held_or_not(value, bar, holds):
    assert Figure("group.figure", value, bar).holds is holds


@pytest.mark.parametrize("bar", ["1.3", "=< 1", "≤ 1", "<= one", "<= 1 s", "", "<= −1", "<= 1, > 0"])
def test_what_is_no_bar_is_refused(bar):
    with pytest.raises(ValueError, match="is no bar"):
        Figure("group.figure", 1.0, bar)


@pytest.mark.parametrize("key", ["figure", "group.", ".figure", "group.figure.more", "Group.figure", "group.a figure"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match=r"group\.figure"):
        Figure(key, 1.0)


def test_words_hold_no_bar():
    with pytest.raises(ValueError, match="words"):
        Figure("group.figure", "fast", "<= 1")


def test_figures_are_kept_as_agreed(place):
    group(
        place, "speed", 'yield Figure("speed.ratio", 1.25, "<= 1.3", "three runs")', 'yield Figure("speed.gpu", None)'
    )
    found = measured(place)
    assert list(found) == ["speed.gpu", "speed.ratio"]
    ratio = found["speed.ratio"]
    assert {**ratio, "note": ""} == {"value": 1.25, "bar": "<= 1.3", "holds": True, "note": ""}
    assert ratio["note"].startswith("three runs [") and "cores, load" in ratio["note"]
    assert found["speed.gpu"]["value"] is None and found["speed.gpu"]["holds"] is None


def test_the_table_is_aligned_and_says_how_busy_the_machine_is(place, capsys):
    group(
        place,
        "speed",
        'yield Figure("speed.a", 1 / 3, "<= 1.3")',
        'yield Figure("speed.longer_name", 20000, "< 5", "x")',
    )
    measured(place)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("machine: ") and f"{len(os.sched_getaffinity(0))} cores" in lines[0]
    head, first, second = lines[1:4]
    assert head.index("bar") == first.index("<=") == second.index("< 5")
    assert head.index("holds") == first.index("yes") == second.index("NO")
    assert "0.3333" in first and "20000" in second


def test_only_measures_that_group_and_keeps_the_others(place):
    group(place, "speed", 'yield Figure("speed.ratio", 1.0)')
    group(place, "size", 'yield Figure("size.bytes", 7)')
    group(place, "speedy", 'yield Figure("speedy.ratio", 3.0)')
    measured(place)
    group(place, "speed", 'yield Figure("speed.other", 2.0)')
    group(place, "size", 'raise RuntimeError("must not run")')
    found = measured(place, "--only", "speed")
    assert set(found) == {"speed.other", "size.bytes", "speedy.ratio"}


def test_only_may_be_said_twice(place):
    for name in ("a", "b", "c"):
        group(place, name, f'yield Figure("{name}.x", 1)')
    assert set(measured(place, "--only", "c", "--only", "a")) == {"a.x", "c.x"}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("raise ZeroDivisionError('no sites')", "ZeroDivisionError: no sites"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("yield Figure('other.x', 1)", "ValueError: other.x"),
        ("yield Figure('bad.first', 2)", "ValueError: bad.first"),
        ("yield Figure('bad.x', 1, 'about 3')", "ValueError: bad.x"),
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
    ],
)
def test_a_group_that_fails_is_a_row_and_the_rest_goes_on(place, capsys, body, text):
    group(place, "bad", "yield Figure('bad.first', 1)", body)
    group(place, "good", "yield Figure('good.x', 1)")
    found = measured(place)
    assert set(found) == {"bad.first", "bad.failed", "good.x"}
    assert found["bad.failed"]["value"].startswith(text) and found["bad.failed"]["holds"] is False
    assert "line" in found["bad.failed"]["note"] and text in capsys.readouterr().out


def test_a_group_that_cannot_be_imported_is_a_row(place):
    (place / "groups" / "broken.py").write_text("GROUP = 'broken'\ndef measure(:\n")
    (place / "groups" / "named.py").write_text("GROUP = 'renamed'\ndef measure():\n    yield 1\n")
    (place / "groups" / "empty.py").write_text("")
    found = measured(place)
    assert set(found) == {"broken.failed", "named.failed", "empty.failed"}
    assert found["broken.failed"]["value"].startswith("SyntaxError")


def test_a_mended_group_loses_its_failure(place):
    group(place, "speed", "raise OSError('gone')")
    assert set(measured(place)) == {"speed.failed"}
    group(place, "speed", "yield Figure('speed.x', 1)")
    assert set(measured(place)) == {"speed.x"}


def test_numbers_of_numpy_and_nan_are_strict_json(place):
    group(
        place, "odd", "import numpy as np", "yield Figure('odd.small', np.float32(0.5), '< 1')",
        "yield Figure('odd.nan', float('nan'), '< 1')", "yield Figure('odd.inf', np.inf)",
    )  # fmt: skip
    found = measured(place)
    assert found["odd.small"]["value"] == 0.5 and found["odd.small"]["holds"] is True
    assert found["odd.nan"]["value"] == "nan" and found["odd.nan"]["holds"] is False
    assert found["odd.inf"]["value"] == "inf"


@pytest.mark.parametrize(
    "arguments", [["--only", "nothing"], ["--out", "not/there/bench.json"], ["--fast"], ["--out", "foreign.json"]]
)
def test_bad_arguments_end_before_anything_is_measured(place, capsys, arguments):
    group(place, "speed", "open('ran', 'w')", "yield Figure('speed.x', 1)")
    (place / "foreign.json").write_text('["not ours"]')
    with pytest.raises(SystemExit) as ending:
        main(arguments, place / "groups")
    assert ending.value.code == 2 and not (place / "ran").exists()
    assert (place / "foreign.json").read_text() == '["not ours"]'
    assert "usage:" in capsys.readouterr().err


def test_an_unknown_group_is_told_which_there_are(place, capsys):
    group(place, "speed", "yield Figure('speed.x', 1)")
    with pytest.raises(SystemExit):
        main(["--only", "sped"], place / "groups")
    assert "no group sped; there are: speed" in capsys.readouterr().err


def test_without_groups_nothing_happens(place, capsys):
    assert main([], place / "groups") == 0
    assert not (place / "bench.json").exists()


def test_what_was_measured_before_a_kill_is_kept(place):
    """The runner as it is started, killed in its second group."""
    group(place, "a", "yield Figure('a.x', 1)")
    group(
        place, "b", "import time, pathlib", "pathlib.Path('begun').touch()", "time.sleep(60)", "yield Figure('b.x', 1)"
    )
    code = "import sys, pathlib; from tests.benchmarks.__main__ import main; main([], pathlib.Path('groups'))"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=place, env=env, stdout=subprocess.DEVNULL)
    for _ in range(200):
        if (place / "begun").exists():
            break
        time.sleep(0.05)
    os.kill(runner.pid, signal.SIGKILL)
    runner.wait()
    assert set(json.loads((place / "bench.json").read_text())) == {"a.x"}


def test_it_starts_as_the_makefile_starts_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.benchmarks", "--only", "no_such_group", "--out", str(tmp_path / "b.json")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "no group no_such_group" in done.stderr
