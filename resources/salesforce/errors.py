"""What can go wrong with the org, and whether another try can help: decided here, once.

    SalesforceError
    ├── SignInRefused               the credentials or the app: never tried again by itself
    │   └── LoginRevoked            the grant of `insights login` is revoked or has expired
    ├── SessionLost                 a new session was refused as well
    ├── CallRefused                 Salesforce understood the call and said no
    │   ├── QueryRefused            the SOQL
    │   ├── QueriesRefused          some of several queries asked at once
    │   ├── NoSuchObject            unknown to the org, or hidden from this user
    │   └── JobRefused              a step of a bulk job
    │       └── JobSpoiled          the job cannot be used any more: abort it and begin a new one
    ├── JobFailed                   a bulk job that ended without its result
    ├── UnexpectedAnswer            an answer that cannot be understood
    ├── UnwritableValue             a column to push holds what no field can
    ├── DailyRequestLimit           the org's own limit of API requests (also CannotProceedNow)
    └── OrgUnavailable              passing (also CannotProceedNow)
        ├── ConnectionBroken        no answer, or not the whole of it
        │   ├── AnswerTooLate       not within the time for it
        │   ├── HostUnknown         no host has that name
        │   ├── NobodyListens       the port was refused
        │   ├── CertificateUntrusted    not tried again by itself
        │   └── ProxyAway           the proxy of the environment was not reached
        ├── AnswerShort             fewer rows than the org itself promised
        ├── TooManyConcurrentRequests
        └── JobNotFinished          not within its deadline; the job goes on in the org

Salesforce's own code and text are kept verbatim in `code` and `text`, apart from our sentence. No
message ever holds a token, a secret or a record's values.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.core.errors import CannotProceedNow, InsightsError

_TEXT_MAX: Final = 500
"""Characters of an answer that is not Salesforce's JSON which a message may quote."""

PASSING_STATUSES: Final = frozenset({406, 420, 429})
"""Other than 5xx. Seen by other connectors as passing (API notes 2.5)."""

PASSING_CODES: Final = frozenset({"SERVER_UNAVAILABLE", "QUERY_TIMEOUT"})
NOT_UNDERSTOOD: Final = (
    LookupError,
    TypeError,
    AttributeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)
"""What parsing raises at an answer that lacks a part, or has one of another type."""
QUOTA_CODES: Final = frozenset({"EXCEEDEDQUOTA", "EXCEEDED_QUOTA"})


class SalesforceError(InsightsError):
    """Root of everything that goes wrong with the org.

    `sentence` is ours, `code` and `text` are Salesforce's own words ("" where there are none),
    `status` the HTTP status (None where there was no answer).
    """

    hint = ""

    def __init__(
        self, message: str, *, code: str = "", text: str = "", status: int | None = None
    ) -> None:
        """Join `message`, Salesforce's own words and the hint of this kind of error."""
        self.sentence = message
        self.code = code
        self.text = text
        self.status = status
        words = ": ".join(filter(None, (code, text.strip(": "))))
        own_words = f" Salesforce says: {words}" if words else ""
        hint = f" {self.hint}" if self.hint else ""
        super().__init__(f"{message}{own_words}{hint}")


class SignInRefused(SalesforceError):
    """The org refused the credentials. Not tried again: repeated wrong sign-ins lock the user."""

    exit_code = 2
    hint = "Check the SALESFORCE_... variables and the app's settings in the org, then try again."


class LoginRevoked(SignInRefused):
    """The grant behind the refresh token is gone.

    An admin revoked it, a policy ended it, or the password was changed.
    """

    hint = "Run `insights login` again; or renew SALESFORCE_REFRESH_TOKEN, where the token came from there."


class SessionLost(SalesforceError):
    """The session was refused, and so was the new one that replaced it."""

    hint = "Check that no policy in the org ends this user's sessions, then try again."


class CallRefused(SalesforceError):
    """Salesforce understood a call and refused it; the same call would be refused again."""


class QueryRefused(CallRefused):
    """Salesforce refused a query."""


class QueriesRefused(CallRefused):
    """Some of several queries asked in one call were refused; the others were answered."""

    def __init__(
        self,
        errors: Mapping[str, QueryRefused],
        answers: Mapping[str, Sequence[Mapping[str, Any]]],
    ) -> None:
        """Keep each refused query's error and the other queries' answers, by query name."""
        self.errors = dict(errors)
        self.answers = dict(answers)
        first = next(iter(self.errors.values()))
        listed = "; ".join(f"{name}: {error.code}" for name, error in self.errors.items())
        super().__init__(
            f"The org refused {len(self.errors)} of {len(errors) + len(answers)} queries"
            f" ({listed}).",
            code=first.code,
            text=first.text,
            status=first.status,
        )


class NoSuchObject(CallRefused):
    """The org has no such object, or the signed-in user may not see it."""

    hint = "Check the object's name and the user's object permissions."


class JobRefused(CallRefused):
    """Salesforce refused a step of a bulk job."""


class JobSpoiled(JobRefused):
    """The job got its data twice, after an upload whose answer was lost (API notes 3.2, step 2)."""

    hint = "Abort this job and push its rows with a new one."


