"""From users to their samples: what an erasure request names, and what is refused."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.config.test_forgotten import folder_sweep, numbered_folders
from tests.tiny import tiny_sweep
from unlearn_ray.config.fields import label
from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.user_files import UserMap
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

FILES = DatasetInfo(30, 9, ("cat",), 8, tuple(f"cat/{number:02}.png" for number in range(30)))
POSITIONS = DatasetInfo(30, 9, ("cat",), 8)
COCO = DatasetInfo(2, 1, (), 8, ("000.jpg", "005.jpg"), ("12", "7"), captioned=True)

TABLE = """\
user_id,file,uploaded
u1,cat/03.png,2021
u2,cat/07.png,2021
u1,cat/05.png,2022
u3,,2022
"""


def request(
    folder: Path, table: str | bytes, users: str | bytes | Sequence[int | str], **columns: str
) -> Ids:
    """A request as a person's two files make it."""
    (folder / "users.csv").write_bytes(table.encode() if isinstance(table, str) else table)
    named: str | tuple[int | str, ...]
    if isinstance(users, str | bytes):
        (folder / "requests.txt").write_bytes(users.encode() if isinstance(users, str) else users)
        named = str(folder / "requests.txt")
    else:
        named = tuple(users)
    fields = {"key": "user_id", "value": "file", **columns}
    return Ids(map=UserMap(csv=str(folder / "users.csv"), **fields), users=named)


def looked_up(forget_set: Ids, info: DatasetInfo = FILES) -> list[int]:
    forget_set.check(info, 0)
    return forget_set.named_ids().tolist()


@pytest.mark.parametrize("users", ["u1\n", "# asked on Monday\n\n u1 \nu1\n", '"u1"\r\n', ["u1"]])
def test_all_files_of_a_user(tmp_path: Path, users: str | list[str]) -> None:
    forget_set = request(tmp_path, TABLE, users)
    assert looked_up(forget_set) == [3, 5]
    assert forget_set.note() == "all samples of 1 user"


@pytest.mark.parametrize(
    "table",
    [
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.encode("utf-16"),
        TABLE.replace("\n", "\r\n"),
        TABLE.replace("\n", "\r"),
        TABLE + TABLE.split("\n", 1)[1],
        TABLE.replace("u1", '"u1"').replace("cat/03.png", '"cat/03.png"'),
        TABLE.replace("u1,", " u1 , "),
        "file,user_id\ncat/03.png,u1\n\ncat/05.png,u1\n",
    ],
    ids=["bom", "utf-16", "crlf", "cr", "twice", "quoted", "blanks", "other order"],
)
def test_ways_to_write_a_table(tmp_path: Path, table: str | bytes) -> None:
    assert looked_up(request(tmp_path, table, ["u1"])) == [3, 5]


def test_a_name_with_a_comma_and_quotes(tmp_path: Path) -> None:
    info = DatasetInfo(2, 1, ("cat",), 8, ('cat/a, "b".png', "cat/c.png"))
    table = 'user_id,file\n"Doe, J.","cat/a, ""b"".png"\n'
    assert looked_up(request(tmp_path, table, "Doe, J.\n"), info) == [0]


def test_numbers_are_users_as_written(tmp_path: Path) -> None:
    table = "user_id,file\n7,3\n07,4\n"
    assert looked_up(request(tmp_path, table, [7]), POSITIONS) == [3]
    assert looked_up(request(tmp_path, table, ["07"]), POSITIONS) == [4]


def test_its_key_is_that_of_its_samples(tmp_path: Path) -> None:
    by_user = request(tmp_path, TABLE, ["u1"])
    by_user.check(FILES, 0)
    (tmp_path / "ids.txt").write_text("cat/05.png\ncat/03.png\n")
    by_file = Ids(file=str(tmp_path / "ids.txt"))
    by_file.check(FILES, 0)
    assert content_key(by_user) == content_key(by_file)
    other = request(tmp_path, TABLE, ["u2"])
    other.check(FILES, 0)
    assert content_key(other) != content_key(by_user)


def test_rows_do_not_tell_who_asked(tmp_path: Path) -> None:
    forget_set = request(tmp_path, TABLE, ["u1", "u2"])
    forget_set.check(FILES, 0)
    assert label(forget_set) == "ids"
    assert "u1" not in json.dumps(forget_set.identity())
    travelled = pickle.loads(pickle.dumps(forget_set))
    assert travelled.named_ids().tolist() == [3, 5, 7]


