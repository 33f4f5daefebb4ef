"""Whether the installed packages fit each other, said in words before something breaks far from its cause."""

from __future__ import annotations

import importlib
from importlib import metadata

from common.errors import InstallationError

_WAY_OUT = (
    "Install both from one place in one command (pip install --force-reinstall torch torchvision, "
    "with the project's constraints file), and never a CPU-only torch beside the registry's torchvision."
)


def check_torch_and_torchvision() -> None:
    """Import torchvision, or raise InstallationError saying why it does not load and what to do.

    torchvision registers compiled operators when it is imported. Built for another torch, it raises RuntimeError
    (`operator torchvision::nms does not exist`, or differing CUDA versions), OSError or AttributeError there.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError as problem:
        if problem.name != "torchvision":
            raise InstallationError(f"torchvision needs {problem.name}, which is not installed. {_WAY_OUT}") from None
        raise InstallationError(f"torchvision is not installed, and image backbones need it. {_WAY_OUT}") from None
    except (RuntimeError, ImportError, OSError, AttributeError) as problem:
        raise InstallationError(
            f"torchvision {_version('torchvision')} does not fit torch {_version('torch')} ({problem}). {_WAY_OUT}"
        ) from None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(version unknown)"
