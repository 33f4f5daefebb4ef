"""`python -m tests.benchmarks [--only GROUP] [--out FILE]`, from the root of the repository.

A benchmark measures; it never fails a test: the exit code is 0 unless the arguments are wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.runner import GROUPS, discover, read, run


def main(arguments: list[str], folder: Path = GROUPS) -> int:
    """Measure the groups of `folder`, all or those that `--only` names."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[2])
    parser.add_argument("--only", action="append", metavar="GROUP", help="this group only; repeatable")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where figures are kept (bench.json)")
    chosen = parser.parse_args(arguments)
    groups = discover(folder)
    unknown = sorted(set(chosen.only or ()) - set(groups))
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are: {', '.join(groups) or 'none'}")
    if not chosen.out.absolute().parent.is_dir():
        parser.error(f"{chosen.out}: its folder is not there")
    try:
        read(chosen.out)
    except ValueError as problem:
        parser.error(str(problem))
    wanted = list(dict.fromkeys(chosen.only or groups))
    run([groups[name] for name in wanted], chosen.out, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
