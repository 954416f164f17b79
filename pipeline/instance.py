"""The Dagster instance that commands, sensor and schedule share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from pipeline.core.errors import ConfigurationError, FolderNotWritable, InsightsError

CONFIG: Final = Path(__file__).parent.parent / "config"
ON_SQLITE: Final = CONFIG / "dagster" / "dagster.yaml"
ON_POSTGRES: Final = CONFIG / "dagster-postgres" / "dagster.yaml"
POSTGRES_URL: Final = "DAGSTER_POSTGRES_URL"
"""Puts Dagster's storage into PostgreSQL; without it, it is SQLite below DAGSTER_HOME."""


def prepare_dagster_home() -> Path:
    """Return DAGSTER_HOME: the variable, else `dagster` below the home folder, made if need be.

    Our dagster.yaml is copied only into the folder that is ours.
    """
    from resources.environment import home_folder

    name_the_driver()
    given = os.environ.get("DAGSTER_HOME")
    if given:
        return Path(given)
    folder = home_folder() / "dagster"
    write_dagster_yaml(folder)
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def write_dagster_yaml(folder: Path) -> None:
    """Put the project's settings for Dagster into `folder`.

    Storage is in PostgreSQL where the environment names one.

    Raises FolderNotWritable or ConfigurationError where nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(
            ON_POSTGRES if os.environ.get(POSTGRES_URL) else ON_SQLITE, folder / "dagster.yaml"
        )
    except OSError as error:
        raise not_writable(error, folder) from None


def not_writable(error: OSError, folder: Path) -> InsightsError:
    """Return why Dagster's home takes nothing: for now (a full disk), or since it cannot be one."""
    from resources.lake import NOT_WRITABLE

    why = NOT_WRITABLE.get(error.errno or 0)
    if why is not None:
        return FolderNotWritable("Dagster's home", folder, why)
    problem = f"Dagster's home {folder} cannot be written ({error.strerror})."
    return ConfigurationError([f"{problem} Check INSIGHTS_HOME and DAGSTER_HOME."])


def name_the_driver() -> None:
    """Let the address in the environment name the driver that is installed.

    Raises ConfigurationError where it is no address of a PostgreSQL database.
    """
    from resources.ledger.database import POSTGRES, backend_of, make_safe, normalised_url

    url = os.environ.get(POSTGRES_URL)
    if not url:
        return
    if backend_of(url) != POSTGRES:
        raise ConfigurationError(
            [
                f"{POSTGRES_URL}: {make_safe(url)} is no address of a PostgreSQL database. "
                "Write postgresql://user:password@host/name, or leave it out for SQLite."
            ]
        )
    os.environ[POSTGRES_URL] = normalised_url(url)
