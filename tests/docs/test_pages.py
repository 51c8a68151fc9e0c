"""How blocks are found in pages, and what their runners refuse: on small pages and blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import Block, blocks_of, commands, pages
from tests.docs.shell import is_known, run_command, simple_commands
from tests.docs.sweep_blocks import planned, sweeps
from tests.docs.test_snippets import runner
from tests.docs.world import World
from unlearn_ray.core.errors import ConfigError

PAGE = """\
# A page

```sh
one
```

`a.yaml`:

<!-- not run: for a reason -->
```yaml
a: 1

b: 2
```

- In a list:

    ~~~python
    if True:
        pass
    ~~~

````
```
not a block of its own
```
````

<!-- not run: too far away -->

<!-- run by: tests/x.py -->
```
last
```
"""
NOWHERE = World(Path("/nowhere"), ("aa", "bb"), Path("/elsewhere"))


def blocks(text: str, folder: Path) -> list[Block]:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return blocks_of(page)


def block(text: str, kind: str = "sh") -> Block:
    return Block("page.md", 1, kind, text, None, ())


def test_every_kind_of_fence_is_found(tmp_path: Path) -> None:
    found = blocks(PAGE, tmp_path)
    assert [each.kind for each in found] == ["sh", "yaml", "python", "", ""]
    assert [each.line for each in found] == [3, 10, 18, 23, 32]
    assert found[1].text == "a: 1\n\nb: 2\n"
    assert found[2].text == "if True:\n    pass\n"
    assert found[3].text == "```\nnot a block of its own\n```\n"
    assert [each.file for each in found] == [None, "a.yaml", None, None, None]


def test_a_mark_is_right_before_its_block(tmp_path: Path) -> None:
    found = blocks(PAGE, tmp_path)
    assert found[1].mark("not run") == "for a reason"
    assert found[1].mark("run by") is None
    assert [mark.says for mark in found[4].marks] == ["run by"]
    for wrong in (
        "<!-- not run -->",
        "<!-- not run: -->",
        "<!-- not run:  -->",
        "<!-- skip: x -->",
    ):
        (only,) = blocks(f"{wrong}\n```\nx\n```\n", tmp_path)
        assert only.marks == (), wrong


def test_a_block_without_an_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md:2: this block has no end"):
        blocks("a\n```sh\nb\n", tmp_path)


def test_links_to_pages_elsewhere_are_no_pages_of_their_own() -> None:
    names = [str(page) for page in pages()]
    assert any(name.endswith("cluster/README.md") for name in names)
    assert not any(name.endswith("docs/cluster.md") for name in names)


def test_commands_go_on_over_lines() -> None:
    text = "# a comment\none --a \\\n    b   # said\ntwo 'x\n  y'\n\n"
    assert commands(block(text)) == ["one --a      b   # said", "two 'x\n  y'"]
    with pytest.raises(ValueError, match=r"page\.md:1: a quotation is not closed"):
        commands(block("two 'x\n"))


def test_each_call_of_a_line() -> None:
    found = [*simple_commands("a b; c 'd;e' && f > out.txt  # g")]
    assert found == [["a", "b"], ["c", "d;e"], ["f"]]


@pytest.mark.parametrize(
    ("kind", "text", "known"),
    [
        ("sh", "x", True),
        ("", "unlearn-ray list", True),
        ("", "make test   # tests", True),
        ("", "a drawing", False),
        ("", "", False),
        ("haskell", "main = pure ()", False),
    ],
)
def test_what_has_a_runner(kind: str, text: str, known: bool) -> None:
    assert (runner(block(text, kind)) is not None) == known
    assert is_known("kubectl get pods") is False


@pytest.mark.parametrize(
    "command",
    [
        "kubectl get pods",
        "unlearn-ray results ./store comprae",
        "unlearn-ray run quickstart --storr ./store",
        "python -m unlearn_ray.sweep quickstart --storr x",
        "make tests",
        "pip install 'unlearn_ray[gpus]'",
        "ray job submit --working-dirr . -- python -m unlearn_ray.sweep quickstart",
        "ray job submit --working-dir . -- python -m unlearn_ray.sweep --nothing",
        "ray jobs list",
        "sbatch job.sbatch",
        "cluster/lokal.sh start",
    ],
)
def test_a_command_that_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        run_command(command, NOWHERE)


def test_the_sweep_of_a_run_is_read() -> None:
    run_command("unlearn-ray run quickstart --set search.trials=3", NOWHERE)
    with pytest.raises(ConfigError, match="did you mean trials"):
        run_command("unlearn-ray run quickstart --set search.trails=3", NOWHERE)


def test_alternatives_are_sweeps_of_their_own(tmp_path: Path) -> None:
    text = "search: {trials: 1}\nsearch: {trials: 2}\nmodel: resnet8\nseeds: {tuning: [8]}\n"
    found = [planned(each, tmp_path) for each in sweeps(text)]
    assert [sweep.search.trials for sweep in found] == [1, 2]
    assert {sweep.seeds.tuning for sweep in found} == {(8,)}
    inner = "search:\n  trials: 1\n  trials: 2\n  trials: 3\n"
    assert [planned(each, tmp_path).search.trials for each in sweeps(inner)] == [1, 2, 3]
    with pytest.raises(ConfigError, match="did you mean search"):
        planned(next(sweeps("serach: {trials: 1}\n")), tmp_path)
