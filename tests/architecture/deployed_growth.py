"""Play studies over a deployment whose processes, and this one, are of a copy of the product.

Called with the copy, a folder to work in, the hospitals, and the names of studies there. Of each the run is killed in a
round, and resumed; how it ended is left in `played.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common.study import Study, read_study
from server.run.checkpoint import read
from tests.support.deployment import COORDINATOR, Deployment, command, wait_for


def main(copy: Path, folder: Path, hospitals: Path, *studies: str) -> None:
    sites = [path.parent.name for path in hospitals.glob("*/site.yaml")]
    found = {}
    with Deployment(folder, hospitals, programs=dict.fromkeys((*sites, COORDINATOR), copy)) as deployment:
        for name in studies:
            path = hospitals / f"{name}.yaml"
            said = command(copy, "study", "check", path, "--sites", str(len(sites)))
            study = deployment.approve(path)
            run, kept = deployment.run(path, name), deployment.checkpoint(name)
            wait_for(lambda run=run, kept=kept, study=study: not run.runs or _begun(kept, study), "round 1", 250)
            assert run.runs, run.text
            run.kill()
            resumed = deployment.resume(name)
            code = resumed.wait(250)
            page = command(copy, "report", kept.parent)
            found[name] = {"check": said, "code": code, "said": resumed.text, "page": page, "study": study.study}
            assert read_study(path).digest == study.digest
    (folder / "played.json").write_text(json.dumps(found))


def _begun(kept: Path, study: Study) -> bool:
    """Whether a round of training is saved."""
    return kept.exists() and read(kept, study.digest).round >= 1


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *sys.argv[4:])
