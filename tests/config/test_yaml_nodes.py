"""YAML as people and their editors write it, and as nobody should."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.yaml_file import override, read_tree
from unlearn_ray.config.yaml_tree import ConfigErrors, Value
from unlearn_ray.core.errors import ConfigError

GOOD = """\
name: small
dataset: digits
forget_set: random
model: resnet8
family: simclr
methods:
  finetune: &base
    epochs: 5
    learning_rate: 0.01
  neggrad:
    <<: *base
    epochs: 7
"""


def written(folder: Path, data: str | bytes, name: str = "x.yaml") -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(folder: Path, data: str | bytes) -> str:
    """What is said of a file, in lines that print."""
    path = written(folder, data)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    told = str(caught.value)
    for line in told.splitlines():
        assert line.isprintable()
        assert len(line) <= 600
    return told.replace(f"{folder}/", "")


# Merge keys


def test_a_merge_key_brings_the_fields_of_a_mapping(tmp_path: Path) -> None:
    finetune, neggrad = load_sweep(written(tmp_path, GOOD)).studies
    assert finetune.fixed == {"epochs": 5, "learning_rate": 0.01}
    assert neggrad.fixed == {"epochs": 7, "learning_rate": 0.01}


MERGED = {
    "own fields win wherever they stand": ("{x: 1, <<: {x: 2, y: 3}}", {"x": 1, "y": 3}),
    "the first of several wins": ("{<<: [{x: 1}, {x: 2, y: 3}]}", {"x": 1, "y": 3}),
    "merges of merges": ("{<<: {<<: {x: 1, y: 2}, y: 3}}", {"x": 1, "y": 3}),
    "nothing to merge": ("{<<: [], x: 1}", {"x": 1}),
    "quoted it is a name": ('{"<<": {x: 1}}', {"<<": {"x": 1}}),
    "as a value it is text": ("{x: <<}", {"x": "<<"}),
}


@pytest.mark.parametrize("case", MERGED)
def test_merges(case: str, tmp_path: Path) -> None:
    text, value = MERGED[case]
    assert read_tree(written(tmp_path, f"a: {text}\n")).plain == {"a": value}
    assert override(Value({}, "x", ""), f"a={text}").plain == {"a": value}


def test_merged_fields_come_first_in_the_order_of_their_mapping(tmp_path: Path) -> None:
    tree = read_tree(written(tmp_path, "a: {z: 1, <<: {d: 1, c: 2, b: 3}, c: 4}\n"))
    assert list(tree.plain["a"]) == ["d", "c", "b", "z"]


def test_what_is_merged_is_told_of_where_it_is_written(tmp_path: Path) -> None:
    text = GOOD.replace("epochs: 5", "epochs: -5").replace("    epochs: 7\n", "")
    told = refused(tmp_path, text).splitlines()
    assert [line.split(": must")[0] for line in told] == [
        "x.yaml:8: methods.finetune.epochs = -5",
        "x.yaml:8: methods.neggrad.epochs = -5",
    ]


def test_a_merged_field_that_its_new_place_has_not(tmp_path: Path) -> None:
    text = GOOD.replace("finetune", "l1_sparsity").replace("epochs: 5", "coefficient: 1")
    assert refused(tmp_path, text).startswith("x.yaml:8: methods.neggrad.coefficient: unknown")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a {<<: *a}", "x.yaml:1: a.<<: a mapping merged into itself; remove the merge"),
        ("a: &a {b: {<<: *a}}", "x.yaml:1: a.b.<<: a mapping merged into itself"),
        ("a: &a {<<: [{b: 1}, *a]}", "x.yaml:1: a.<<: a mapping merged into itself"),
        ("a: &a {b: *a}", "x.yaml:1: a.b: an alias that contains itself"),
        ("a:\n  <<: 3", "x.yaml:2: a.<<: only a mapping, or a list of mappings, can be merged"),
        ("a: {<<: }", "x.yaml:1: a.<<: only a mapping, or a list of mappings, can be merged"),
        ("a: {<<: [{}, 3]}", "x.yaml:1: a.<<: only a mapping, or a list of mappings"),
        ("a: {<<: [[{}]]}", "x.yaml:1: a.<<: only a mapping, or a list of mappings"),
        ("a: {<<: {}, <<: {}}", "x.yaml:1: a.<<: given twice, first on line 1"),
        ("a: {<<: *b}", "not YAML: found undefined alias 'b'"),
    ],
)
def test_what_cannot_be_merged(text: str, said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, text)


# Text made elsewhere


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode("utf-8-sig"),
        GOOD.encode("utf-16"),
        b"\xfe\xff" + GOOD.encode("utf-16-be"),
        GOOD.encode("utf-32"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\r").encode(),
        GOOD.replace("\n", "\r\n").encode("utf-16"),
        b"%YAML 1.2\n---\n" + GOOD.encode() + b"...\n",
        GOOD.replace("dataset: digits", "dataset:\tdigits").encode(),
        GOOD.replace("digits\n", "digits\t# a comment\n").encode(),
        GOOD.replace("family:", "\t\n \t# a comment\nfamily:").encode(),
        GOOD.replace("dataset: digits", "dataset: {digits:\t{\t}\t}\t").encode(),
        GOOD.replace("random", "{random:\n\t{\tfraction:\t0.1}\t}").encode(),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_other_encodings_and_line_ends(data: bytes, tmp_path: Path) -> None:
    sweep = load_sweep(written(tmp_path, data))
    assert (sweep.name, len(sweep.studies)) == ("small", 2)


def test_lines_are_counted_behind_every_line_end(tmp_path: Path) -> None:
    for end in ("\n", "\r\n", "\r"):
        text = GOOD.replace("epochs: 7", "epoch: 7").replace("\n", end)
        assert refused(tmp_path, text).startswith("x.yaml:12: methods.neggrad.epoch: unknown")
        assert "x.yaml:3:1: not YAML" in refused(tmp_path, f"a: 1{end}b: 2{end}\tc: 3{end}")


def test_text_without_a_mark_is_utf_8(tmp_path: Path) -> None:
    assert "UTF-16 without a byte order mark" in refused(tmp_path, GOOD.encode("utf-16-le"))
    assert "not UTF-8 text" in refused(tmp_path, GOOD.replace("small", "größe").encode("latin-1"))
    assert "not UTF-16 text" in refused(tmp_path, GOOD.encode("utf-16")[:-1])


def test_a_file_whose_name_is_no_sweeps_name(tmp_path: Path) -> None:
    text = GOOD.replace("name: small\n", "")
    path = written(tmp_path, text, "größe.yaml")
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert str(caught.value) == (
        f"{path}: the sweep has no name, and its file's, größe, cannot be one: a sweep's name has "
        "only letters from a to z, digits, `.`, `_` and `-`, the last three not at the start; "
        "add `name: ...` to the file"
    )
    assert load_sweep(written(tmp_path, GOOD, "größe.yaml")).name == "small"
    assert load_sweep(path, ["name=size"]).name == "size"


# What would stop a program


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: " + "[" * 5000, "x.yaml:1: brackets or lines nested more than 50 deep"),
        ("a: " + "{a: " * 60 + "1" + "}" * 60, "nested more than 50 deep"),
        ("a:\n  " + "- " * 5000 + "1", "nested more than 50 deep"),
        ("".join(f"{' ' * n}a:\n" for n in range(60)), "nested more than 50 deep"),
        ("a: " + "9" * 5000, "does not fit in 64 bits"),
        ("a: -" + "9" * 5000, "does not fit in 64 bits"),
        ("a: 9223372036854775808", "does not fit in 64 bits"),
        ("a: 0x" + "f" * 17, "does not fit in 64 bits"),
        ("a: 1e400", "beyond the largest 64-bit float"),
        ('a: "x\\0"', 'a = "x\\u0000": the text holds the control character U+0000'),
        ('a: "\\x1b[2J"', "the text holds the control character U+001B"),
        ('a: "\\ud800"', "the text is not Unicode: it holds a lone surrogate, U+D800"),
        ('"\\x1b[2J": 1', "a field's name holds the control character U+001B"),
        ('"\\ud800": 1', "a field's name is not Unicode"),
        ("a: " + "x" * 5000, "the text has 5,000 characters, and the limit is 4,096"),
        ("x" * 5000 + ": 1", "not YAML"),
        (f'"{"x" * 500}": 1', "unknown field"),
        ("a: !!python/object:os.system {b: 1}", "unknown tag tag:yaml.org,2002:python/object"),
        ("a: !!set {b: }", "unknown tag"),
        ("a: !x [1]", "unknown tag !x"),
        ("!!python/name:os.system a: 1", "unknown tag"),
        ("a: !!int x", "not a value of tag:yaml.org,2002:int"),
        ("#" * 300_000, "has 300,000 bytes, more than the limit of 250,000"),
    ],
    ids=lambda text: text[:30],
)
def test_what_no_sweep_needs(text: str, said: str, tmp_path: Path) -> None:
    started = time.process_time()
    assert said in refused(tmp_path, text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("depth", [9, 30, 2000])
@pytest.mark.parametrize("link", ["[{}]", "{{x: [{}]}}", "{{<<: [{}]}}", "{{y: 1, <<: [{}]}}"])
def test_aliases_of_aliases(depth: int, link: str, tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    for number in range(1, depth):
        ten = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"a{number}: &a{number} {link.format(ten)}")
    started = time.process_time()
    told = refused(tmp_path, "\n".join(lines))
    assert "more than 20,000 values, aliases expanded" in told
    assert time.process_time() - started < 10


def test_a_long_chain_of_aliases(tmp_path: Path) -> None:
    lines = ["a0: &a0 {}", *(f"a{n}: &a{n} {{b: *a{n - 1}}}" for n in range(1, 100))]
    assert "aliases of aliases, nested more than 50 deep" in refused(tmp_path, "\n".join(lines))


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, said in {
        tmp_path / "fifo.yaml": "is a pipe, a socket or a device",
        Path("/dev/zero"): "is a pipe, a socket or a device",
        tmp_path / "folder.yaml": "is a folder",
        Path("a\0b.yaml"): "holds a NUL character",
        Path("\ud800.yaml"): "holds a lone surrogate, which no file name has",
        Path("~nosuchuser/x.yaml"): "names a user whose home folder is not known",
        tmp_path / ("x" * 300): "File name too long",
        tmp_path / "\udcff.yaml": "no such file",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_sweep(name)
        assert said in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    assert load_sweep(written(tmp_path, GOOD, "\udcff.yaml")).name == "small"


def test_many_errors_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD + "".join(f"field{n}: 1\n" for n in range(900)))
    with pytest.raises(ConfigErrors) as caught:
        load_sweep(path)
    *told, last = str(caught.value).splitlines()
    assert (len(told), last) == (20, "and 880 more; fix these first")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        (".".join(["a"] * 3000) + "=1", "more than 20 names or 10,000 characters"),
        ("a=" + "x" * 20_000, "more than 20 names or 10,000 characters"),
        ("a\x1b[2J=1", "a name holds the control character U+001B"),
        ("a\udcff=1", "a name is not Unicode"),
        ("name=\udcff", "not YAML: it holds the character U+DCFF"),
        ("name=\0", "not YAML: it holds the character U+0000"),
        ('name="\\0"', "the text holds the control character U+0000"),
        ("search.trials=" + "9" * 5000, "does not fit in 64 bits"),
        ("search=" + "[" * 5000, "nested more than 50 deep"),
        ("search={<<: 3}", "only a mapping, or a list of mappings"),
        ("store={a: geheim}", "must be a valid string"),
        ("store=[s3://key:geheim@b", "not YAML"),
        ("store:s3://key:geheim@b", "not of the form key=value"),
        ("store:s3://b/x?secret_key=geheim", "unknown field"),
        ("methods.finetune.epochs=s3://b/x?secret_key=geheim", "must be a valid integer"),
        ("model=s3://key:gehe/im:geheim@b", "unknown model"),
        ("log={mlflow: {tracking_uri: 'http://me:geheim@host'}}", "credentials"),
    ],
    ids=lambda text: text[:20],
)
def test_an_override_that_no_sweep_needs(assignment: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path, [assignment])
    told = str(caught.value)
    assert said in told
    assert told.isprintable()
    assert len(told) <= 600
    assert "geheim" not in told


@pytest.mark.parametrize("store", ["a\0b", "\udcff", "x\x1b[2J", "y" * 5000, ""])
def test_a_store_that_has_no_name(store: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_sweep(written(tmp_path, GOOD), store=store)
    assert str(caught.value).startswith("--store URL: ")
    assert str(caught.value).isprintable()
