"""The org as one object: records, clock, options, sessions, faults, jobs, and what was called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from local_org import bulk_worker
from local_org.clock import Clock
from local_org.errors import SalesforceError, not_found
from local_org.faults import Faults
from local_org.ids import normalise
from local_org.jobs import Jobs
from local_org.options import Options
from local_org.query import QueryService
from local_org.sessions import App, Sessions
from local_org.state import StateFile
from local_org.store import Store
from local_org.usage import Usage
from local_org.wire import VERSION_PREFIX, Reply, Request, Router

DEFAULT_CLIENT_ID = "local-client"
DEFAULT_CLIENT_SECRET = "local-secret"  # noqa: S105  documented, and of no use elsewhere
ADMIN_CLIENT_ID = "local-admin-client"
ADMIN_CLIENT_SECRET = "local-admin-secret"  # noqa: S105


@dataclass
class Org:
    """Everything that a handler may need. ``base_url`` is known once the server listens."""

    store: Store
    clock: Clock
    options: Options
    query: QueryService
    state: StateFile
    faults: Faults
    sessions: Sessions
    usage: Usage
    router: Router[Org]
    jobs: Jobs
    base_url: str = ""

    def dispatch(self, request: Request) -> Reply:
        """Find the handler of an API path and run it; Salesforce's errors become replies."""
        try:
            match = VERSION_PREFIX.match(request.path)
            if match is None:
                return error_reply(not_found())
            # Version before path: an unknown path of a retired version is a 410 too.
            request.version = match[1]
            self.check_version(match[1])

            (handler, params), args = self.router.find(request.method, request.path[match.end() :])
            request.check_params(params)
            request.args = args

            # Handlers may read in several steps: what is due becomes visible before the first.
            self.store.settle()
            return handler(self, request)
        except SalesforceError as error:
            return error_reply(error)

    def check_version(self, version: str) -> None:
        """Refuse versions that are retired (410) or not out yet (404)."""
        number = float(version)
        if number < self.options.version_min:
            raise SalesforceError(
                410, "GONE", f"The requested API version, {version}, has been retired"
            )
        if number > self.options.version_max:
            raise SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")

    def close(self) -> None:
        """Stop the jobs, write the counts, close the files."""
        # Jobs first: they still write counts, states and rows.
        self.jobs.stop()
        self.save_usage()
        self.state.close()
        self.store.close()

    def save_usage(self) -> None:
        """Write the call counts, so that a restart does not forget them."""
        self.state.put("usage", "calls", self.usage.dump())


def error_reply(error: SalesforceError) -> Reply:
    """Turn an error of the whole request into its reply."""
    return Reply(status=error.status, body=error.body())


def to_18(record_id: str) -> str:
    """Give an id's 18-character form; text that is no id is left as it is."""
    try:
        return normalise(record_id)
    except ValueError:
        return record_id


def front_folder(data: Path) -> Path:
    """Give the folder beside the data file that holds jobs, sessions and counts."""
    return data.with_name(data.name + "-front")


def open_org(data: Path, options: Options, clock: Clock, router: Router[Org]) -> Org:
    """Open the org kept in ``data``, or make a fresh one there."""
    store = Store(data, clock, options)
    state = StateFile(front_folder(data))

    # Options are asked for at each use: they may change while the org runs.
    sessions = Sessions(
        state,
        store,
        timeout_seconds=lambda: float(options.session_seconds),
        shared=lambda: options.shared_session,
        rotate=lambda: options.refresh_token_rotation,
    )
    _put_default_apps(sessions, store)

    usage = Usage(clock.now)
    saved = state.all("usage").get("calls")
    if saved is not None:
        usage.load(saved)

    faults = Faults(to_18)
    query = QueryService(store)
    jobs = Jobs(
        store,
        query,
        state,
        faults,
        work=bulk_worker.work,
        write_unprocessed=bulk_worker.write_unprocessed,
    )

    return Org(
        store, clock, options, query, state, faults, sessions, usage, router=router, jobs=jobs
    )


DEFAULT_CALLBACKS = tuple(
    f"http://{host}:{port}/callback" for port in (8788, 1717) for host in ("localhost", "127.0.0.1")
)


def _put_default_apps(sessions: Sessions, store: Store) -> None:
    defaults = (
        (DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, store.integration.username),
        (ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET, store.admin.username),
    )
    for client_id, secret, run_as in defaults:
        # An app that was changed over the control interface stays changed.
        if client_id not in sessions.apps:
            callbacks = list(DEFAULT_CALLBACKS)
            sessions.put_app(App(client_id, secret, run_as=run_as, redirect_uris=callbacks))
