"""Digests of code: what is run counts, wherever it lies beside the part, and nothing else."""

from __future__ import annotations

import importlib
import linecache
import os
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest
from ray import cloudpickle

from tests.core.own_parts import METHOD, Project, project
from unlearn_ray import methods
from unlearn_ray.core.code import digest
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.modules import Place, locate
from unlearn_ray.methods.finetune import Finetune

__all__ = ["project"]
ROOT = Path(__file__).parents[2]
PLAIN = METHOD.replace("IMPORTS\n", "")


def importing(*lines: str) -> str:
    return METHOD.replace("IMPORTS", "\n".join(lines))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# half", "# one half"),
        ("  # half", ""),
        ('"""A method of one\'s own."""\n', ""),
        ('    """It forgets by half."""\n', '    """It forgets.\n\n    By half.\n    """\n'),
        ('        """Its loss."""\n', "        # Its loss.\n"),
        ("return 2 * model(batch)", "return (2\n                * model(\n batch))"),
        ('"mine"', "'mi' r'ne'"),
        ("0.5", "5e-1"),
        ("\n", "\r\n"),
    ],
)
def test_words_and_layout_do_not_count(old: str, new: str) -> None:
    assert old in PLAIN
    assert digest({"mine": PLAIN.replace(old, new)}) == digest({"mine": PLAIN})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("return 2 *", "return 3 *"),
        ("2 *", "2 +"),
        ("2 *", "2.0 *"),
        ("2 *", "True *"),
        ("model(batch)", "model(*batch)"),
        ("rate", "speed"),
        ("@schema\n", ""),
        ("methods.base", "methods.other"),
        ("return 2", "model.eval()\n        return 2"),
    ],
)
def test_what_is_run_counts(old: str, new: str) -> None:
    assert old in PLAIN
    assert digest({"mine": PLAIN.replace(old, new)}) != digest({"mine": PLAIN})


def test_a_docstring_may_be_all_of_a_body() -> None:
    first, second = 'def f():\n    """One."""\n', 'def f():\n    """Another."""\n'
    assert digest({"m": first}) == digest({"m": second})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = None", "x = 'None'"),
        ("x = 1", "x = '1'"),
        ("x = b'a'", "x = 'a'"),
        ("x = ...", "x = None"),
        ("x = f'{a}b'", "x = f'{a}' + 'b'"),
        ("x = f'{a:{b}}'", "x = f'{a}{b}'"),
        ("x = f'{a!r}'", "x = f'{a}'"),
        ("f(a, b=c)", "f(a, c)"),
        ("def f(a, /, *, b): ...", "def f(a, *, b): ..."),
        ("def f(*, a, b=1): ...", "def f(*, a=1, b): ..."),
        ("x = {**a}", "x = {a: a}"),
        ("if a:\n  b\nelse:\n  c", "if a:\n  b\nc"),
    ],
)
def test_different_trees_differ(one: str, other: str) -> None:
    assert digest({"m": one}) != digest({"m": other})


def test_every_python_gives_the_same() -> None:
    # A digest that depends on Python would part a cluster's workers from their driver.
    text = PLAIN + (
        "def f(x, *, a, b=1):\n"
        "    async def g(y): ...\n"
        '    return f"{x:>{a}}" f"b{x!r}" "c" f"" f"{x=}" f"{x:}" f"{x:.2f}{{y}}" rf"\\d{x}", '
        "{**{}}, -1, 1j, 2.5e-8, 0xFF, b'\\0', ...\n"
        "match f:\n    case None | {'k': 1, **rest} if rest: pass\n    case _: pass\n"
    )
    assert digest({"m": text}) == "b0913d55e4f566d7"


def test_long_sums_are_no_trouble() -> None:
    assert digest({"m": "x = " + " + ".join(["y"] * 900)})
    assert digest({"m": f"x = 0x{'f' * 9000}"})


def test_names_and_places_of_modules_count() -> None:
    assert digest({"a": "x = 1", "b": "x = 2"}) != digest({"a": "x = 2", "b": "x = 1"})


def test_a_part_of_the_package_has_no_code() -> None:
    assert Finetune.code == ""
    assert Finetune.code_identity() == {"name": "finetune", "revision": Finetune.revision}


def test_an_edited_part_has_another_code(project: Project) -> None:
    project.write("mine.py", PLAIN)
    before = project.load("mine").code
    assert len(before) == 16
    assert int(before, 16)
    project.write("mine.py", PLAIN.replace("# half", "# 1/2"))
    assert project.load("mine").code == before
    project.write("mine.py", PLAIN.replace("2 *", "3 *"))
    assert project.load("mine").code != before


def counts(project: Project, module: str, edited: str) -> bool:
    """Whether an edit of a file beside changes the code of the part."""
    before = project.load(module).code
    path = project.folder / edited
    old = path.read_text()
    path.write_text(f"{old}\nADDED = 1\n")
    after = project.load(module).code
    path.write_text(old)
    assert project.load(module).code == before
    return bool(before != after)


