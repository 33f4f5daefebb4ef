"""`wardround …` as a child that ends when the process that started it is gone, however that one ended.

`python -m deploy.ends_with_parent PARENT WORDS…`.
"""

from __future__ import annotations

import sys

from common.processes.parent import end_with

PATIENCE_SECONDS = 10.0

if __name__ == "__main__":
    end_with(int(sys.argv.pop(1)), PATIENCE_SECONDS)
    from deploy.cli import main

    main()
