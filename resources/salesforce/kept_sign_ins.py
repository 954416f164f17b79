"""What signing in gave, kept for all processes of a home: the session, or that it was refused (R3).

A session is shared by ticks, runs and commands, so that none of them signs in anew. A refusal for
good is not repeated: Salesforce locks a user after some wrong sign-ins. Both are kept by a hash of
the credentials, so that other credentials are tried at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from resources.file_lock import file_lock
from resources.salesforce.errors import LoginRevoked, SignInRefused, another_signs_in

ENTRIES_MAX: Final = 20
"""How many credentials are remembered; the latest ones stay."""

_PASSING_REFUSALS: Final = frozenset(
    {"API_CURRENTLY_DISABLED", "LOGIN_DURING_RESTRICTED_TIME", "LOGIN_RATE_EXCEEDED"}
)
"""These pass by themselves, and asking again locks nobody."""

_NOT_AGAIN: Final = (
    "These credentials were refused at {at:%Y-%m-%d %H:%M} UTC and are not sent again, so that Salesforce does not "
    "lock the user. Changed ones are tried at once, and `insights check` tries these once more."
)


@dataclass(frozen=True, slots=True)
class Grant:
    """A session in the org. There is no time of expiry to read (API notes 1.5)."""

    access_token: str = field(repr=False)
    instance_url: str
    org_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal for good, in Salesforce's words; `revoked` says that the login's grant is gone."""

    sentence: str
    code: str
    text: str
    status: int | None
    revoked: bool
    at: datetime

    def error(self) -> SignInRefused:
        """Return the error for a sign-in that is not tried."""
        kind = LoginRevoked if self.revoked else SignInRefused
        message = f"{self.sentence} {_NOT_AGAIN.format(at=self.at.astimezone(UTC))}"
        return kind(message, code=self.code, text=self.text, status=self.status)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of one set of credentials."""

    session: Grant | None = None
    refusal: Refusal | None = None


def is_for_good(refused: SignInRefused) -> bool:
    """Say whether only other credentials, or a change in the org, can end this refusal.

    One without a code of Salesforce's was never sent there.
    """
    return bool(refused.code) and refused.code not in _PASSING_REFUSALS


class SignIns:
    """What signing in gave, by hash of the credentials, as long as this object lives."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._entries: dict[str, _Entry] = {}

    def lock(self) -> AbstractContextManager[None]:
        """Keep all others that share this from signing in meanwhile."""
        return nullcontext()

    def session(self, credentials: str) -> Grant | None:
        """Return the session of these credentials, if one is kept."""
        return self._entry(credentials).session

    def refusal(self, credentials: str) -> Refusal | None:
        """Return how these credentials were refused for good, if they were."""
        return self._entry(credentials).refusal

    def keep_session(self, credentials: str, grant: Grant) -> None:
        """Keep the session for others; these credentials are not refused any more."""
        self._change(credentials, lambda _: _Entry(session=grant))

    def end_session(self, credentials: str, access_token: str | None = None) -> None:
        """Forget the session; with an `access_token` only that one, as others may have a newer."""

        def ended(entry: _Entry) -> _Entry:
            kept = entry.session
            is_meant = kept and access_token in (None, kept.access_token)
            return replace(entry, session=None) if is_meant else entry

        if self.session(credentials) is not None:
            self._change(credentials, ended)

    def keep_refusal(self, credentials: str, refused: SignInRefused, at: datetime) -> None:
        """Keep that these credentials are refused for good."""
        revoked = isinstance(refused, LoginRevoked)
        refusal = Refusal(refused.sentence, refused.code, refused.text, refused.status, revoked, at)
        self._change(credentials, lambda _: _Entry(refusal=refusal))

    def forget_refusal(self, credentials: str) -> None:
        """Let these credentials be tried once more: a person asks for it."""
        if self.refusal(credentials) is not None:
            self._change(credentials, lambda entry: replace(entry, refusal=None))

    def _entry(self, credentials: str) -> _Entry:
        return self._read().get(credentials, _Entry())

    def _change(self, credentials: str, change: Any) -> None:
        with self.lock():
            entries = self._read()
            entry = change(entries.pop(credentials, _Entry()))
            newest = [*entries.items(), (credentials, entry)][-ENTRIES_MAX:]
            self._write({key: one for key, one in newest if one != _Entry()})

    def _read(self) -> dict[str, _Entry]:
        return dict(self._entries)

    def _write(self, entries: dict[str, _Entry]) -> None:
        self._entries = entries


class FileSignIns(SignIns):
    """The same in a file that only its owner may read, for all processes that share it.

    The file is replaced whole, so reading needs no lock. Where it cannot be written, it is this
    process alone that remembers.
    """

    def __init__(self, path: Path) -> None:
        """Keep it in `path`, with a lock file beside it; nothing is made yet."""
        super().__init__()
        self._path = path
        self._is_locked = False

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from signing in; who holds it may take it again."""
        if self._is_locked:
            yield
            return

        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(self._path.with_name(f"{self._path.name}.lock"), another_signs_in()):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def _read(self) -> dict[str, _Entry]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {key: _entry_of(written) for key, written in content.items()}
        except FileNotFoundError:
            return super()._read()
        except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError):
            return {}  # what nobody can read is as good as nothing: signing in makes it anew

    def _write(self, entries: dict[str, _Entry]) -> None:
        super()._write(entries)
        content = json.dumps({key: asdict(entry) for key, entry in entries.items()}, default=str)
        with contextlib.suppress(OSError):
            _replace(self._path, content)


def _entry_of(written: Any) -> _Entry:
    session, refusal = written["session"], written["refusal"]
    if refusal:
        refusal = {**refusal, "at": datetime.fromisoformat(refusal["at"])}
    return _Entry(Grant(**session) if session else None, Refusal(**refusal) if refusal else None)


def _replace(path: Path, content: str) -> None:
    """Replace the file in one step; a temporary file is readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".session-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
