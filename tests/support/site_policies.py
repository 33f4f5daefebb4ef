"""The policies of hospitals that a test generated: what each site.yaml says of studies without privacy."""

from __future__ import annotations

from pathlib import Path

import yaml


def without_privacy(hospitals: Path, lost_site: str = "wait", of: str = "*") -> None:
    """Have all sites in this folder, or one, take part in studies without differential privacy."""
    for path in hospitals.glob(f"{of}/site.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        policy = {"require_privacy": False, "without_privacy": {"lost_site": lost_site, "smallest_part": 1}}
        content["policy"] = content.get("policy", {}) | policy
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
