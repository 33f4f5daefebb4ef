"""`wardround …` as a child that ends when the process that started it is gone, however that one ended.

`python -m deploy.ends_with_parent PARENT WORDS…`. A supervisor that is killed must not leave an agent behind,
which would keep the socket and the accelerator from the next one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os._exit(1)


if __name__ == "__main__":
    parent = int(sys.argv.pop(1))
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    from deploy.cli import main

    main()
