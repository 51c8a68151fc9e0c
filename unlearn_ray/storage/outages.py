"""Waiting out outages: neither a server restart nor a network failure ends a sweep."""

from __future__ import annotations

import logging
import random
import threading
import time

from unlearn_ray.storage.failures import Patience

# Of an outage, of whatever kind.
AWAY = (Patience.IF_KNOWN, Patience.IF_MET)
# Longer than a restart or failover, yet a permanent loss is reported within minutes.
PATIENCE_SECONDS = 120.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0

_log = logging.getLogger(__name__)


class Outages:
    """The availability of one server, as its requests see it.

    Args:
        subject: the server, for the log.
        known: whether the server has answered any process before.

    Attributes:
        known: likewise.
        met: whether it has answered this process.
    """

    def __init__(self, subject: str, *, known: bool) -> None:
        self.known = known
        self.met = False
        self._subject = subject
        self._lock = threading.Lock()
        self._since: float | None = None

    def answered(self) -> None:
        """Note an answer, whatever it says."""
        self.known = self.met = True
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            _log.warning("%s: answers again after %.0f s", self._subject, time.monotonic() - since)

    def waits_out(self, patience: Patience, begun: float, tries: int, reason: str) -> bool:
        """Wait before retrying a request that failed as in an outage; False if it was no outage.

        Args:
            patience: of the failure.
            begun, tries, reason: as of `wait`.
        """
        known = patience is Patience.IF_KNOWN and self.known
        met = patience is Patience.IF_MET and self.met
        return (known or met) and self.wait(begun, tries, reason)

    def wait(self, begun: float, tries: int, reason: str) -> bool:
        """Wait before retrying a request; False if it is time to give up.

        The first of many requests that fail logs it.

        Args:
            begun: when the request was first tried, by the monotonic clock.
            tries: how many failed so far.
            reason: why the last one did.
        """
        if time.monotonic() - begun > PATIENCE_SECONDS:
            return False
        with self._lock:
            first = self._since is None
            self._since = self._since or begun
        if first:
            _log.warning("%s: %s; waiting for it", self._subject, reason)
        # Jitter: many workers lose a server at the same moment, and must not all retry at once.
        longest = min(_FIRST_PAUSE * 2 ** (tries - 1), _LONGEST_PAUSE)
        time.sleep(random.uniform(0.5, 1.0) * longest)  # noqa: S311
        return True
