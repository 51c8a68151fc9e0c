"""Plug-ins: how they are found, what they see of each other, and what is said if they fail."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unlearn_ray.core import plugins, registry, shipping
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.plugin_sources import Source

ROOT = Path(__file__).parents[2]
# A kind of part of its own, as the others take seconds to import.
CONTRACT = """\
from typing import ClassVar

from unlearn_ray.core.registry import Part


class Toy(Part):
    kind: ClassVar[str] = "toy"
    room: ClassVar[str] = "toys"
"""
PLUGIN = """\
from toys.base import Toy
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
IMPORTS


@register("NAME")
@schema
class Mine(Toy):
    size: int = 1

    def now(self):
        return NUMBER

    def late(self):
        import helper

        return helper.NUMBER
"""
PRINTED = 'print("hello")\n'


def plugin(name: str = "mine", imports: str = "from helper import NUMBER") -> str:
    return PLUGIN.replace("IMPORTS", imports).replace("NAME", name)


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A room of toys, and a process that has loaded no plug-in."""
    folder = tmp_path / "room"
    write(folder / "toys/__init__.py", "")
    write(folder / "toys/base.py", CONTRACT)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(plugins, "_state", plugins._State())
    monkeypatch.setattr(registry, "_REGISTERED", {})
    before = {*sys.modules}
    yield folder
    for name in {*sys.modules} - before:
        del sys.modules[name]


def toys() -> dict[str, Any]:
    contract: Any = importlib.import_module("toys.base")
    return registry.parts(contract.Toy)


def use(*names: str | Path, folder: Path | None = None) -> dict[str, str]:
    """What is wrong with plug-ins that cannot be used."""
    sources = [Source.of(str(name), folder or Path.cwd()) for name in names]
    return {source.name: str(error) for source, error in plugins.use(sources).items()}


def lab(folder: Path, number: int, name: str = "mine") -> Path:
    write(folder / "helper.py", f"NUMBER = {number}\n")
    return write(folder / "my_toy.py", plugin(name))


def test_a_file_and_what_lies_beside_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(lab(tmp_path / "lab", 3), plugin() + PRINTED)
    path = [*sys.path]
    assert toys() == {}
    assert use("./my_toy.py", folder=file.parent) == {}
    mine = toys()["mine"]
    assert (mine().now(), mine().late(), mine.__module__) == (3, 3, "my_toy")
    assert registry.origin(mine) == f"plug-in {file}"
    assert len(mine.code) == 16
    assert plugins.parts_in_use() == [mine]
    assert capsys.readouterr() == ("", "hello\n")
    assert use() == {}
    assert toys() == {}
    assert sys.path == path
    assert not {"my_toy", "helper"} & {*sys.modules}


def test_files_of_one_name_in_two_folders(tmp_path: Path) -> None:
    first, second = lab(tmp_path / "a", 1), lab(tmp_path / "b", 2)
    use(first)
    one = toys()["mine"]
    use(second)
    two = toys()["mine"]
    assert (two().now(), two().late()) == (2, 2)
    assert one is not two
    assert one.code != two.code
    use(first)
    assert toys()["mine"] is one
    assert (one().now(), one().late()) == (1, 1)
    assert pickle.loads(pickle.dumps(one())).code == one.code


def test_where_a_file_lies_is_no_part_of_its_code(tmp_path: Path) -> None:
    codes = set()
    for folder in ("a", "b/c"):
        use(lab(tmp_path / folder, 1))
        codes.add(toys()["mine"].code)
    assert len(codes) == 1


@pytest.mark.parametrize("edited", ["my_toy.py", "helper.py"])
def test_an_edited_file_is_loaded_again(edited: str, tmp_path: Path) -> None:
    file = lab(tmp_path, 1)
    use(file)
    before = toys()["mine"]
    use(file)
    assert toys()["mine"] is before
    with (tmp_path / edited).open("a") as text:
        text.write("# A comment.\n")
    use(file)
    assert toys()["mine"] is before
    with (tmp_path / edited).open("a") as text:
        text.write("ADDED = 1\n")
    use(file)
    assert toys()["mine"] is not before
    assert toys()["mine"].code != before.code


def test_plugins_of_one_sweep_may_import_each_other(tmp_path: Path) -> None:
    lab(tmp_path, 1)
    write(tmp_path / "other.py", "from my_toy import Mine\n" + plugin("second"))
    assert use(tmp_path / "other.py", tmp_path / "my_toy.py") == {}
    assert [*toys()] == ["mine", "second"]
    assert toys()["mine"] is sys.modules["my_toy"].Mine
    use(tmp_path / "my_toy.py")
    assert [*toys()] == ["mine"]


