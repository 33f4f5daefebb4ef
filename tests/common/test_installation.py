"""The installed packages fit each other, or the user is told in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.installation import check_torch_and_torchvision

ROOT = Path(__file__).resolve().parents[2]
ASK = """
from common.errors import InstallationError
from common.models.network import build_network
from tests.support.tiny import study_of
scan = {"kind": "image", "size": 32, "encoder": {"backbone": "resnet18"}}
for study in (study_of(modalities={"scan": scan}), study_of("letter")):
    try:
        build_network(study)
    except InstallationError as error:
        print(error.exit_code, error.__cause__, error)
"""


def test_what_is_installed_here_fits() -> None:
    check_torch_and_torchvision()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "torchvision::nms does not exist"),
        ("raise OSError('libcudart.so.13: cannot open shared object file')", "libcudart.so.13"),
        ("import a_package_that_nobody_has", "needs a_package_that_nobody_has"),
    ],
)
def test_a_torchvision_that_does_not_fit_is_named_with_the_way_out(tmp_path: Path, body: str, says: str) -> None:
    """A package that fails at import as the wrong build does, first on the path of a real process."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(body + "\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, "for images, and for notes, whose library loads torchvision too"
    for line in lines:
        assert line.startswith("60 None torchvision")
        assert says in line
        assert "pip install --force-reinstall torch torchvision" in line
    assert "Traceback" not in done.stderr