@pytest.mark.parametrize(
    "line",
    [
        "import helper",
        "import helper as other",
        "from helper import NUMBER",
        "from helper import *",
        "import between",
        "def late():\n    from helper import NUMBER",
        "try:\n    import helper\nexcept ImportError:\n    pass",
        "import tools.deep.helper",
        "from tools.deep import helper",
        "from tools.deep.helper import NUMBER",
        "from tools import used",
        "from bare import helper",
        "import json, helper, numpy.linalg",
    ],
)
def test_helpers_beside_a_single_file_count(project: Project, line: str) -> None:
    helper = "NUMBER = 1\n"
    project.write("helper.py", helper)
    project.write("between.py", "import helper\n")
    project.write("tools/__init__.py", "from .deep.helper import NUMBER as used\n")
    project.write("tools/deep/__init__.py", "")
    project.write("tools/deep/helper.py", helper)
    project.write("bare/helper.py", helper)
    project.write("mine.py", importing(line))
    edited = next(
        place
        for word, place in (
            ("tools", "tools/deep/helper.py"),
            ("bare", "bare/helper.py"),
            ("", "helper.py"),
        )
        if word in line
    )
    assert counts(project, "mine", edited)
    for other in {"helper.py", "tools/deep/helper.py", "bare/helper.py"} - {edited}:
        assert not counts(project, "mine", other)


def test_what_is_not_beside_does_not_count(project: Project, tmp_path: Path) -> None:
    project.write("lib/python3/site-packages/installed.py", "NUMBER = 1\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "shared.py").write_text("NUMBER = 1\n")
    project.write("unused.py", "NUMBER = 1\n")
    sys.path += [str(elsewhere), str(project.folder / "lib/python3/site-packages")]
    try:
        lines = "try:\n    import missing\nexcept ImportError:\n    import installed, shared"
        project.write("mine.py", importing(lines))
        assert not counts(project, "mine", "lib/python3/site-packages/installed.py")
        assert not counts(project, "mine", "unused.py")
        assert not counts(project, "mine", str(elsewhere / "shared.py"))
    finally:
        del sys.path[-2:]
        sys.modules.pop("shared", None)


@pytest.mark.parametrize(
    ("line", "edited"),
    [
        ("from . import losses", "lab/methods/losses.py"),
        ("from .losses import NUMBER", "lab/methods/losses.py"),
        ("from ..common import NUMBER", "lab/common.py"),
        ("from .. import common", "lab/common.py"),
        ("from .. import LEVEL", "lab/__init__.py"),
        ("from .. import LEVEL", "lab/level.py"),
        ("import lab.common", "lab/common.py"),
        ("import lab.common", "lab/__init__.py"),
        ("from lab.methods import losses", "lab/common.py"),
    ],
)
def test_within_a_package_its_own_modules_count(project: Project, line: str, edited: str) -> None:
    in_a_package(project, line)
    assert counts(project, "lab.methods.mine", edited)


@pytest.mark.parametrize(
    ("line", "edited"),
    [
        ("from . import losses", "lab/other.py"),
        ("from . import losses", "lab/methods/__init__.py"),
        ("from .. import common", "beside.py"),
        ("import beside", "beside.py"),
        ("import lab.common as common", "lab/__init__.py"),
    ],
)
def test_the_rest_of_a_package_does_not(project: Project, line: str, edited: str) -> None:
    in_a_package(project, line)
    assert not counts(project, "lab.methods.mine", edited)


def in_a_package(project: Project, line: str) -> None:
    project.write("lab/__init__.py", "from .level import LEVEL\n")
    project.write("lab/level.py", "LEVEL = 1\n")
    project.write("lab/common.py", "NUMBER = 1\n")
    project.write("lab/other.py", "NUMBER = 1\n")
    project.write("lab/methods/__init__.py", "")
    project.write("lab/methods/losses.py", "from lab.common import NUMBER\n")
    project.write("lab/methods/mine.py", importing(line))
    project.write("beside.py", "NUMBER = 1\n")


def test_a_file_that_a_room_was_given_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(project.folder)])
    lines = "from unlearn_ray.methods.helper import NUMBER"
    project.write("helper.py", "NUMBER = 1\n")
    project.write("mine.py", importing(lines, "from unlearn_ray.methods import neggrad"))
    assert counts(project, "unlearn_ray.methods.mine", "helper.py")


def test_imports_may_go_round(project: Project) -> None:
    project.write("mine.py", importing("import one"))
    project.write("one.py", "import two\n")
    project.write("two.py", "import one, mine\n")
    assert counts(project, "mine", "two.py")