def test_two_of_one_name(tmp_path: Path) -> None:
    first = lab(tmp_path, 1)
    second = write(tmp_path / "other.py", plugin())
    said = use(first, second)[str(second)]
    assert "toy mine: two parts have this name: " in said
    assert f"Mine of plug-in {first}, and Mine of plug-in {second}; give one of them" in said
    assert toys() == {}


@pytest.mark.parametrize("second", ["my_toy.py", "other.py"])
def test_what_one_name_cannot_mean_twice(second: str, tmp_path: Path) -> None:
    first = lab(tmp_path / "a", 1)
    lab(tmp_path / "b", 2)
    other = write(tmp_path / "b" / second, plugin("second"))
    said = use(first, other)[str(other)]
    name = "my_toy" if second == "my_toy.py" else "helper"
    assert f"folder's {name}, but that name is taken by {tmp_path}/" in said


FAULTS = {
    "x = (": "cannot be imported: SyntaxError: '(' was never closed (mine.py, line 1)",
    "\nraise KeyError('a')": "cannot be imported: KeyError: 'a' (FILE:2); fix that code",
    plugin(imports="NUMBER = 1") + "1 / 0": "cannot be imported: ZeroDivisionError",
    "import not_there": "cannot be imported: ModuleNotFoundError: No module named 'not_there'",
    "raise SystemExit(3)": "cannot be imported: SystemExit: 3",
    "x = 1": 'it registers no part; write @register("name") above each class',
    "from .a import b": "no known parent package",
    PLUGIN.replace("size: int", "code: int").replace("IMPORTS", ""): "reserved for keys",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_file_that_cannot_be_loaded(text: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.py", text)
    path, modules = [*sys.path], {*sys.modules}
    assert FAULTS[text].replace("FILE", str(file)) in use(file)[str(file)]
    assert toys() == {}
    assert sys.path == path
    assert not {"mine"} & ({*sys.modules} - modules)
    write(file, plugin(imports="NUMBER = 1"))
    assert use(file) == {}
    assert toys()["mine"]().now() == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./none.py", "there is no file {folder}/none.py; name a Python file; relative paths"),
        ("./a_folder", "there is no file {folder}/a_folder/__init__.py"),
        (f"./{'x' * 300}.py", "there is no file"),
        ("./random.py", "random cannot be the name of a module of your own; rename the file"),
        ("./my-toy.py", "my-toy cannot be the name"),
        ("not_a.module", "there is no module of this name; install it, or name its file: ./not_a"),
        ("not a module", "not the name of a module"),
        ("", "not the name of a module"),
    ],
)
def test_what_is_no_plugin(name: str, said: str, tmp_path: Path) -> None:
    for file in ("random.py", "my-toy.py"):
        write(tmp_path / file, plugin())
    (error,) = use(name, folder=tmp_path).values()
    assert said.format(folder=tmp_path) in error


def test_modules_beside_a_sweep_are_found(tmp_path: Path) -> None:
    write(tmp_path / "own_lab/__init__.py", "")
    write(tmp_path / "own_lab/numbers.py", "NUMBER = 5\n")
    write(tmp_path / "own_lab/toys.py", plugin(imports="from .numbers import NUMBER"))
    assert use("own_lab.toys", folder=tmp_path) == {}
    mine = toys()["mine"]
    assert mine().now() == 5
    assert use() == {}
    assert toys() == {}
    assert use("own_lab.toys", folder=tmp_path) == {}
    assert toys()["mine"] is mine
    write(tmp_path / "other/own_lab/more.py", plugin(imports="NUMBER = 1"))
    said = use("own_lab.more", folder=tmp_path / "other")["own_lab.more"]
    assert f"name is taken by {tmp_path}/own_lab/__init__.py; rename one" in said
    write(tmp_path / "pack/__init__.py", plugin("packed", "NUMBER = 7"))
    assert use("./pack", folder=tmp_path) == {}
    assert toys()["packed"]().now() == 7


def test_a_file_of_this_package_is_itself(tmp_path: Path) -> None:
    import unlearn_ray.core.words as words

    said = use(Path(words.__file__))[words.__file__]
    assert "it registers no part" in said
    assert sys.modules["unlearn_ray.core.words"] is words


def test_given_plugins_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lab(tmp_path, 1)
    other = write(tmp_path / "sweep/other.py", plugin("second", "NUMBER = 2"))
    plugins.give(["my_toy.py"])
    assert [*toys()] == ["mine"]
    assert use(other) == {}
    assert [*toys()] == ["mine", "second"]
    use()
    assert [*toys()] == ["mine"]
    with pytest.raises(ConfigError, match="there is no file"):
        plugins.give(["none.py"])
    assert use(other) == {}
    assert [*toys()] == ["second"]


