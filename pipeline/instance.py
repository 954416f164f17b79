"""The Dagster instance that commands, sensor and schedule share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from resources.configurable import home_folder

DAGSTER_YAML: Final = Path(__file__).parent.parent / "config" / "dagster" / "dagster.yaml"


def prepare_dagster_home() -> Path:
    """Return DAGSTER_HOME: the variable where it is set, else `dagster` below the home folder, made if need be.

    Our dagster.yaml is copied only into the folder that is ours.
    """
    given = os.environ.get("DAGSTER_HOME")
    if given:
        return Path(given)
    folder = home_folder() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DAGSTER_YAML, folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder
