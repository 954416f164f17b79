"""A chat on loopback that takes alerts over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Receiver:
    """A chat that takes messages; `status` is what it answers, `refused` how often it took none."""

    url: str = ""
    status: int = 200
    refused: int = 0
    bodies: list[dict[str, str]] = field(default_factory=list)

    def texts(self) -> list[str]:
        """Return the alerts taken since the last look, a line each."""
        taken, self.bodies = self.bodies, []
        return [line for body in taken for line in body["text"].splitlines()[1:]]


@contextmanager
def listening() -> Iterator[Receiver]:
    """Listen on loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.status < 400:
                receiver.bodies.append(json.loads(body))
            else:
                receiver.refused += 1
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/services/T0/secret-part"
        yield receiver
        server.shutdown()
