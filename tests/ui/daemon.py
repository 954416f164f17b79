"""`dagster-daemon run`, looking at backfills every two seconds instead of every thirty: nothing else is changed."""

from __future__ import annotations

import sys

from dagster._daemon import controller
from dagster._daemon.cli import main

BACKFILL_SECONDS = 2

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = BACKFILL_SECONDS
    sys.argv = ["dagster-daemon", "run", *sys.argv[1:]]
    main()