def test_base_classes_outside_count(project: Project, tmp_path: Path) -> None:
    base = PLAIN.replace("Mine", "Base").replace('"mine"', '"base"')
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "lab").mkdir(parents=True)
    (elsewhere / "lab" / "__init__.py").write_text("")
    (elsewhere / "lab" / "base.py").write_text(f"{base}\nfrom . import more\n")
    (elsewhere / "lab" / "more.py").write_text("")
    text = importing("from lab.base import Base").replace("class Mine(Method)", "class Mine(Base)")
    project.write("mine.py", text)
    project = Project(tmp_path)
    sys.path.insert(0, str(elsewhere))
    try:
        assert counts(project, "mine", str(elsewhere / "lab/base.py"))
        assert counts(project, "mine", str(elsewhere / "lab/more.py"))
        assert not counts(project, "mine", str(elsewhere / "lab/__init__.py"))
    finally:
        sys.path.remove(str(elsewhere))


def test_looking_for_modules_runs_none(project: Project) -> None:
    project.write("loud/__init__.py", "raise SystemExit('imported')\n")
    project.write("loud/inner.py", "raise SystemExit('imported')\n")
    project.write("mine.py", importing("def late():\n    import loud.inner"))
    assert counts(project, "mine", "loud/inner.py")
    assert "loud" not in sys.modules
    assert locate("loud.missing") is None
    assert locate("json.decoder.JSONDecoder") is None


def test_a_helper_that_is_no_python_counts_as_it_is(project: Project) -> None:
    project.write("mine.py", importing("def late():\n    import helper"))
    project.write("helper.py", "print 'of another Python'\n")
    assert counts(project, "mine", "helper.py")


def test_an_edit_while_it_runs_changes_nothing(project: Project) -> None:
    project.write("mine.py", PLAIN)
    mine = project.load("mine")
    before = mine.code
    project.write("mine.py", PLAIN.replace("2 *", "3 *"))
    assert mine().content()["code"] == before


def test_code_goes_along_with_a_class_that_is_sent_by_value(project: Project) -> None:
    project.write("mine.py", PLAIN)
    mine = project.load("mine")
    cloudpickle.register_pickle_by_value(sys.modules["mine"])
    sent = cloudpickle.dumps(mine(rate=0.1))
    before = mine(rate=0.1).content()
    cloudpickle.unregister_pickle_by_value(sys.modules["mine"])
    (project.folder / "mine.py").unlink()
    project.forget()
    assert pickle.loads(sent).content() == before


def test_a_class_that_is_sent_by_name_has_the_code_that_is_run(project: Project) -> None:
    project.write("mine.py", PLAIN)
    mine = project.load("mine")
    sent, before = cloudpickle.dumps(mine()), mine.code
    project.forget()
    assert pickle.loads(sent).code == before
    project.write("mine.py", PLAIN.replace("2 *", "3 *"))
    project.forget()
    assert pickle.loads(sent).code != before


def run_cell(number: int, text: str | None) -> types.ModuleType:
    """Run a notebook's cell; without text, one whose source is not kept."""
    name = f"<cell {number}>"
    session = types.ModuleType("session")
    sys.modules["session"] = session
    if text is not None:
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text or PLAIN, name, "exec"), vars(session))
    return session


def test_a_cell_of_a_notebook_has_code(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    project.write("helper.py", "NUMBER = 1\n")
    text = importing("import helper")
    before = run_cell(1, text).Mine.code
    assert run_cell(2, text.replace("# half", "")).Mine.code == before
    assert run_cell(3, text.replace("2 *", "3 *")).Mine.code != before
    project.write("helper.py", "NUMBER = 2\n")
    assert run_cell(4, text).Mine.code != before


def test_without_source_there_is_no_part(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"class Mine: its source cannot be read.*move it to a"):
        run_cell(5, None)


def test_a_file_has_the_same_code_run_and_imported(project: Project) -> None:
    project.write("helper.py", "NUMBER = 1\n")
    project.write("mine.py", importing("import helper") + "\nprint(Mine.code)\n")
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    ran = [
        subprocess.run(
            [sys.executable, *how],
            cwd=project.folder, env=environment, capture_output=True, text=True, check=True,
        ).stdout.strip()
        for how in (["mine.py"], ["-m", "mine"])
    ]  # fmt: skip
    assert {*ran} == {project.load("mine").code}


@pytest.mark.parametrize("taken", ["revision", "code", "name"])
def test_a_field_cannot_hide_what_every_part_has(project: Project, taken: str) -> None:
    project.write("mine.py", PLAIN.replace("rate: float = 0.5", f"{taken}: int = 2"))
    with pytest.raises(ConfigError, match=rf"field {taken} of Mine.*{taken}: ClassVar"):
        project.load("mine")


def test_what_a_failed_import_left_lies_nowhere(project: Project) -> None:
    """A package without a file asks its parent where it lies, and that is gone."""
    project.write("outer/__init__.py", "import outer.inner\nraise ImportError\n")
    project.write("outer/inner/part.py", "")
    with pytest.raises(ImportError):
        importlib.import_module("outer")
    assert "outer" not in sys.modules
    inner = sys.modules["outer.inner"]
    with pytest.raises(KeyError):
        list(inner.__path__)
    assert locate("outer.inner") == Place("outer.inner", None)
    del sys.modules["outer.inner"]
