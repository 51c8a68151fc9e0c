"""Errors of many files: all are counted, the first few are shown."""

from __future__ import annotations

from unlearn_ray.core.errors import DataError

_SHOWN = 5


class Problems:
    """Collects the errors of many files into one.

    Args:
        where: subject of the error.
        folder: that holds the files; several are shown relative to it, since whole paths would
            leave no room for more than one.
    """

    def __init__(self, where: str, folder: str) -> None:
        self._where = where
        self._folder = folder.rstrip("/") + "/"
        self._first: list[DataError] = []
        self._count = 0

    def add(self, error: DataError) -> None:
        """Count it, and store it if it is one of the first."""
        self._count += 1
        if len(self._first) < _SHOWN:
            self._first.append(error)

    def raise_any(self) -> None:
        """Raise the collected errors, if there are any.

        Raises:
            DataError: a single error as it is; of several, their number, the first few and the
                remedies of these.
        """
        if self._count == 1:
            raise self._first[0]
        if not self._count:
            return
        first = "; ".join(
            f"{error.subject.removeprefix(self._folder)} {error.reason}" for error in self._first
        )
        more = self._count - len(self._first)
        remedies = dict.fromkeys(error.remedy for error in self._first)
        raise DataError(
            f"{self._where}",
            f"{self._count:,} files cannot be used: {first}"
            + (f"; and {more:,} more" if more else ""),
            ", or ".join(remedies),
        )
