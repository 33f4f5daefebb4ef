"""The borders of the design, held by reading every import of every file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.architecture import (
    FORBIDDEN,
    arrows,
    aside_by_hand,
    circle,
    flower_outside,
    imported,
    looks_inside,
    sources,
    trespasses,
    vague_names,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def tree(tmp_path):
    """A small tree of the same packages, to break."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return tmp_path

    return write


def test_nobody_imports_across_the_borders():
    assert trespasses(ROOT) == []


def test_flower_is_imported_only_where_messages_travel():
    assert flower_outside(ROOT) == []


def test_the_connector_has_no_code_that_reads_patients_data():
    assert looks_inside(ROOT) == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_arrow_between_rooms_goes_up(package):
    """Data flows one way: the rooms of a package stand on floors, and each imports from lower ones."""
    assert circle(ROOT, package) == []
    assert len(arrows(ROOT, package)) >= 4


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("client/data/a.py", "from client.consent import terms", True),
        ("client/data/a.py", "def f():\n    from client import site", True),
        ("client/data/a.py", "if TYPE_CHECKING:\n    from client.consent.b import C", True),
        ("client/consent/other.py", "from client.consent import b", False),
        ("client/data/a.py", "from common import study", False),
    ],
)
def test_an_arrow_that_goes_up_is_found(tree, name, text, found):
    tree("client/site.py", "from client.consent.b import x")
    tree("client/consent/b.py", "from client.data.a import y")
    root = tree(name, text)
    assert bool(circle(root, "client")) == found


def test_only_common_disk_writes_aside_and_renames():
    assert aside_by_hand(ROOT) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("os.fsync(file)", ["fsync"]),
        ("draft.replace(path)", ["replace"]),
        ("os.replace(draft, path)", ["replace"]),
        ("def f():\n    Path('a').rename(b)", ["rename"]),
        ("from tempfile import mkdtemp\nmkdtemp()", ["mkdtemp"]),
        ("'a'.replace('b', 'c')\nreplace(state)\nmoment.replace(microsecond=0)\nwhole_file(path)", []),
    ],
)
def test_what_is_written_aside_by_hand_is_found(tree, text, found):
    root = tree("server/a.py", text)
    tree("common/disk/b.py", text)
    assert [line.partition(" calls ")[2] for line in aside_by_hand(root)] == found


def test_no_file_is_named_after_nothing():
    assert vague_names(ROOT) == []


def test_all_packages_were_read():
    for package in FORBIDDEN:
        assert len(sources(ROOT, package)) >= 5, package
    assert any("flwr" in name for path in sources(ROOT, "server") for name in imported(path, ROOT))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("common/a.py", "import client", "common/a.py imports client"),
        ("common/a.py", "from server.run.run import Run", "common/a.py imports server.run.run.Run"),
        ("common/models/a.py", "def f():\n    from deploy import cli", "common/models/a.py imports deploy.cli"),
        ("client/a.py", "import server.run.run as run", "client/a.py imports server.run.run"),
        ("client/a.py", "try:\n    import deploy\nexcept ImportError: ...", "client/a.py imports deploy"),
        ("server/a.py", "from client import site", "server/a.py imports client.site"),
        ("server/report/a.py", "from ...client import site", "server/report/a.py imports client.site"),
        ("server/a.py", "import importlib\nimportlib.import_module('client.site')", "server/a.py imports client.site"),
        ("server/a.py", "__import__('deploy')", "server/a.py imports deploy"),
        ("client/data/a.py", "class A:\n    import tests.x", "client/data/a.py imports tests.x"),
        ("deploy/a.py", "import tests.support", "deploy/a.py imports tests.support"),
    ],
)  # fmt: skip
def test_a_trespass_is_found_wherever_it_hides(tree, name, text, found):
    assert trespasses(tree(name, text)) == [found]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("common/a.py", "import clientele\nfrom common.errors import RunError\nimport deployment.x"),
        ("client/a.py", "from common import study\nfrom .data import cohort\nfrom . import site"),
        ("server/a.py", "'import client'  # import client\nfrom .report import page"),
        ("deploy/a.py", "import client, server, common\nfrom flwr_datasets import x"),
    ],
)
def test_what_only_looks_like_one_is_not(tree, name, text):
    root = tree(name, text)
    assert trespasses(root) == [] and flower_outside(root) == []


@pytest.mark.parametrize(
    ("name", "may"),
    [
        ("common/messages.py", True), ("common/plan.py", False), ("common/models/network.py", False),
        ("server/run/step.py", True), ("server/flower/control.py", True),
        ("client/agent/handlers.py", True), ("client/app.py", True),
        ("server/report/page.py", False), ("server/flower/supervisor.py", False), ("server/run/watch.py", False),
        ("client/network/connector.py", False), ("client/agent/agent.py", False), ("client/network/inbox.py", False),
        ("client/network/fleet.py", True), ("client/round/round.py", False), ("client/training/local.py", False),
        ("client/data/app.py", False), ("deploy/research/simulation/grid.py", True), ("deploy/cli.py", True),
        ("deploy/research/synthetic/generate.py", False),
    ],
)  # fmt: skip
def test_where_flower_may_be_imported(tree, name, may):
    root = tree(name, "def f():\n    from flwr.app import Message\n")
    assert flower_outside(root) == ([] if may else [f"{name} imports flwr.app.Message"])


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("client/network/a.py", "from client.data import case", ["client/network/a.py imports client.data.case"]),
        ("client/network/a.py", "import client.site", ["client/network/a.py imports client.site"]),
        ("client/agent/agent.py", "import client.network.x", ["client/agent/agent.py imports client.network.x"]),
        ("client/network/a.py", "from client.relay import RelayClient\nfrom client.network.inbox import Inbox", []),
    ],
)  # fmt: skip
def test_the_process_on_the_network_has_no_code_that_reads_patients(tree, name, text, found):
    assert looks_inside(tree(name, text)) == found


@pytest.mark.parametrize(
    "name", ["common/utils.py", "client/data/helpers.py", "server/manager/run.py", "deploy/base.py"]
)
def test_a_vague_name_is_found(tree, name):
    assert len(vague_names(tree(name, ""))) == 1


TRAINING = "client.training.local", "common.models.network", "common.secure_sum", "common.scores"


def test_what_trains_runs_without_flower():
    """An image with torch and without flwr can train: a finder refuses flwr, as if it were not installed."""
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] in ('flwr', 'ray', 'grpc'):\n"
        "            raise ModuleNotFoundError(f'{name} is refused here')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        f"import {', '.join(TRAINING)}\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
