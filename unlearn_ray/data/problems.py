"""What is wrong with many files: all counted, a few shown."""

from __future__ import annotations

from unlearn_ray.core.errors import DataError

_SHOWN = 5


class Problems:
    """Errors of many files, made into one.

    Args:
        where: what the files are of.
        folder: that they lie in; of several, names within it are shown, since whole paths would
            leave no room for more than one.
    """

    def __init__(self, where: str, folder: str) -> None:
        self._where = where
        self._folder = folder.rstrip("/") + "/"
        self._first: list[DataError] = []
        self._count = 0

    def add(self, error: DataError) -> None:
        """Count it, and keep it if it is one of the first."""
        self._count += 1
        if len(self._first) < _SHOWN:
            self._first.append(error)

    def raise_any(self) -> None:
        """Raise what was added, if anything was.

        Raises:
            DataError: one error as it is; of several their number, the first few, and what to
                do about these.
        """
        if self._count == 1:
            raise self._first[0]
        if not self._count:
            return
        told = "; ".join(
            f"{error.subject.removeprefix(self._folder)} {error.reason}" for error in self._first
        )
        more = self._count - len(self._first)
        remedies = dict.fromkeys(error.remedy for error in self._first)
        raise DataError(
            f"{self._where}",
            f"{self._count:,} files cannot be used: {told}"
            + (f"; and {more:,} more" if more else ""),
            ", or ".join(remedies),
        )
