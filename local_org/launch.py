"""Starting the org as a process of its own, for tests and the demo, and talking to its control end.

``with start() as org:`` spawns it on a free port with an empty file, gives a handle, and ends it.
Only the standard library is used, so that anything may import this.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENT_ID = "local-client"
CLIENT_SECRET = "local-secret"  # noqa: S105  documented, and of no use elsewhere
USERNAME = "integration@local.example"
PASSWORD = "local-password"  # noqa: S105
SECURITY_TOKEN = "local-token"  # noqa: S105
ADMIN_CLIENT_ID = "local-admin-client"
ADMIN_CLIENT_SECRET = "local-admin-secret"  # noqa: S105
# Time for running jobs to end, and for a control call that loads a million rows.
STOP_SECONDS = 20
CALL_SECONDS = 600
_READY = re.compile(r"local org ready at (http://\S+) \(org (\w+)\)")
# A proxy of the machine's settings could not reach this loopback address.
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StartError(RuntimeError):
    """The org's process ended before it was ready; the text has what it printed."""


@dataclass
class RunningOrg:
    """A handle on an org that is running."""

    base_url: str
    org_id: str
    data: Path
    process: subprocess.Popen[str] | None = None

    def control(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
    ) -> Any:
        """Call the control endpoint; ``path`` begins after ``/_control/``.

        Raises:
            ValueError: the org refused; the text is its reason.
        """
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  an http URL on loopback
            f"{self.base_url}/_control/{path}",
            data=data,
            method=method,
            headers={"Content-Type": content_type},
        )

        try:
            with _NO_PROXY.open(request, timeout=CALL_SECONDS) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{method} {path}: {error.read().decode()}") from error

    # Shorthands for what tests do most

    def arm(self, kind: str, **spec: Any) -> dict[str, Any]:
        """Arm a fault and give it with its id."""
        armed: dict[str, Any] = self.control("POST", "faults", {"kind": kind, **spec})
        return armed

    def fault_count(self, fault: Mapping[str, Any] | None = None) -> int:
        """Say how often a fault has fired; without one, how often all together."""
        listed = self.control("GET", "faults")
        return sum(f["fired"] for f in listed if fault is None or f["id"] == fault["id"])

    def clear_faults(self) -> None:
        """Take all faults away; stuck jobs go on."""
        self.control("DELETE", "faults")

    def set_options(self, **options: Any) -> None:
        """Change options while the org runs."""
        self.control("POST", "options", options)

    def load(self, object_name: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Load records fast and give their ids in order."""
        lines = "\n".join(json.dumps(dict(record)) for record in records).encode()
        answer = self.control(
            "POST",
            f"load?object={object_name}&ids=true",
            lines,
            content_type="application/x-ndjson",
        )
        ids: list[str] = answer.get("ids", [])
        return ids

    def query(self, soql: str) -> list[dict[str, Any]]:
        """Query as the admin, deleted rows included, without its being counted."""
        records: list[dict[str, Any]] = self.control("POST", "query", {"soql": soql})["records"]
        return records

    def add_fields(self, **metadata: Mapping[str, Any]) -> None:
        """Make custom fields on Lead, Contact and Account alike, granted to both users.

        The keywords are field names, the values Tooling API metadata (``{"type": "Text", ...}``).
        """
        fields = {
            f"{name}.{field}": {"label": field.removesuffix("__c").replace("_", " "), **given}
            for name in ("Lead", "Contact", "Account")
            for field, given in metadata.items()
        }
        self.control("POST", "fields", {"fields": fields})

    def calls(self) -> dict[str, Any]:
        """Give the counts and the log of API calls."""
        answer: dict[str, Any] = self.control("GET", "calls")
        return answer

    def stop(self) -> None:
        """End the process cleanly; kill it if it does not end."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def spawn(
    data: Path,
    *,
    port: int = 0,
    schema: Path | None = None,
    options: Mapping[str, object] | None = None,
) -> RunningOrg:
    """Start an org on ``data`` and wait until it is ready. The caller must ``stop()`` it.

    Raises:
        StartError: it ended before it was ready.
    """
    command = [sys.executable, "-m", "local_org", "--port", str(port), "--data", str(data)]

    if schema is not None:
        command += ["--schema", str(schema)]
    for name, value in (options or {}).items():
        command += ["--option", f"{name}={value}"]

    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)  # noqa: S603
    assert process.stdout is not None  # noqa: S101  asked for above
    seen = []
    # The org prints its address when it listens; what it prints before that explains a failure.
    for line in process.stdout:
        match = _READY.search(line)
        if match:
            return RunningOrg(match[1], match[2], data, process)
        seen.append(line)
    process.wait()
    raise StartError(f"the local org ended with code {process.returncode}: {''.join(seen)}")


@contextmanager
def start(
    data: Path | None = None,
    *,
    schema: Path | None = None,
    options: Mapping[str, object] | None = None,
) -> Iterator[RunningOrg]:
    """Run an org for the length of a ``with`` block, on a temporary file unless one is given."""
    with tempfile.TemporaryDirectory(prefix="local-org-") as folder:
        org = spawn(data or Path(folder) / "org.sqlite3", schema=schema, options=options)
        try:
            yield org
        finally:
            org.stop()
            # Else Python warns of a pipe that was never closed.
            if org.process is not None and org.process.stdout is not None:
                org.process.stdout.close()
