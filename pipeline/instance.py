"""The Dagster instance that commands, sensor and schedule share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.core.errors import (
    CannotProceedNow,
    ConfigurationError,
    FolderNotWritable,
    InsightsError,
)

if TYPE_CHECKING:
    import dagster as dg

CONFIG: Final = Path(__file__).parent.parent / "config"
ON_SQLITE: Final = CONFIG / "dagster" / "dagster.yaml"
ON_POSTGRES: Final = CONFIG / "dagster-postgres" / "dagster.yaml"
POSTGRES_URL: Final = "DAGSTER_POSTGRES_URL"
"""Puts Dagster's storage into PostgreSQL; without it, it is SQLite below DAGSTER_HOME."""

SQLITE: Final = "sqlite"
HOME: Final = "DAGSTER_HOME"
LOCK: Final = "storage.lock"
"""In Dagster's home: held by the process that makes or opens the storage."""

MADE: Final = "storage.made"
"""In Dagster's home: says where the storage is that was made whole, without a password."""


def prepare_dagster_home() -> Path:
    """Return DAGSTER_HOME: the variable, else `dagster` below the home folder, made if need be.

    Our dagster.yaml is copied only into the folder that is ours.
    """
    from resources.environment import DAGSTER_FOLDER, home_folder, keep_private

    name_the_driver()
    keep_private(home_folder())
    given = os.environ.get(HOME)
    if given:
        return Path(given)
    folder = home_folder() / DAGSTER_FOLDER
    write_dagster_yaml(folder)
    os.environ[HOME] = str(folder)
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


def make_storage() -> None:
    """Make Dagster's storage where none was made from this home yet; else Dagster is not loaded.

    Raises CannotProceedNow where it cannot be made now, ConfigurationError where Dagster refuses
    its home.
    """
    folder = prepare_dagster_home()
    if not _is_made(folder):
        with shared_instance():
            pass


@contextmanager
def shared_instance() -> Iterator[dg.DagsterInstance]:
    """Give the Dagster instance of DAGSTER_HOME, its storage made whole.

    Two processes that make it at once leave it broken for good (D27), so one does at a time.

    Raises CannotProceedNow where its storage does not answer, or its disk is full: what the ledger
    holds goes on with the next run. Raises ConfigurationError where Dagster refuses its home.
    """
    import sqlalchemy as sa
    from dagster_postgres.utils import DagsterPostgresException

    from resources.lake import NOT_WRITABLE

    folder = Path(os.environ[HOME])
    try:
        with _opened(folder) as instance:
            yield instance
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise not_writable(error, folder) from None
    except (DagsterPostgresException, sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        cause = error if isinstance(error, sa.exc.DBAPIError) else error.__cause__
        said = str(getattr(cause, "orig", cause)).strip().splitlines() or [type(error).__name__]
        raise CannotProceedNow(
            f"Dagster's storage cannot be used now ({said[0]}). Check DAGSTER_POSTGRES_URL or DAGSTER_HOME, and that "
            "the database runs and its disk has room."
        ) from None


@contextmanager
def _opened(folder: Path) -> Iterator[dg.DagsterInstance]:
    import dagster as dg

    from resources.file_lock import file_lock

    busy = CannotProceedNow("Another process has been making Dagster's storage for a minute.")
    with ExitStack() as stack:
        with file_lock(folder / LOCK, busy):
            try:
                instance = stack.enter_context(dg.DagsterInstance.get())
            except dg.DagsterError as error:
                problem = f"Dagster's home {folder} cannot be used: {str(error).splitlines()[0]}"
                raise ConfigurationError([f"{problem} Check DAGSTER_HOME."]) from None
            _touch(instance)
            if not _is_made(folder):
                (folder / MADE).write_text(_where(), encoding="utf-8")
        yield instance


def _touch(instance: dg.DagsterInstance) -> None:
    """Ask each of the three databases something: Dagster makes one when it is first asked."""
    import dagster as dg

    instance.get_runs_count()
    instance.get_latest_materialization_event(dg.AssetKey("none"))
    instance.all_instigator_state()


def _is_made(folder: Path) -> bool:
    """Say whether a process of ours made the storage, and it has not been deleted since."""
    try:
        made = (folder / MADE).read_text(encoding="utf-8")
    except OSError:
        return False
    return made == _where() and (made != SQLITE or (folder / "history").is_dir())


def _where() -> str:
    from resources.ledger.database import make_safe

    url = os.environ.get(POSTGRES_URL)
    return make_safe(url) if url else SQLITE
