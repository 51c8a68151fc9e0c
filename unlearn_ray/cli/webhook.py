"""A webhook that is told how a sweep ended: an address that takes a JSON object by POST.

The address may hold a secret. So it comes from the environment, where neither a sweep file nor a
command line shows it, and messages name its host alone.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import urlsplit

from unlearn_ray.core.boundary import one_line, translated
from unlearn_ray.core.errors import BadInput, without_secrets
from unlearn_ray.core.printable import printable

VARIABLE = "UNLEARN_RAY_WEBHOOK"
_SECONDS = 10.0
# Before the second and the third attempt.
_PAUSES = (1.0, 4.0)
_REMEDY = f"set {VARIABLE} to an address such as https://example.org/path, or to none"
_TOO_MANY = 429


@dataclass
class Summary:
    """What is sent.

    Attributes:
        sweep: its name.
        store: its URL.
        state: done; some_failed, with a table of the others; failed; or interrupted.
        message: why it failed; "" otherwise.
        trials_ended, trials_failed: of all its studies; null if it did not get that far.
    """

    sweep: str
    store: str
    state: Literal["done", "some_failed", "failed", "interrupted"] = "done"
    message: str = ""
    trials_ended: int | None = None
    trials_failed: int | None = None

    def ended(self, trials: int, failed: int) -> None:
        """The sweep has run to its end."""
        self.trials_ended, self.trials_failed = trials, failed
        self.state = "some_failed" if failed else "done"

    def failed(self, error: BaseException) -> None:
        """An error has ended the sweep."""
        if isinstance(error, KeyboardInterrupt):
            self.state = "interrupted"
        else:
            self.state, self.message = "failed", one_line(f"{translated(error) or error}")


class Webhook:
    """An address that summaries are sent to.

    Args:
        url: http:// or https://.

    Raises:
        BadInput: it is not such an address; the message does not show it.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise BadInput(VARIABLE, "not an address", _REMEDY) from error
        if parts.scheme not in ("http", "https"):
            raise BadInput(VARIABLE, "neither an http:// nor an https:// address", _REMEDY)
        if not host or not url.isprintable() or not url.isascii() or " " in url:
            raise BadInput(VARIABLE, "not an address", _REMEDY)
        if parts.username is not None or parts.password is not None:
            raise BadInput(VARIABLE, "it has a user's name or password", _REMEDY)
        self._url = url
        self.host = host if port is None else f"{host}:{port}"

    def __repr__(self) -> str:
        return f"Webhook({self.host})"

    def send(self, summary: Summary) -> str | None:
        """Send a summary, three times at most; returns why it was not taken, or None."""
        reason = self._try(summary)
        for pause in _PAUSES:
            if reason is None or reason.final:
                break
            time.sleep(pause)
            reason = self._try(summary)
        return None if reason is None else reason.text

    def _try(self, summary: Summary) -> _Refusal | None:
        request = urllib.request.Request(  # noqa: S310  its scheme was checked
            self._url,
            json.dumps(asdict(summary)).encode(),
            {"Content-Type": "application/json", "User-Agent": "unlearn_ray"},
            method="POST",
        )
        try:
            with _OPENER.open(request, timeout=_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                final = error.code < 500 and error.code != _TOO_MANY
                return _Refusal(f"it answered with status {error.code}", final)
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            text = getattr(cause, "strerror", None) or type(cause).__name__
            return _Refusal(f"it was not reached: {text}", False)


@dataclass(frozen=True)
class _Refusal:
    """Why a summary was not taken, and whether it would not be taken the next time, either."""

    text: str
    final: bool


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer: another host must not learn what the address holds."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirection)


def webhook() -> Webhook | None:
    """The webhook that the environment names.

    Raises:
        BadInput: its address is not valid.
    """
    url = os.environ.get(VARIABLE, "")
    return Webhook(url) if url else None


@contextmanager
def told(hook: Webhook | None, sweep: str, store: str) -> Iterator[Summary]:
    """Send a summary when the block ends, in whatever way; one that is not taken is a warning.

    Args:
        hook: where to; None sends nothing.
        sweep: its name.
        store: its URL.
    """
    summary = Summary(sweep, without_secrets(store))
    try:
        yield summary
    except BaseException as error:
        summary.failed(error)
        raise
    finally:
        if hook is not None and (reason := hook.send(summary)) is not None:
            warning = f"warning: the webhook at {hook.host} was not told: {reason}"
            print(printable(warning), file=sys.stderr, flush=True)
