"""Who may sign in and who has: apps, users' secrets, codes, refresh tokens and sessions.

Rules only; the HTTP side is ``auth``. Sessions end by inactivity, and the time of last use is
written only once half of the time-out has gone (Salesforce API notes, 1.5).
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt

from local_org.state import StateFile
from local_org.store import Store
from local_org.users import User

# Consecutive wrong passwords, life of a code, how far ahead an assertion may expire.
LOGIN_FAILURES_MAX = 10
CODE_SECONDS = 600
JWT_AHEAD_SECONDS = 300
FLOWS = ("client_credentials", "jwt_bearer", "refresh_token", "password", "authorization_code")


class SignInError(Exception):
    """A sign-in was refused; carries OAuth's code and description."""

    def __init__(self, code: str, description: str) -> None:
        """Keep both parts, as the token endpoint sends them."""
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description


@dataclass
class App:
    """A connected app or external client app."""

    client_id: str
    client_secret: str
    flows: list[str] = field(default_factory=lambda: list(FLOWS))
    run_as: str | None = None
    redirect_uris: list[str] = field(default_factory=list)
    public_key: str | None = None
    approved_users: list[str] | None = None
    rotate_refresh_tokens: bool = False
    secret_required_for_refresh: bool = True


@dataclass
class Session:
    """An access token that was handed out."""

    token: str
    user_id: str
    username: str
    client_id: str
    scope: str
    used_at: float


@dataclass
class _Code:
    client_id: str
    username: str
    redirect_uri: str
    scope: str
    challenge: str | None
    expires_at: float


