"""What a failed request is reported as, and whether to retry it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from unlearn_ray.core.errors import UnlearnRayError

AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class Patience(Enum):
    """Whether the same request may succeed later."""

    NEVER = auto()
    """Only a person can fix it."""
    OTHER_KEYS = auto()
    """With other credentials, if there are any by now."""
    NEW_KEYS = auto()
    """Credentials that worked are refused: they may be in rotation."""
    IF_MET = auto()
    """An outage if the server has answered this process before; else a configuration error."""
    IF_KNOWN = auto()
    """An outage if the server has answered any process before; else its address is wrong."""


@dataclass(frozen=True)
class Failure:
    """One failed request."""

    problem: UnlearnRayError
    patience: Patience


@dataclass(frozen=True)
class Request:
    """The request that failed.

    Attributes:
        subject: the object or the store, in words.
        bucket: its name.
        endpoint: the URL it was sent to; "" if it was never sent.
        region: the configured region, from any source; "" if none.
    """

    subject: str
    bucket: str
    endpoint: str = ""
    region: str = ""


def shown_address(url: str) -> str:
    """http(s)://host:port of a URL, or what of it cannot be a secret; "" if nothing.

    A password may hold any character, so the host is only what follows the last @.
    """
    scheme = re.match(r"https?://", url)
    host = re.sub(r"^\w+://", "", url.rpartition("@")[2])
    found = re.match(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(?=[/?#]|$)", host)
    return f"{scheme[0] if scheme else ''}{found[0]}" if found else ""


def proxied(request: Request) -> tuple[str, str] | None:
    """The variable that sets a proxy for the endpoint, and the proxy's URL."""
    parts = urlsplit(request.endpoint)
    value = getproxies().get(parts.scheme)
    if not value or proxy_bypass(parts.netloc):
        return None
    name = f"{parts.scheme}_proxy"
    names = [each for each in (name, name.upper()) if os.environ.get(each)]
    return (names or ["the system's settings"])[0], value


def through_proxy(request: Request) -> str:
    """For a message: that requests go through a proxy, or "" if they do not."""
    proxy = proxied(request)
    return f", through the proxy that {proxy[0]} names" if proxy else ""
