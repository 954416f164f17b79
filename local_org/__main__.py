"""``python -m local_org --port P --data FILE``: start the org and serve it until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from local_org import bulk, composite, rest, tooling
from local_org.clock import Clock
from local_org.options import Options
from local_org.org import Org, open_org
from local_org.server import build_app
from local_org.wire import Router

HOST = "127.0.0.1"
KEEP_ALIVE_SECONDS = 75
REQUEST_LINE_MAX = 1 << 20


def build_router() -> Router[Org]:
    """Make the table of all API paths."""
    router: Router[Org] = Router()
    for module in (rest, composite, bulk, tooling):
        module.add_routes(router)
    return router


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    lines = [
        f"  {entry['name']} ({entry['type']}, default {entry['default']!r}): {entry['explanation']}"
        for entry in Options.describe()
    ]

    parser = argparse.ArgumentParser(
        prog="python -m local_org",
        description="A Salesforce org on this machine, for development and tests.",
        epilog="options:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    parser.add_argument(
        "--port", type=int, default=8788, help="port to listen on; 0 picks a free one"
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="the file that holds the org; it is created if it does not exist",
    )
    parser.add_argument("--schema", type=Path, help="YAML file of custom fields to create")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a behaviour (may be repeated)",
    )

    return parser.parse_args(arguments)


def read_options(given: list[str]) -> Options:
    """Set the options named on the command line.

    Raises:
        ValueError: one is unknown, or its value does not fit.
    """
    options = Options()
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--option takes NAME=VALUE, not {text!r}")
        options.set(name, value)
    return options


async def serve(org: Org, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then finish requests and close the org."""
    runner = web.AppRunner(
        build_app(org),
        access_log=None,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
        shutdown_timeout=2,
        # Longer than the org takes, so that it is the org that refuses and words the error.
        max_line_size=REQUEST_LINE_MAX,
        max_field_size=REQUEST_LINE_MAX,
    )

    await runner.setup()
    site = web.TCPSite(runner, HOST, port, backlog=512)
    await site.start()
    chosen = runner.addresses[0][1]
    org.base_url = f"http://{HOST}:{chosen}"

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)

    print(f"local org ready at {org.base_url} (org {org.store.org_id})", flush=True)
    await stop.wait()
    await runner.cleanup()


def main(arguments: list[str] | None = None) -> int:
    """Start the org; exit code 2 for a wrong command line."""
    given = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        options = read_options(given.option)
    except ValueError as error:
        print(f"local_org: {error}", file=sys.stderr)
        return 2

    given.data.parent.mkdir(parents=True, exist_ok=True)
    org = open_org(given.data, options, Clock(), build_router())
    if given.schema is not None:
        org.store.load_schema_file(given.schema)

    asyncio.run(serve(org, given.port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