@pytest.mark.parametrize(
    ("table", "users", "message"),
    [
        (TABLE, "u1\nu9\n", r"requests.txt: 1 of 2 users are not in column user_id .*line 2: u9;"),
        (TABLE, ["u1", "U1"], r"users: 1 of 2 users are not in .*: entry 2: U1"),
        (TABLE, ["u3"], r"users.csv: 1 of 1 users have no file: line 5: u3"),
        (TABLE, "# nobody\n\n", r"requests.txt: names no user"),
        (TABLE, [], "users: names no user"),
        (
            TABLE + "u2,cat/05.png,2023\n",
            ["u1"],
            r"1 rows give a user a file that another user has: cat/05.png \(lines 4 and 6\)",
        ),
        (
            TABLE + 'u2,"""cat/05.png""",2023\n',
            ["u1"],
            r"another user has: cat/05.png \(lines 4 and 6\)",
        ),
        (TABLE + "u2,cat/05.png,1\n", ["u1", "u2"], r"cat/05.png \(lines 4 and 6\)"),
        (TABLE + "u1,cat/99.png,1\n", ["u1"], r"users.csv: 1 of 3 rows of these users do not name"
         r" one training sample: line 6: 'cat/99.png'; write names"),
        ("user,file\nu1,cat/03.png\n", ["u1"], r"users.csv:1: has no one column user_id, separated"
         r" by commas: its columns are user, file"),
        (TABLE.replace(",", ";"), ["u1"], r"its columns are user_id;file;uploaded"),
        ("user_id,file,file\nu1,a,b\n", ["u1"], r"has no one column file"),
        ("", ["u1"], r"users.csv:1: has no one column user_id.*it is empty"),
        (TABLE + "u4\n", ["u1"], r"users.csv:6: the row is too short"),
        (TABLE + ",cat/09.png,1\n", ["u1"], r"users.csv:6: the row has no user_id"),
        (TABLE + 'u1,"cat/0', ["u1"], r"users.csv:6: is no CSV: unexpected end of data"),
        (TABLE.encode() + b"u1,\xff\n", ["u1"], r"users.csv:6: not UTF-8 text"),
        (TABLE + "#5,cat/01.png,1\n", "u1\n#5\n", r"line 2: #5 may be a comment or a user; write"),
    ],
)  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, table: str | bytes, users: str | list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        request(tmp_path, table, users).check(FILES, 0)


def test_an_image_that_is_named_by_its_id_once_and_by_its_file_once(tmp_path: Path) -> None:
    table = "user_id,file\nu1,12\nu2,000.jpg\nu3,005.jpg\n"
    with pytest.raises(DataError, match=r"000.jpg \(id 12\) \(lines 2 and 3\)"):
        request(tmp_path, table, ["u1"]).check(COCO, 0)
    assert looked_up(request(tmp_path, table, ["u3"]), COCO) == [1]


def test_files_that_are_missing(tmp_path: Path) -> None:
    forget_set = request(tmp_path, TABLE, "u1\n")
    (tmp_path / "requests.txt").unlink()
    with pytest.raises(DataError, match=r"users = .*requests.txt: cannot be read: No such file"):
        forget_set.check(FILES, 0)
    forget_set = request(tmp_path, TABLE, "u1\n")
    (tmp_path / "users.csv").unlink()
    with pytest.raises(DataError, match=r"map.csv = .*users.csv: cannot be read: No such file"):
        forget_set.check(FILES, 0)


def test_a_million_rows_take_seconds(tmp_path: Path) -> None:
    size = 1_000_000
    info = DatasetInfo(size, 9, ("cat",), 8, tuple(f"cat/{n}.png" for n in range(size)))
    table = "user_id,file\n" + "".join(f"u{n // 5},cat/{n}.png\n" for n in range(size))
    forget_set = request(tmp_path, table, [f"u{n}" for n in range(50)])
    started = time.process_time()
    assert looked_up(forget_set, info) == list(range(250))
    assert time.process_time() - started < 20


def test_in_a_sweep_file(tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "images")
    rows = "".join(f"u{name},{name}/{n}.png\n" for name in range(1, 13) for n in range(3))
    (tmp_path / "users.csv").write_text(f"user_id,file\n{rows}")
    (tmp_path / "requests.txt").write_text("u7\nu11\n")
    table = f"{{csv: {tmp_path}/users.csv, key: user_id, value: file}}"
    for users in (f"{tmp_path}/requests.txt", "[u7, u11]"):
        forget_set = f"{{ids: {{map: {table}, users: {users}}}}}"
        sweep = tiny_sweep(tmp_path, folder_sweep(root, forget_set))
        plan = plan_view(make_plan(sweep, open_store(str(tmp_path / "store"))), "here")
        assert "all samples of 2 users\n" in plan
        assert "6 samples, named one by one: none of them is held out for validation\n" in plan
        assert "by class: 3 of '11', 3 of '7'\n" in plan
        assert "6 of 30 samples that are trained on, 20.00 %" in plan


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{}", "give a file, or map and users"),
        ("{file: a.txt, users: [u1]}", "map and users need each other"),
        ("{map: {csv: a.csv, key: u, value: f}}", "map and users need each other"),
        ("{file: a.txt, map: {csv: a.csv, key: u, value: f}, users: [u]}", "give a file, or map"),
        ("{map: {csv: a.csv, key: u}, users: [u1]}", r"map.value: required, but missing"),
        ("{map: {csv: a.csv, key: u, value: f, file: b}, users: [u]}", "map.file: unknown field"),
        ("{map: {csv: a.csv, key: u, value: f}, users: [007]}", "read as the number 7"),
        ("{map: {csv: no.csv, key: u, value: f}, users: [u1]}", r"no.csv: cannot be read"),
    ],
)
def test_what_a_sweep_file_cannot_say(tmp_path: Path, fields: str, message: str) -> None:
    root = numbered_folders(tmp_path / "images")
    with pytest.raises((ConfigError, ConfigErrors), match=rf"tiny.yaml:\d+: .*{message}"):
        tiny_sweep(tmp_path, folder_sweep(root, f"{{ids: {fields}}}"))
