"""Posts a message to a chat's incoming webhook, in the form of Slack and others: `{"text": …}`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import requests
import stamina

from pipeline.core.errors import CannotProceedNow

TIMEOUT_SECONDS: Final = 10
ATTEMPTS: Final = 3
TEXT_LENGTH_MAX: Final = 30_000
"""Slack takes 40,000 characters."""


class WebhookRefused(CannotProceedNow):
    """The webhook did not take a message. Its address, a secret, is not in the words."""


def post(url: str, text: str) -> None:
    """Send `text`; raise WebhookRefused where it is not taken after a few tries."""
    host = urlsplit(url).hostname or "the address"

    try:
        caller = stamina.RetryingCaller(attempts=ATTEMPTS, wait_max=2.0, timeout=TIMEOUT_SECONDS)
        answer = caller(requests.RequestException, _post, url, text[:TEXT_LENGTH_MAX])
    except (requests.RequestException, ValueError) as error:
        # The cause is left out: it holds the address, which is a secret.
        raise WebhookRefused(
            f"The webhook at {host} cannot be reached ({type(error).__name__}). Check INSIGHTS_ALERT_WEBHOOK."
        ) from None

    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        raise WebhookRefused(
            f"The webhook at {host} answered {answer.status_code}. Check INSIGHTS_ALERT_WEBHOOK."
        )


def _post(url: str, text: str) -> requests.Response:
    # No redirects: they would take the message, and the secret in the address, to another host.
    answer = requests.post(url, json={"text": text}, timeout=TIMEOUT_SECONDS, allow_redirects=False)
    if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise requests.HTTPError(f"{answer.status_code}")
    return answer