class JobFailed(SalesforceError):
    """A bulk job ended as Failed or Aborted. Rows of an ingest job may be saved all the same."""

    def __init__(
        self, kind: str, job_id: str, object_name: str, state: str, error_message: str
    ) -> None:
        """Name the job and its last state, and quote its own `error_message`."""
        self.job_id = job_id
        super().__init__(
            f"Bulk {kind} job {job_id} on {object_name} ended as {state}.", text=error_message
        )


class UnexpectedAnswer(SalesforceError):
    """An answer that is not what the API promises."""


class UnwritableValue(SalesforceError):
    """A column to push holds what no field can: a fault before this point, not the org's.

    `rows` says by position which rows hold it; None stands for all of them.
    """

    def __init__(self, message: str, *, rows: Sequence[int] | None = None) -> None:
        """Name in `message` the column."""
        self.rows = rows
        super().__init__(message)


class DailyRequestLimit(SalesforceError, CannotProceedNow):
    """The org's own API request limit for 24 hours is used up."""

    exit_code = 3
    hint = "It is a rolling 24 hours: requests come free again by and by."

    def __str__(self) -> str:
        """Say when the org is asked again, where that is known."""
        text = super().__str__()
        if self.resumes_at is None:
            return text
        return f"{text} It is asked again at {self.resumes_at:%Y-%m-%d %H:%M %Z}; nothing is lost till then."


class OrgUnavailable(SalesforceError, CannotProceedNow):
    """The org cannot answer now; the same call may well succeed later.

    `may_have_happened` says whether the call may have been carried out all the same.
    """

    exit_code = 3
    hint = "Nothing is lost: try again in a few minutes; the sensor does so by itself."

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        text: str = "",
        status: int | None = None,
        may_have_happened: bool = True,
    ) -> None:
        """Say in `message` what was tried."""
        self.may_have_happened = may_have_happened
        super().__init__(message, code=code, text=text, status=status)


class ConnectionBroken(OrgUnavailable):
    """No connection, no answer in time, or an answer that was cut short."""


class AnswerTooLate(ConnectionBroken):
    """No answer within the time for it: the org may be at work on the call still."""


class HostUnknown(ConnectionBroken):
    """No host has the name in the org's address, or this machine cannot look names up."""

    hint = (
        "Check SALESFORCE_LOGIN_URL. If it is right, this machine cannot look up names (DNS) now."
    )


class NobodyListens(ConnectionBroken):
    """The host is there and refused the port."""

    hint = "Check host and port in SALESFORCE_LOGIN_URL, and any firewall between."


class CertificateUntrusted(ConnectionBroken):
    """The host showed a certificate that this machine does not trust. Another try sees the same."""

    exit_code = 2
    hint = (
        "Check SALESFORCE_LOGIN_URL. Where a proxy of your network shows its own certificate, name its "
        "authority's file in REQUESTS_CA_BUNDLE."
    )


class ProxyAway(ConnectionBroken):
    """The proxy that the environment names was not reached, or did not let us through."""

    hint = "Check HTTPS_PROXY and NO_PROXY."


class AnswerShort(OrgUnavailable):
    """The org gave fewer rows than the same answer had promised, however often it was asked."""

    def __init__(self, what: str, given: int, promised: int) -> None:
        """Name what was read, and both numbers of rows."""
        super().__init__(f"The org promised {promised} rows of {what} and gave {given}.")


class TooManyConcurrentRequests(OrgUnavailable):
    """Too many requests of 20 s and more at once in the org (API notes 2.4)."""


class JobNotFinished(OrgUnavailable):
    """A bulk job did not end within its deadline; it goes on in the org."""

    def __init__(self, kind: str, job_id: str, state: str, deadline_seconds: float) -> None:
        """Name the job, its last known state and the deadline."""
        self.job_id = job_id
        super().__init__(
            f"Bulk {kind} job {job_id} was still {state} after {deadline_seconds:g} s."
        )


def another_signs_in() -> OrgUnavailable:
    """Return the error for a sign-in that waited in vain for another process's."""
    return OrgUnavailable(
        "Another process has been signing in for a minute.", may_have_happened=False
    )


def is_passing(error: BaseException) -> bool:
    """Tell whether the same call may succeed later, without anybody changing anything."""
    return isinstance(error, OrgUnavailable) and not isinstance(
        error, JobNotFinished | CertificateUntrusted
    )


