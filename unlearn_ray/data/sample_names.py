"""Resolve a word or a number that a user writes to a training sample or a class.

A dataset's own names come first. An ambiguous word is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

from unlearn_ray.core.errors import DataError, closest, listed, shown
from unlearn_ray.data.base import DatasetInfo

# A position as usually written: `007` and `1_0` are more likely names.
_POSITION = re.compile(r"0|[1-9][0-9]{0,17}")
_NUMBERS = re.compile(r"\d{1,18}")
_COMMENT = "#"


class Unclear(Exception):
    """A word that names no sample or is ambiguous; the text goes into a list of such words."""


class SampleNames:
    """Finds training samples by the dataset's own names.

    Samples with names (files) or ids (COCO's image ids) are found only by these, so that a
    number is never a position in one place and an id in another. Only samples that have
    neither are found by their position in the training set, from 0.

    Args:
        info: of the dataset.

    Raises:
        DataError: it does not name every sample.
    """

    def __init__(self, info: DatasetInfo) -> None:
        self._size = info.train_size
        self._names, self._ids = info.sample_names, info.sample_ids
        for given in (self._names, self._ids):
            if len(given) not in (0, self._size):
                raise DataError(
                    f"sample names of {len(given):,} of {self._size:,} training samples",
                    "the dataset must name all or none of them",
                    "correct its info()",
                )
        self._by_name, self._twice_named = _numbered(self._names)
        self._by_id, self._twice_given = _numbered(self._ids)

    @property
    def remedy(self) -> str:
        """How to write a sample."""
        if self._ids:
            return "write an image's id or file name, as in the caption file"
        if self._names:
            return (
                "write names, relative to train/ if the dataset has that folder; "
                "train_files.txt next to the decoded images lists them all, by position"
            )
        return f"write positions in the training set, from 0 to {self._size - 1}"

    def refusal(self, subject: str, unclear: Sequence[str], total: str) -> DataError:
        """One error for all unclear words that a user wrote.

        Args:
            subject: of the error.
            unclear: the unclear words, with reasons.
            total: the number of all words, with their noun.
        """
        what = f"{len(unclear):,} of {total} do not name one training sample"
        return DataError(subject, f"{what}: {listed(unclear)}", self.remedy)

    def find(self, *spellings: str) -> int:
        """The sample that a word, in one of these spellings, names.

        Raises:
            Unclear: there is none, or several.
        """
        readings: dict[int, str] = {}
        for spelling in spellings:
            for sample, reading in self._readings(spelling).items():
                readings.setdefault(sample, reading)
        if len(readings) == 1:
            return next(iter(readings))
        word = repr(spellings[0][:80])
        if readings:
            each = " or ".join(
                f"{reading} (write {shown(self.written(sample))})"
                for sample, reading in list(readings.items())[:3]
            )
            raise Unclear(f"{word} may be {each}")
        raise Unclear(word)

    def find_line(self, line: str) -> int | None:
        """The sample that a line of a file names; None for a comment or a blank line.

        Blanks around a name are ignored unless a name has them, and a name in double quotes is
        read as JSON. A comment needs its own line, since a name may contain a #.

        Raises:
            Unclear: it names none, or several.
        """
        word = line.strip()
        if word.startswith(_COMMENT):
            if self._readings(line) or self._readings(word):
                quoted = shown(json.dumps(word))
                raise Unclear(f"{word[:80]!r} may be a comment or a sample (write {quoted})")
            return None
        if not word:
            return None
        return self.find(*dict.fromkeys((line, word, *unquoted(word))))

    def described(self, sample: int) -> str:
        """A sample in a message: its name and id."""
        if not self._names and not self._ids:
            return f"sample {sample}"
        name = shown((self._names or self._ids)[sample])
        return f"{name} (id {shown(self._ids[sample])})" if self._names and self._ids else name

    def written(self, sample: int) -> str:
        """How a file names a sample."""
        if not self._names and not self._ids:
            return str(sample)
        spellings = self.spellings(sample)
        unique = (word for word in spellings if list(self._readings(word)) == [sample])
        return quoted(next(unique, spellings[0]))

    def spellings(self, sample: int) -> list[str]:
        """Every word that names a sample."""
        return [given[sample] for given in (self._names, self._ids) if given] or [str(sample)]

    def _readings(self, word: str) -> dict[int, str]:
        """The samples that a word may name, each with a description of that reading."""
        if not self._names and not self._ids:
            within = _POSITION.fullmatch(word) and int(word) < self._size
            return {int(word): f"sample {word}"} if within else {}
        found: dict[int, str] = {}
        if word in self._by_id:
            found[self._by_id[word]] = f"the image with the id {shown(word)}"
        if word in self._by_name:
            found.setdefault(self._by_name[word], f"the file named {shown(word)}")
        for twice in (self._twice_given, self._twice_named):
            found |= {sample: f"sample {sample}, one of several" for sample in twice.get(word, ())}
        return found


def quoted(name: str) -> str:
    """A name as a line of a file: quoted, as in JSON, if it could be misread without quotes."""
    bare = name.isprintable() and name == name.strip() != "" and name[0] not in (_COMMENT, '"')
    return name if bare else json.dumps(name)


def unquoted(word: str) -> tuple[str, ...]:
    """The name that a word in double quotes holds, as in JSON; none if it is no such word."""
    if len(word) < 2 or word[0] != '"' or word[-1] != '"':
        return ()
    try:
        name = json.loads(word)
    except ValueError:
        return ()
    return (name,) if isinstance(name, str) else ()


def _numbered(names: Sequence[str]) -> tuple[dict[str, int], dict[str, list[int]]]:
    """The position of every name, and all positions of names that occur several times."""
    places = {name: place for place, name in enumerate(names)}
    twice: dict[str, list[int]] = {}
    if len(places) < len(names):
        for place, name in enumerate(names):
            if places[name] != place:
                twice.setdefault(name, [places[name]]).append(place)
    return places, twice


def find_class(given: int | str, names: tuple[str, ...]) -> int:
    """The label of the class that a user means.

    A text is a class name. A number is a label, unless it is also the name of a class with
    another label.

    Args:
        given: as written.
        names: of the classes, in the order of their labels.

    Raises:
        DataError: there is no such class, or the number is ambiguous.
    """
    subject = f"classes = {shown(str(given))}"
    if isinstance(given, str):
        return _named_class(given, names, subject)
    within = 0 <= given < len(names)
    if within and _labels_by_name(names).get(str(given)) == [given]:
        return given
    others = [label for label in _labels_by_number(names).get(given, ()) if label != given]
    if others:
        choices = [*others[:2], given] if within else others[:2]
        readings = [f"the class named {_as_text(names[label])} (label {label})" for label in others]
        at = f"the class at position {given}, named {_as_text(names[given])}" if within else ""
        reason = f"may be {' or '.join([*readings[:2], at])}" if within else "is no label number"
        written = " or ".join(_as_text(names[label]) for label in choices)
        raise DataError(subject, reason, f"write {written}, in quotes, to say which")
    if not within:
        raise DataError(
            subject,
            f"the dataset has {len(names)} classes",
            f"give a class's name, or a label number from 0 to {len(names) - 1}",
        )
    return given


def _named_class(given: str, names: tuple[str, ...], subject: str) -> int:
    found = _labels_by_name(names).get(given, ())
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            subject,
            f"{len(found)} classes have this name, those of the labels {listed(found)}",
            "give them different names",
        )
    raise DataError(subject, "the dataset has no class of this name", _near(given, names))


def _near(given: str, names: Sequence[str]) -> str:
    """A remedy that suggests the closest class."""
    alike = [name for name in names if _folded(name) == _folded(given)]
    if alike:
        return f"did you mean {listed(map(_as_text, alike), 3)}? Some characters only look alike"
    if _POSITION.fullmatch(given) and int(given) < len(names):
        at = int(given)
        return f"without quotes it is label number {at}, the class {_as_text(names[at])}"
    near = closest(given, names) if len(names) <= _COMPARED else None
    if near is not None:
        return f"did you mean {shown(near)}?"
    return f"known are {listed(map(shown, names), 10)}"


# Limit of the names that a word is compared with: a comparison takes about 50 us.
_COMPARED = 20_000


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold().strip()


@lru_cache(maxsize=4)
def _labels_by_name(names: tuple[str, ...]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        found.setdefault(name, []).append(label)
    return found


@lru_cache(maxsize=4)
def _labels_by_number(names: tuple[str, ...]) -> dict[int, list[int]]:
    """The classes whose names contain a number: `2`, `02`, `class 2`."""
    found: dict[int, list[int]] = {}
    for label, name in enumerate(names):
        for number in {int(digits) for digits in _NUMBERS.findall(name)}:
            found.setdefault(number, []).append(label)
    return found


def _as_text(name: str) -> str:
    """A class's name as it is written in a sweep file."""
    return json.dumps(name, ensure_ascii=not name.isprintable())