class Sessions:
    """The org's apps, logins and sessions, kept in the state file."""

    def __init__(
        self,
        state: StateFile,
        store: Store,
        timeout_seconds: Callable[[], float],
        shared: Callable[[], bool],
        rotate: Callable[[], bool],
    ) -> None:
        """Read what an earlier process kept; options are read again at each use."""
        self._state = state
        self._store = store
        self._now: Callable[[], datetime] = store.clock.now
        self._timeout_seconds = timeout_seconds
        self._shared = shared
        self._rotate = rotate

        self.apps = {key: App(**body) for key, body in state.all("app").items()}
        self._failures: dict[str, int] = state.all("failures")
        self._sessions = {key: Session(**body) for key, body in state.all("session").items()}
        self._refresh = state.all("refresh")
        # Codes live ten minutes and die with the process.
        self._codes: dict[str, _Code] = {}

    # Apps and logins

    def put_app(self, app: App) -> None:
        """Add an app, or replace the one with the same client id."""
        self.apps[app.client_id] = app
        self._state.put("app", app.client_id, asdict(app))

    def unlock(self, user_id: str) -> None:
        """Forget the user's wrong passwords."""
        self._failures.pop(user_id, None)
        self._state.remove("failures", user_id)

    def app(
        self, client_id: str, client_secret: str | None, *, secret_required: bool = True
    ) -> App:
        """Give the app that these credentials belong to.

        Raises:
            SignInError: no such app, or a wrong secret.
        """
        app = self.apps.get(client_id)
        if app is None:
            raise SignInError("invalid_client_id", "client identifier invalid")
        if client_secret is None and not secret_required:
            return app
        given = (client_secret or "").encode()
        # Compared in constant time, as a real server does; the secrets here guard nothing.
        if not secrets.compare_digest(app.client_secret.encode(), given):
            raise SignInError("invalid_client", "invalid client credentials")
        return app

    def login(self, username: str) -> User:
        """Give a user who may sign in.

        Raises:
            SignInError: no such user, locked, or inactive.
        """
        user = self._store.user_by_name(username)
        if user is None:
            raise SignInError("invalid_grant", "authentication failure")
        if not user.is_active:
            raise SignInError("inactive_user", "user is inactive")
        if self._failures.get(user.id, 0) >= LOGIN_FAILURES_MAX:
            raise SignInError("invalid_grant", "user is locked")
        return user

    def check_password(self, username: str, password: str) -> User:
        """Give the user whose password with security token appended this is; count a wrong one."""
        user = self.login(username)
        if secrets.compare_digest((user.password + user.token).encode(), password.encode()):
            self.unlock(user.id)
            return user
        self._failures[user.id] = self._failures.get(user.id, 0) + 1
        self._state.put("failures", user.id, self._failures[user.id])
        raise SignInError("invalid_grant", "authentication failure")

    def check_assertion(self, assertion: str, audiences: list[str]) -> tuple[App, User]:
        """Give app and user of a signed JWT.

        Raises:
            SignInError: a fault in the token, in Salesforce's words.
        """
        # Not verified yet: only the claims say whose key to verify with.
        try:
            claims = jwt.decode(assertion, options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            raise SignInError("invalid_grant", "invalid assertion") from error

        app = self.apps.get(str(claims.get("iss", "")))
        if app is None:
            raise SignInError("invalid_client_id", "client identifier invalid")

        self._verify_signature(assertion, app)
        self._check_claims(claims, audiences)

        user = self.login(str(claims.get("sub", "")))
        if app.approved_users is not None and user.username not in app.approved_users:
            raise SignInError("invalid_grant", "user hasn't approved this consumer")
        return app, user

    @staticmethod
    def _verify_signature(assertion: str, app: App) -> None:
        if app.public_key is None:
            raise SignInError("invalid_grant", "invalid assertion")

        try:
            # The expiry is compared with the org's own clock below, not with the system's.
            jwt.decode(
                assertion,
                app.public_key,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False},
            )
        except jwt.InvalidTokenError as error:
            raise SignInError("invalid_grant", "invalid assertion") from error

    def _check_claims(self, claims: dict[str, Any], audiences: list[str]) -> None:
        audience = claims.get("aud")
        # The standard allows one audience or a list of them.
        named = audience if isinstance(audience, list) else [audience]
        if not any(str(one).rstrip("/") in audiences for one in named):
            raise SignInError("invalid_grant", "audience is invalid")

        try:
            expires = float(claims["exp"])
        except (KeyError, TypeError, ValueError) as error:
            raise SignInError("invalid_grant", "invalid assertion") from error

        now = self._now().timestamp()
        if expires <= now:
            raise SignInError("invalid_grant", "expired authorization code")
        if expires > now + JWT_AHEAD_SECONDS:
            raise SignInError("invalid_grant", "assertion expires too far in the future")

    # Authorization codes and refresh tokens

    def issue_code(
        self, app: App, user: User, redirect_uri: str, scope: str, challenge: str | None
    ) -> str:
        """Hand out a code that can be changed for tokens once, within ten minutes."""
        code = "aPrx" + secrets.token_urlsafe(48)
        expires_at = (self._now() + timedelta(seconds=CODE_SECONDS)).timestamp()
        self._codes[code] = _Code(
            app.client_id, user.username, redirect_uri, scope, challenge, expires_at
        )
        return code

    def redeem_code(
        self, app: App, code: str, redirect_uri: str, verifier: str | None
    ) -> tuple[User, str]:
        """Give user and scope of a code, which is dead afterwards.

        Raises:
            SignInError: unknown, used, expired, of another app, or the PKCE verifier does not fit.
        """
        # Taken out before it is checked: a code is good for one attempt.
        known = self._codes.pop(code, None)
        if known is None or known.client_id != app.client_id:
            raise SignInError("invalid_grant", "invalid authorization code")

        if known.expires_at <= self._now().timestamp():
            raise SignInError("invalid_grant", "expired authorization code")
        if known.redirect_uri != redirect_uri:
            raise SignInError("invalid_grant", "redirect uri does not match configuration")
        if known.challenge is not None:
            digest = hashlib.sha256((verifier or "").encode()).digest()
            if urlsafe_b64encode(digest).rstrip(b"=").decode() != known.challenge:
                raise SignInError("invalid_grant", "invalid code verifier")

        return self.login(known.username), known.scope

    def issue_refresh_token(self, app: App, user: User, scope: str) -> str:
        """Hand out a refresh token."""
        token = "5Aep861" + secrets.token_urlsafe(48)
        self._refresh[token] = {
            "client_id": app.client_id,
            "username": user.username,
            "scope": scope,
        }
        self._state.put("refresh", token, self._refresh[token])
        return token

    def redeem_refresh_token(self, app: App, token: str) -> tuple[User, str, str | None]:
        """Give user, scope and, where the app rotates them, the new token; the old one then dies.

        Raises:
            SignInError: the token is unknown, revoked, replaced, or another app's.
        """
        known = self._refresh.get(token)
        if known is None or known["client_id"] != app.client_id:
            raise SignInError("invalid_grant", "expired access/refresh token")
        # A refresh token is no way in for a user who was locked since.
        user = self.login(known["username"])
        if not (app.rotate_refresh_tokens or self._rotate()):
            return user, known["scope"], None
        self.revoke(token)
        return user, known["scope"], self.issue_refresh_token(app, user, known["scope"])

    # Sessions

    def open(self, app_id: str, user: User, scope: str) -> Session:
        """Open a session; with shared sessions on, the same user and app get the one they have."""
        now = self._now().timestamp()
        if self._shared():
            for session in list(self._sessions.values()):
                same = session.client_id == app_id and session.user_id == user.id
                if same and not self._is_expired(session, now):
                    return session

        for session in list(self._sessions.values()):
            if self._is_expired(session, now):
                self.revoke(session.token)

        token = f"{self._store.org_id[:15]}!{secrets.token_urlsafe(72)}"
        session = Session(token, user.id, user.username, app_id, scope, now)
        self._sessions[token] = session
        self._state.put("session", token, asdict(session))
        return session

    def use(self, token: str) -> Session | None:
        """Give the live session of a token and note its use; None when there is none."""
        session = self.peek(token)
        if session is None:
            return None
        now = self._now().timestamp()
        # As Salesforce does, use is noted only after half of the time-out (API notes 1.5).
        if abs(now - session.used_at) > self._timeout_seconds() / 2:
            session.used_at = now
            self._state.put("session", token, asdict(session))
        return session

    def peek(self, token: str) -> Session | None:
        """Give the live session of a token without noting a use."""
        session = self._sessions.get(token)
        if session is None or self._is_expired(session, self._now().timestamp()):
            return None
        return session

    def _is_expired(self, session: Session, now: float) -> bool:
        return now - session.used_at > self._timeout_seconds()

    def revoke(self, token: str) -> bool:
        """End a session, or make a refresh token useless; false if the token is not known."""
        known = self._sessions.pop(token, None) or self._refresh.pop(token, None)
        self._state.remove("session", token)
        self._state.remove("refresh", token)
        return known is not None

    def expire_all(self) -> int:
        """End every session and give how many there were."""
        tokens = list(self._sessions)
        for token in tokens:
            self.revoke(token)
        return len(tokens)