def error_from_answer(
    status: int, body: object, what: str, refusal: type[CallRefused] = CallRefused
) -> SalesforceError:
    """Return the error that an HTTP answer of `status` with `body` stands for.

    `body` is the parsed JSON, or text where it was none (an HTML page of a proxy or of a
    maintenance window); `what` is the call in words, such as "describe Lead", and `refusal` the
    error to return where Salesforce understood it and said no.
    """
    code, text = salesforce_words(body)

    if (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status in PASSING_STATUSES
        or code in PASSING_CODES
    ):
        # "Unavailable" is said by a front end before any work; other 5xx may come after it.
        refused_at_the_door = status == HTTPStatus.SERVICE_UNAVAILABLE
        return OrgUnavailable(
            f"The org could not answer ({what}: HTTP {status}).",
            code=code,
            text=text,
            status=status,
            may_have_happened=not refused_at_the_door,
        )

    if code == "REQUEST_LIMIT_EXCEEDED" or code.upper() in QUOTA_CODES:
        return _request_limit(status, code, text, what)
    if status == HTTPStatus.UNAUTHORIZED:
        return SessionLost(
            f"The org refused the session ({what}).",
            code=code,
            text=text,
            status=status,
        )

    # Salesforce always gives a code: without one, a proxy or a login page has answered.
    if not code:
        return UnexpectedAnswer(
            f"Something other than Salesforce may have answered ({what}: HTTP {status}). "
            "Check SALESFORCE_LOGIN_URL and any proxy between.",
            text=text,
            status=status,
        )
    return refusal(f"The org refused: {what} (HTTP {status}).", code=code, text=text, status=status)


def _request_limit(status: int, code: str, text: str, what: str) -> SalesforceError:
    """Return which limit it is, the daily one or that of concurrent requests: only texts differ."""
    if "concurrent" in text.lower():
        return TooManyConcurrentRequests(
            f"Too many requests at once in the org ({what}).",
            code=code,
            text=text,
            status=status,
            may_have_happened=False,
        )

    return DailyRequestLimit(
        f"The org's daily limit of API requests is used up ({what}).",
        code=code,
        text=text,
        status=status,
    )


def salesforce_words(body: object) -> tuple[str, str]:
    """Return Salesforce's code and text out of an error body, of any of the forms it has.

    REST and Bulk 2.0 answer a list of `errorCode`/`message`, the token endpoint an object of
    `error`/`error_description`. Anything else gives no code and the shortened text without markup.
    """
    first = body[0] if isinstance(body, list) and body else body
    if isinstance(first, Mapping):
        code = first.get("errorCode") or first.get("error") or first.get("statusCode") or ""
        text = first.get("message") or first.get("error_description") or ""
        return str(code), str(text)
    if isinstance(first, str) and not first.lstrip().startswith("<"):
        return "", first.strip()[:_TEXT_MAX]
    return "", ""


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Read an answer: one that lacks a part, or has one of another type, is an UnexpectedAnswer.

    Put it around parsing alone. The cause is left out of the message but for a missing key: it may
    quote a value.
    """
    try:
        yield
    except NOT_UNDERSTOOD as error:
        raise not_understood(error, what) from None


def not_understood(error: Exception, what: str) -> UnexpectedAnswer:
    """Return the error for an answer whose parsing ended with `error`, one of `NOT_UNDERSTOOD`."""
    lacks = f", it lacks {error}" if isinstance(error, KeyError) else ""
    return UnexpectedAnswer(
        f"The org's answer is not of the form that Salesforce documents ({what}{lacks}). "
        "Something else may have answered: check any proxy between."
    )


def _host_of(url: str) -> str:
    """Return scheme and host of an address: its path and query may hold what nobody may see."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def error_from_broken_connection(error: Exception, what: str) -> ConnectionBroken:
    """Return the error for a request that got no answer, or not the whole of it.

    A connection that was never made did not carry the request; after that, nobody can know.
    """
    from requests.exceptions import ConnectTimeout, ReadTimeout, SSLError
    from urllib3.exceptions import NewConnectionError, ReadTimeoutError

    request = getattr(error, "request", None)
    address = f" at {_host_of(request.url)}" if request is not None and request.url else ""
    never_made = _never_made(error, f"The connection to the org{address}", what)
    if never_made is not None:
        return never_made

    cause = error.args[0] if error.args else None
    is_late = isinstance(error, ReadTimeout) or isinstance(cause, ReadTimeoutError)
    never_sent = isinstance(error, ConnectTimeout | SSLError) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )
    kind = AnswerTooLate if is_late else ConnectionBroken
    return kind(
        f"The connection to the org{address} broke ({what}: {type(error).__name__}).",
        may_have_happened=not never_sent,
    )


def _never_made(error: Exception, connection: str, what: str) -> ConnectionBroken | None:
    """Return the error for a connection that could not be made, where it is known why."""
    from requests.exceptions import ProxyError
    from urllib3.exceptions import NameResolutionError

    causes = list(_causes(error))
    untrusted = next((c for c in causes if isinstance(c, ssl.SSLCertVerificationError)), None)
    found: tuple[type[ConnectionBroken], str] | None = None
    if isinstance(error, ProxyError):
        found = ProxyAway, "the proxy between did not let it through"
    elif untrusted is not None:
        found = CertificateUntrusted, f"its certificate is not trusted: {untrusted.verify_message}"
    elif any(isinstance(c, NameResolutionError | socket.gaierror) for c in causes):
        found = HostUnknown, "no host of that name was found"
    elif any(isinstance(c, ConnectionRefusedError) for c in causes):
        found = NobodyListens, "nobody listens there"

    if found is None:
        return None
    kind, why = found
    return kind(f"{connection} could not be made ({what}): {why}.", may_have_happened=False)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was made from: urllib3 and requests wrap one in the other."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
