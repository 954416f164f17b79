"""Which hosts are this machine itself: the only ones that http may go to."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str | None) -> bool:
    """Tell whether `host` is this machine itself."""
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_plain_http(url: str) -> bool:
    """Tell whether `url` is http, which `checked_login_url` allows for this machine only."""
    return urlsplit(url).scheme == "http"


def as_https(url: str) -> str:
    """Return `url` with https: simple-salesforce and our session speak nothing else."""
    return urlsplit(url)._replace(scheme="https").geturl()