def distribution(folder: Path, name: str, entry: str) -> None:
    write(
        folder / f"{name}-1.0.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    )
    write(folder / f"{name}-1.0.dist-info/entry_points.txt", f"[unlearn_ray.parts]\n{entry}\n")


def test_entry_points(room: Path) -> None:
    distribution(room, "lab-toys", "toys = lab_toys.parts")
    write(room / "lab_toys/__init__.py", "NUMBER = 4\n")
    write(room / "lab_toys/parts.py", plugin(imports="from . import NUMBER"))
    assert "lab_toys.parts" not in sys.modules
    plugins.give(["lab_toys.parts"])
    mine = toys()["mine"]
    assert mine().now() == 4
    assert registry.origin(mine) == "entry point toys of lab-toys 1.0"
    plugins.give([])
    assert toys()["mine"] is mine


def test_a_broken_entry_point_is_told_where_a_part_is_missing(room: Path) -> None:
    distribution(room, "broken-toys", "toys = broken_toys")
    distribution(room, "gone-toys", "toys = gone_toys")
    write(room / "broken_toys.py", f"{plugin(imports='NUMBER = 1')}\n1 / 0\n")
    assert toys() == {}
    contract: Any = importlib.import_module("toys.base")
    with pytest.raises(ConfigError) as told:
        registry.find(contract.Toy, "mine")
    assert "'mine': unknown toy; entry point toys of broken-toys 1.0 cannot be imp" in str(
        told.value
    )
    assert "ZeroDivisionError" in str(told.value)
    assert "entry point toys of gone-toys 1.0 cannot be imported: ModuleNotFound" in str(told.value)
    assert len(plugins.broken()) == 2


def test_two_distributions_with_one_name(room: Path) -> None:
    for name in ("one", "two"):
        distribution(room, f"{name}-toys", f"{name} = {name}_toys")
        write(room / f"{name}_toys.py", plugin(imports="NUMBER = 1"))
    for _ in range(2):
        with pytest.raises(ConfigError) as told:
            toys()
        assert "Mine of entry point one of one-toys 1.0" in str(told.value)
        assert "Mine of entry point two of two-toys 1.0" in str(told.value)


# Another process on another machine: it has neither the files nor their folders.
ELSEWHERE = """\
import pickle, sys, traceback
from unlearn_ray.core import plugins, shipping

shipment, sent = pickle.load(sys.stdin.buffer)
shipping.unpack(shipment)
thing = pickle.loads(sent)
plugins.load_waiting()
print(type(thing).code, thing.now(), thing.late(), *sorted(plugins.registry.registered()))
try:
    thing.fail()
except AttributeError:
    pass
try:
    thing.now(1)
except TypeError:
    pass
try:
    exec("raise ValueError", vars(sys.modules[type(thing).__module__]))
except ValueError:
    pass
import inspect
print(inspect.getsource(type(thing)).splitlines()[-1].strip())
"""


def elsewhere(room: Path, thing: object, *modules: str) -> list[str]:
    codes = {(cls.__module__, cls.__qualname__): cls.code for cls in registry.registered().values()}
    shipment = shipping.Shipment(shipping.pack(modules), codes, modules)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        input=pickle.dumps((shipment, pickle.dumps(thing))),
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{room}"},
        cwd="/",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def test_code_is_imported_where_its_files_are_not(room: Path, tmp_path: Path) -> None:
    file = lab(tmp_path / "lab", 3)
    write(tmp_path / "lab/second.py", plugin("second", "import my_toy\nNUMBER = 1"))
    assert use(file, tmp_path / "lab/second.py") == {}
    mine = toys()["mine"]
    said = elsewhere(room, mine(), *plugins.modules_in_use())
    assert said[0] == f"{mine.code} 3 3 ('toy', 'mine') ('toy', 'second')"
    assert said[-1] == "return helper.NUMBER"


def test_a_package_is_sent_with_what_its_import_runs(room: Path, tmp_path: Path) -> None:
    write(tmp_path / "own_lab/__init__.py", "from .level import LEVEL\n")
    write(tmp_path / "own_lab/level.py", "LEVEL = 1\n")
    write(tmp_path / "own_lab/bare/deep.py", "NUMBER = 6\n")
    write(tmp_path / "own_lab/unused.py", "raise SystemExit\n")
    write(tmp_path / "own_lab/toys.py", plugin(imports="from .bare.deep import NUMBER"))
    write(tmp_path / "helper.py", "NUMBER = 8\n")
    assert use("own_lab.toys", folder=tmp_path) == {}
    assert {*shipping.pack(["own_lab.toys"])} == {
        *("own_lab", "own_lab.level", "own_lab.bare", "own_lab.bare.deep", "own_lab.toys"),
        "helper",
        *("toys", "toys.base"),
    }
    said = elsewhere(room, toys()["mine"](), "own_lab.toys")
    assert said[0].split()[1:3] == ["6", "8"]
