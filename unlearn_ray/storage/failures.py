"""What a failed request is told as, and whether it is worth another try."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from unlearn_ray.core.errors import UnlearnRayError

AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class Patience(Enum):
    """Whether the same request may succeed later."""

    NEVER = auto()
    """Only a person can mend it."""
    OTHER_KEYS = auto()
    """With other keys, if there are any by now."""
    NEW_KEYS = auto()
    """Keys that were good are refused: whoever rotates them may be at it."""
    IF_MET = auto()
    """An outage if this process has been answered before; else the surroundings are wrong."""
    IF_KNOWN = auto()
    """An outage if the server has answered anybody before; else its address is wrong."""


@dataclass(frozen=True)
class Failure:
    """One failed request."""

    problem: UnlearnRayError
    patience: Patience


@dataclass(frozen=True)
class Request:
    """What was asked for when a request failed.

    Attributes:
        subject: the object or the store, for a person.
        bucket: its name.
        endpoint: the URL that was asked; "" if it did not come to that.
        region: that was asked for, of whatever source; "" if none was.
    """

    subject: str
    bucket: str
    endpoint: str = ""
    region: str = ""


def shown_address(url: str) -> str:
    """http(s)://host:port of a URL, or as much of it as cannot be a secret; "" if nothing is.

    A password may hold any character, so only what follows the last @ is taken for the host.
    """
    scheme = re.match(r"https?://", url)
    host = re.sub(r"^\w+://", "", url.rpartition("@")[2])
    found = re.match(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?(?=[/?#]|$)", host)
    return f"{scheme[0] if scheme else ''}{found[0]}" if found else ""
