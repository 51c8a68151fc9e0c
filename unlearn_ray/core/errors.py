"""Every error that a user can meet, in one tree, and the exit status that each ends with.

A message gives the value, the reason and the remedy. `BadInput` is the user's, `StoreError` the
store's, `ClusterError` Ray's, and `MachineError` this machine's. `TrialError` ends one trial and
lets the sweep continue.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import IntEnum

from unlearn_ray.core.printable import printable


class Exit(IntEnum):
    """What a command's exit status means."""

    DONE = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    STORE = 3
    CLUSTER = 4
    MACHINE = 5
    INTERNAL = 6
    INTERRUPTED = 130


# For --help.
EXIT_STATUSES = """\
exit status: 0 done; 1 a step or some trials failed; 2 bad input; 3 the store cannot be reached,
read or written; 4 Ray did not start, does not answer or was lost; 5 this machine lacks something
(a folder, a permission, space, memory, a package); 6 a bug in this program; 130 interrupted
"""

# Known names shown in a message; --list has them all.
_KNOWN_SHOWN = 20

# Character budgets of a long message's parts; what one does not use, another may.
_PARTS = (300, 900, 300)


class UnlearnRayError(Exception):
    """Root of the tree.

    Args:
        subject: what the error is about, with the offending value.
        reason: why it is an error.
        remedy: what to do about it.
    """

    def __init__(self, subject: str, reason: str, remedy: str) -> None:
        subject, reason, remedy = (without_secrets(each) for each in (subject, reason, remedy))
        super().__init__(subject, reason, remedy)
        self.subject = subject
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        # One line, even if it quotes a file, store or server.
        subject, reason, remedy = _fitted(map(printable, (self.subject, self.reason, self.remedy)))
        return f"{subject}: {reason}; {remedy}"


class BadInput(UnlearnRayError):
    """The user's input cannot be used."""


class ConfigError(BadInput):
    """A field of a sweep file is wrong; `subject` is `file:line: field = value`."""


class DataError(BadInput):
    """A dataset, a forget set or a folder of images is missing or unusable."""


class MachineError(UnlearnRayError):
    """This machine lacks something that the process needs: a folder, a permission, memory."""


class ClusterError(UnlearnRayError):
    """Ray did not start, does not answer, or was lost."""


class InternalError(UnlearnRayError):
    """An unexpected error: a bug in this program, or in the user's own code within it."""


class StoreError(UnlearnRayError):
    """An operation on a store failed."""


class StoreUnreachable(StoreError):
    """The store does not answer, cannot be reached, or there is no such bucket or folder."""


class StoreDenied(StoreError):
    """The store refused: wrong credentials, or no permission to read or write."""


class StoreFull(StoreError):
    """No space left where the store or its cache writes."""


class MissingObject(StoreError):
    """An object that a record or a checkpoint names is not in the store."""


class RemovedArtifact(MissingObject):
    """The artifact of a completed step was removed on purpose.

    Args:
        kind, key: the step.
        why: what removed it and when, in words.
        remedy: what to do about it.
    """

    def __init__(self, kind: str, key: str, why: str, remedy: str) -> None:
        super().__init__(f"artifact of {kind} {key}", why, remedy)
        self.kind, self.key = kind, key

    def __reduce__(self) -> tuple[type[RemovedArtifact], tuple[str, str, str, str]]:
        return RemovedArtifact, (self.kind, self.key, self.reason, self.remedy)


class CorruptObject(StoreError):
    """An object's bytes are not what was written: truncated, altered or unreadable."""


class LeaseLost(StoreError):
    """Another process took over the right to run a step; this one must stop."""


class StepFailed(UnlearnRayError):
    """A step could not be completed; steps that depend on it cannot run either."""


class WorkersLost(StepFailed):
    """The workers of a step were lost, or failed, more often than they are restarted."""


class HeldElsewhere(StepFailed):
    """Another process is running the step, and this one has other work than to wait."""


class StopRequested(UnlearnRayError):
    """The sweep is being stopped; running steps save a checkpoint and end."""


class WorkerLeaving(StopRequested):
    """This worker's machine is shutting down; the step saves a checkpoint and resumes elsewhere."""


class TrialError(UnlearnRayError):
    """One trial cannot be completed; the sweep goes on without it."""


class NonFiniteLoss(TrialError):
    """The loss or a weight became NaN or infinite."""


