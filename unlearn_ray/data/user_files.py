"""Which samples belong to which user: a CSV table of a user and a file in each row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from unlearn_ray.core.errors import DataError, listed, shown, shown_path
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import lines, read_text
from unlearn_ray.data.sample_names import SampleNames, Unclear, quoted, unquoted

# Enough for a million long names.
_MOST_BYTES = 1 << 28
_COMMENT = "#"
_OF_MAP = "give a CSV table with a user and a file in each row, and names of columns in its first"
_OF_USERS = "give a text file with one user per line, or a list of users"

# Line, user and word for a sample.
Row = tuple[int, str, str]


@schema
class UserMap:
    """A CSV table, separated by commas, whose first line names its columns.

    Attributes:
        csv: its path; UTF-8, or another Unicode encoding with a byte order mark.
        key: the column of the user. Blanks around a user are ignored.
        value: the column of the sample, named as in a file of `ids`. A user has a row per sample.
    """

    csv: str
    key: str
    value: str

    @property
    def shown(self) -> str:
        """Its path, as the subject of an error."""
        return f"map.csv = {shown_path(self.csv)}"


def requested_users(users: str | Sequence[int | str]) -> tuple[dict[str, str], dict[str, str]]:
    """The users whose samples are to be forgotten, and comments, each with where it was read.

    Args:
        users: the path of a file with one user per line, or the users. In a file, lines that begin
            with # are comments, and a user in double quotes is read as JSON.

    Raises:
        DataError: the file cannot be read, or there is no user.
    """
    found: dict[str, str] = {}
    comments: dict[str, str] = {}
    if isinstance(users, str):
        text = read_text(users, "users", _OF_USERS, _MOST_BYTES)
        for number, line in enumerate(map(str.strip, lines(text)), 1):
            kind = comments if line.startswith(_COMMENT) else found
            if line:
                kind.setdefault(next(iter(unquoted(line)), line).strip(), f"line {number}")
    else:
        for number, user in enumerate(users, 1):
            found.setdefault(str(user).strip(), f"entry {number}")
    if not found:
        raise DataError(_shown_users(users), "names no user", _OF_USERS)
    return found, comments


def samples_of_users(
    table: UserMap, users: str | Sequence[int | str], names: SampleNames
) -> tuple[set[int], int]:
    """The samples of some users, and the number of users.

    A row that is there twice counts once.

    Args:
        table: whose files are whose.
        users: as of `requested_users`.
        names: those of the dataset's samples.

    Raises:
        DataError: a file cannot be read or is malformed; a user is unknown or has no file; a row of
            these users does not name one training sample, or one that another user has, too.
    """
    wanted, comments = requested_users(users)
    text = read_text(table.csv, "map.csv", _OF_MAP, _MOST_BYTES)
    rows: dict[str, list[tuple[int, str]]] = {}
    for line, user, word in _rows(text, table):
        if user in wanted:
            rows.setdefault(user, []).append((line, word))
        elif user in comments:
            raise DataError(
                _shown_users(users),
                f"{comments[user]}: {shown(user)} may be a comment or a user",
                f"write {shown(json.dumps(user))} if it is a user, or another comment",
            )
    _refuse_unknown(wanted, rows, table, users)
    owners = _owners(rows, table, names)
    _refuse_shared(owners, rows, text, table, names)
    return set(owners), len(wanted)


def _refuse_unknown(
    wanted: Mapping[str, str],
    rows: Mapping[str, list[tuple[int, str]]],
    table: UserMap,
    users: str | Sequence[int | str],
) -> None:
    """Refuse users without a row, and users none of whose rows has a file."""
    unknown = [f"{where}: {shown(user)}" for user, where in wanted.items() if user not in rows]
    if unknown:
        reason = f"{len(unknown):,} of {len(wanted):,} users are not in column {shown(table.key)}"
        raise DataError(
            _shown_users(users),
            f"{reason} of {shown_path(table.csv)}: {listed(unknown)}",
            "write users as that column has them, or remove them",
        )
    without = [
        f"line {own[0][0]}: {shown(user)}"
        for user, own in rows.items()
        if not any(word for _, word in own)
    ]
    if without:
        reason = f"{len(without):,} of {len(wanted):,} users have no file: {listed(without)}"
        raise DataError(table.shown, reason, "add their files, or remove these users")


def _owners(
    rows: Mapping[str, list[tuple[int, str]]], table: UserMap, names: SampleNames
) -> dict[int, tuple[str, int]]:
    """The user and the line that first name each sample."""
    owners: dict[int, tuple[str, int]] = {}
    unclear: list[str] = []
    shared: list[str] = []
    total = 0
    for user, own in rows.items():
        for line, word in own:
            if not word:
                continue
            total += 1
            try:
                sample = names.find(word, *unquoted(word))
            except Unclear as problem:
                unclear.append(f"line {line}: {problem}")
                continue
            owner, first = owners.setdefault(sample, (user, line))
            if owner != user:
                shared.append(_twice(names.described(sample), first, line))
    if unclear:
        raise names.refusal(table.shown, unclear, f"{total:,} rows of these users")
    _refuse_all(shared, table)
    return owners


def _refuse_shared(
    owners: Mapping[int, tuple[str, int]],
    requested: Collection[str],
    text: str,
    table: UserMap,
    names: SampleNames,
) -> None:
    """Refuse a sample that a user has who did not ask for anything."""
    samples = {word: sample for sample in owners for word in names.spellings(sample)}
    shared = []
    for line, user, word in _rows(text, table):
        if user not in requested:
            for spelling in (word, *unquoted(word)):
                if spelling in samples:
                    sample = samples[spelling]
                    shared.append(_twice(names.described(sample), owners[sample][1], line))
    _refuse_all(shared, table)


def _twice(sample: str, first: int, other: int) -> str:
    return f"{sample} (lines {first} and {other})"


def _refuse_all(shared: Sequence[str], table: UserMap) -> None:
    if shared:
        reason = f"{len(shared):,} rows give a user a file that another user has: {listed(shared)}"
        raise DataError(table.shown, reason, "decide whose it is, and remove the other row")


def _rows(text: str, table: UserMap) -> Iterator[Row]:
    """The rows but the first, without blanks around users and words; empty lines are left out."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        key, value = (_place(header, name, table) for name in (table.key, table.value))
        last = max(key, value)
        for row in reader:
            if len(row) > last:
                user = row[key].strip()
                if user:
                    yield reader.line_num, user, row[value].strip()
                    continue
            if row:
                reason = f"has no {shown(table.key)}" if len(row) > last else "is too short"
                where = f"{table.shown}:{reader.line_num}"
                raise DataError(where, f"the row {reason}", "correct or remove it")
    except csv.Error as error:
        raise DataError(
            f"{table.shown}:{reader.line_num}", f"is no CSV: {error}", _OF_MAP
        ) from None


def _place(header: Sequence[str], column: str, table: UserMap) -> int:
    if header.count(column) != 1:
        given = f"its columns are {listed(map(quoted, header))}" if header else "it is empty"
        reason = f"has no one column {shown(column)}, separated by commas: {given}"
        raise DataError(f"{table.shown}:1", reason, "name columns that it has")
    return header.index(column)


def _shown_users(users: str | Sequence[int | str]) -> str:
    return f"users = {shown_path(users)}" if isinstance(users, str) else "users"