def shown(text: str, most: int = 80) -> str:
    r"""Foreign text made fit for a message: short, in one line.

    It is quoted if it has unprintable characters, or blanks at its ends.

    >>> shown("cat/07.png"), shown("7 "), shown("5\u20286")
    ('cat/07.png', "'7 '", "'5\\u20286'")
    """
    short = text if len(text) <= most else f"{text[: most - 3]}..."
    return short if short.isprintable() and short == short.strip() != "" else repr(short)


def shown_path(path: object) -> str:
    """The same for a path, which may be longer."""
    return shown(str(path), 400)


def shortened(text: str, most: int) -> str:
    """`text` without its middle if it is longer: the ends are the most telling.

    >>> shortened("0123456789", 7)
    '01...89'
    """
    if len(text) <= most:
        return text
    kept = most - 3
    return f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"


def _fitted(parts: Iterable[str]) -> list[str]:
    """Subject, reason and remedy, with the middle cut out of those that are too long."""
    fitted = [*parts]
    spare = sum(max(0, most - len(part)) for part, most in zip(fitted, _PARTS, strict=True))
    for number in (2, 1, 0):
        more = min(spare, max(0, len(fitted[number]) - _PARTS[number]))
        fitted[number] = shortened(fitted[number], _PARTS[number] + more)
        spare -= more
    return fitted


def listed(items: Iterable[object], most: int = 5) -> str:
    """The first few of a list, and how many more there are.

    >>> listed(range(7))
    '0, 1, 2, 3, 4 and 2 more'
    """
    each = [*items]
    first = ", ".join(str(item) for item in each[:most])
    return f"{first} and {len(each) - most:,} more" if len(each) > most else first


def without_secrets(text: str) -> str:
    """`text` with everything masked that may be a password in a URL.

    A password may hold any character, so everything between a scheme and the last @ is masked,
    and every option's value except a store's known options.

    >>> without_secrets("--set stor=s3://KEY:SEC/RET@bucket?secret=x: unknown field")
    '--set stor=s3://***@bucket?secret=***: unknown field'
    """
    return _WORDS.sub(lambda found: _without_secrets(found[0]), text)


def _without_secrets(word: str) -> str:
    """The same for a text without blanks, in linear time."""
    scheme = _SCHEME.search(word)
    last = max(word.rfind("@"), word.rfind("%40"))
    if scheme is not None and last >= scheme.end():
        word = f"{word[: scheme.end()]}***@{word[last:].removeprefix('@').removeprefix('%40')}"
    begin = word.find("?", max(0, word.find("://"))) + 1
    if "://" not in word or begin == 0:
        return word
    return word[:begin] + "&".join(map(_without_value, word[begin:].split("&")))


def _without_value(option: str) -> str:
    name, equals, value = option.partition("=")
    if not equals or name in ("account", "endpoint", "region"):
        return option
    # Punctuation after a URL in a message.
    return f"{name}=***{value[len(value.rstrip(_PUNCTUATION)) :]}"


_WORDS = re.compile(r"\S+")
_SCHEME = re.compile(r"(?<![\w+.-])[\w+.-]+:(?://)?")
_PUNCTUATION = ":;,.\"')]}"


class ProgramError(TrialError):
    """The code of a step raised an error that would recur if it were run again.

    Attributes:
        traceback: of that error, for debugging.
    """

    traceback: str = ""


class OutOfMemory(ProgramError):
    """A step needs more memory than its worker may use, and would need it again."""


_STATUSES: tuple[tuple[type[UnlearnRayError], Exit], ...] = (
    (BadInput, Exit.BAD_INPUT),
    (StoreError, Exit.STORE),
    (ClusterError, Exit.CLUSTER),
    (MachineError, Exit.MACHINE),
    (InternalError, Exit.INTERNAL),
)


def exit_status(error: UnlearnRayError) -> Exit:
    """The exit status of a command that ends with this error."""
    return exit_status_of(type(error))


def exit_status_of(error: type[UnlearnRayError]) -> Exit:
    """The exit status of a command that ends with an error of this type."""
    kinds = (status for kind, status in _STATUSES if issubclass(error, kind))
    return next(kinds, Exit.SOME_FAILED)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A remedy that suggests the closest of `known`, or else lists the first few.

    >>> did_you_mean("lerning_rate", ["learning_rate", "epochs"])
    'did you mean learning_rate?'
    """
    known = sorted(known)
    close = closest(word, known)
    if close is not None:
        return f"did you mean {shown(close)}?"
    return f"known are {listed(map(shown, known), _KNOWN_SHOWN)}" if known else "there are none"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` may be a typo of; None if none is close."""
    return next(iter(difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)), None)
