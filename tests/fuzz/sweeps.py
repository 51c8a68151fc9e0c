"""Sweep files: drawn from the schemas, and real ones, with hard values and broken text."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz.values import REAL, STORES, TEXT, WHOLE, emitted, hard
from unlearn_ray.config.fields import default_of, schema_fields
from unlearn_ray.config.sweep_schema import Resources, Search
from unlearn_ray.config.yaml_file import read_tree
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Part, find, parts
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model

SWEEPS = Path(__file__).parents[2] / "sweeps"


@dataclass(frozen=True)
class SweepInput:
    """A call of `plan`.

    Attributes:
        data: of the file.
        sets: of `--set`.
        stores: whether the file's own store is asked.
        name: of the file.
    """

    data: bytes
    sets: tuple[str, ...] = ()
    stores: bool = False
    name: str = "fuzzed.yaml"

    def smaller(self) -> Iterator[SweepInput]:
        """With a `--set`, or a piece of the file, left out."""
        for number in range(len(self.sets)):
            yield replace(self, sets=self.sets[:number] + self.sets[number + 1 :])
        lines = self.data.splitlines(keepends=True)
        for number in range(len(lines)):
            yield replace(self, data=b"".join(lines[:number] + lines[number + 1 :]))
        size = len(self.data) // 2
        while size:
            for start in range(0, len(self.data), size):
                yield replace(self, data=self.data[:start] + self.data[start + size :])
            size //= 2

    def show(self) -> str:
        """As a person could type it."""
        return f"{self.name}: {self.data[:1500]!r} {' '.join(f'--set {s!r}' for s in self.sets)}"


@cache
def bases() -> tuple[dict[str, Any], ...]:
    """Real sweeps, as plain values; those of data that every machine has."""
    found = []
    for path in sorted(SWEEPS.glob("*.yaml")):
        tree = read_tree(path).plain
        if not isinstance(tree["dataset"], dict):
            found.append(tree)
    return tuple(found)


def draw_sweep(draw: random.Random) -> SweepInput:
    """A file: a good one, mostly with something wrong."""
    kind = draw.random()
    tree = draw_tree(draw) if kind < 0.7 else json.loads(json.dumps(draw.choice(bases())))
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        mutate(draw, tree)
    text = written(draw, tree)
    if kind > 0.9 or not draw.randrange(8):
        text = draw.choice(STRUCTURES)(draw, text)
    data = text.encode("utf-8", "surrogatepass")
    if not draw.randrange(6):
        data = broken(draw, data)
    return SweepInput(data, stores=not draw.randrange(10), name=draw.choice(_NAMES))


_NAMES = [
    *["fuzzed.yaml"] * 20,
    "größe.yaml",
    "a b.yml",
    ".yaml",
    "x" * 200,
    "\udcff.yaml",
    "~.yaml",
]


def draw_sets(draw: random.Random) -> SweepInput:
    """A good file with overrides."""
    tree = draw_tree(draw) if draw.randrange(2) else json.loads(json.dumps(draw.choice(bases())))
    sets = [_draw_set(draw, tree) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
    return SweepInput(written(draw, tree).encode(), tuple(sets))


def _draw_set(draw: random.Random, tree: dict[str, Any]) -> str:
    path = draw.choice([*paths(tree)])
    names = [str(name) for name in path]
    if not draw.randrange(4):
        names[draw.randrange(len(names))] = draw.choice(
            [*TEXT, "a" * 300, ".", "..", "0", "-1", "choice", "digits"]
        )
    if not draw.randrange(8):
        names += [draw.choice(["", "a", "choice", "uniform", "0"])] * draw.choice((1, 2, 30, 3000))
    at: Any = tree
    for name in path:
        at = at[name]
    drawn = draw.choice((hard(draw), draw.choice(_like(at)), at))
    value = draw.choice(STORES) if names[0] == "store" else emitted(drawn)
    sign = draw.choice(["=", "=", "=", "=", "=", "", "==", " = ", ":", "\n="])
    text = ".".join(names) + sign + value
    if not draw.randrange(10):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(TEXT)[:2000] + text[at:]
    return text


def draw_tree(draw: random.Random) -> dict[str, Any]:
    """A good sweep of parts that need no files, with every field written out."""
    size = draw.choice((8, 16))
    family = draw.choice(sorted(parts(Family)))
    forget_set = draw.choice(FORGET_SETS)
    captioned = parts(Family)[family].reads_captions
    dataset = draw.choice(("captioned_digits", "prompted") if captioned else ("digits", "prompted"))
    inner = {"image_size": size}
    named = find(ForgetSet, next(iter(forget_set)))(**next(iter(forget_set.values())))
    methods = [
        name
        for name, method in parts(Method).items()
        if not method.reads_weights and method.unsupported(find(Family, family)(), named) is None
    ]
    chosen: dict[str, Any] = {
        "name": "fuzzed",
        "dataset": {dataset: {"dataset": {"digits": inner}} if dataset == "prompted" else inner},
        "validation": draw.choice((0.1, 0.5, 100)),
        "forget_set": forget_set,
        "model": _part(draw, Model, ("resnet8", "resnet18", "vit", "vit_small"), size),
        "family": _part(draw, Family, (family,), size),
        "training": _fields(draw, Recipe),
        "probe": {"epochs": 2, "features": "cached"},
        "methods": {
            name: _fields(draw, parts(Method)[name])
            for name in draw.sample(methods, draw.choice((1, 1, 2)))
        },
        "metrics": ["retain_accuracy", "test_accuracy", *_more_metrics(draw, named, captioned)],
        "search": _fields(draw, Search),
        "seeds": {"tuning": [0, 1], "reporting": [2]},
        "resources": {"training": _fields(draw, Resources), "trial": {"gpu": 0.25}},
        "budget": {"hours": draw.choice((None, 1.5))},
        "store": "store",
        "checkpoint_minutes": 5,
        "sparsity": draw.choice((None, None, {"method": "omp", "fraction": 0.9})),
    }
    if not draw.randrange(4):
        name = draw.choice(sorted(parts(Logger)))
        chosen["log"] = [{name: _fields(draw, parts(Logger)[name])}]
    for name in draw.sample(sorted(chosen), draw.randrange(8)):
        if name not in REQUIRED:
            del chosen[name]
    tree: dict[str, Any] = json.loads(json.dumps(chosen))
    return tree


REQUIRED = ("dataset", "forget_set", "model", "family", "methods")
FORGET_SETS: tuple[dict[str, dict[str, Any]], ...] = (
    {"random": {"fraction": 0.1}},
    {"random": {"count": 5}},
    {"classes": {"classes": [1]}},
)


def _part(
    draw: random.Random, contract: type[Part], names: tuple[str, ...], size: int
) -> dict[str, Any]:
    name = draw.choice(names)
    inner = _fields(draw, parts(contract)[name], most=99)
    small = {"width": 8, "patch": size // 2, "layers": 1, "heads": 2, "text_layers": 1}
    small |= {"embedding_size": 8, "text_width": 8, "text_heads": 2, "hidden_size": 8}
    return {name: {field: small.get(field, value) for field, value in inner.items()}}


def _more_metrics(draw: random.Random, forgotten: ForgetSet, captioned: bool) -> list[Any]:
    known = [
        name
        for name, metric in parts(Metric).items()
        if metric().unsupported(forgotten) is None
        and (captioned or not metric.needs_captions)
        and name not in ("retain_accuracy", "test_accuracy")
    ]
    names = draw.sample(known, draw.randrange(3))
    return [{name: _fields(draw, parts(Metric)[name])} for name in names]


def _fields(draw: random.Random, cls: type, most: int = 5) -> dict[str, Any]:
    """Some of a schema's fields, with their defaults."""
    known = schema_fields(cls)
    names = [name for name, field in known.items() if not field.is_required()]
    kept = {*draw.sample(names, min(most, len(names)))}
    return {name: _plain(default_of(known[name])) for name in names if name in kept}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {value.name: _plain(field_values(value))}
    if is_dataclass(value):
        return {name: _plain(inner) for name, inner in field_values(value).items()}
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def paths(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a tree stands."""
    inner: Any = ()
    if isinstance(tree, dict):
        inner = tree.items()
    elif isinstance(tree, list):
        inner = enumerate(tree)
    for name, child in inner:
        yield (*above, name)
        yield from paths(child, (*above, name))


def mutate(draw: random.Random, tree: dict[str, Any]) -> None:
    """Put something hard somewhere in a tree."""
    places = [*paths(tree)]
    if not places:
        return
    # Every level is as likely, so that lists of fields do not hide what is above them.
    deep = draw.choice(sorted({len(place) for place in places}))
    *above, last = draw.choice([place for place in places if len(place) == deep])
    holder: Any = tree
    for name in above:
        holder = holder[name]
    value = holder[last]
    match draw.choice(("hard", "hard", "like", "like", "like", "drop", "name", "range", "swap")):
        case "hard":
            holder[last] = hard(draw)
        case "like":
            holder[last] = draw.choice(_like(value)) if last != "store" else draw.choice(STORES)
        case "drop":
            del holder[last]
        case "name" if isinstance(holder, dict):
            misspelt = f"{last}x" if draw.randrange(2) else draw.choice(TEXT)
            holder[misspelt] = holder.pop(last)
        case "range":
            kind = draw.choice(("uniform", "log_uniform", "int", "log_int", "choice", "grid"))
            holder[last] = {kind: sorted_or_not(draw, _like(value))}
        case "swap":
            other: Any = tree
            for name in draw.choice(places):
                other = other[name]
            holder[last] = json.loads(json.dumps(other, default=str))


def sorted_or_not(draw: random.Random, values: list[Any]) -> list[Any]:
    """Two or three of them, mostly in order."""
    chosen = draw.sample(values, min(len(values), draw.choice((2, 2, 2, 1, 3))))
    numbers = all(isinstance(value, int | float) for value in chosen)
    return sorted(chosen) if numbers and draw.randrange(5) else chosen


def _like(value: Any) -> list[Any]:
    """Hard values of the same type."""
    if isinstance(value, bool):
        return [not value, int(value), str(value)]
    if isinstance(value, int):
        return WHOLE
    if isinstance(value, float):
        return [*REAL, *WHOLE]
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        return [[], value[:1], [*value, *value], value * 400, [value], dict(enumerate(value))]
    if isinstance(value, dict):
        return [{}, [value], {**value, "": 1}, {"a": value}, None, *value.values()]
    return [0, 1, -1, "", "null", [], {}, 0.5]


def written(draw: random.Random, tree: dict[str, Any]) -> str:
    """A tree as YAML, a line or more for each field."""
    lines = []
    for name, value in tree.items():
        key = name if str(name).isidentifier() else emitted(name)
        if isinstance(value, dict) and value and draw.randrange(2):
            lines.append(f"{key}:")
            lines += [f"  {_inner(inner)}: {emitted(child)}" for inner, child in value.items()]
        else:
            lines.append(f"{key}: {emitted(value)}")
    return "\n".join(lines) + "\n"


def _inner(name: Any) -> str:
    return name if str(name).isidentifier() else emitted(name)


def _bomb(draw: random.Random, text: str) -> str:
    width, depth = draw.choice(((2, 30), (10, 9), (100, 4), (1, 2000), (3, 3)))
    lines = ["a0: &a0 [1, 2]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines) + "\n" + text


def _merge_bomb(draw: random.Random, text: str) -> str:
    width, depth = draw.choice(((2, 40), (10, 9), (1, 3000), (1, 3)))
    lines = ["a0: &a0 {x: 1}"]
    lines += [
        f"a{n}: &a{n} {{y{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * width)}]}}"
        for n in range(1, depth)
    ]
    return "\n".join(lines) + "\n" + text


def _merged(draw: random.Random, text: str) -> str:
    key, value = draw.choice(
        (
            ("training: &base {epochs: 1}", "probe: {<<: *base}"),
            ("training: &base {epochs: 1}", "probe: {<<: *base, epochs: 2}"),
            ("training: &base {epohs: 1}", "probe: {<<: [*base, {epochs: 3}]}"),
            ("training: &base {<<: *base}", "probe: *base"),
            ("training: &base 3", "probe: {<<: *base}"),
            ("training: &base {epochs: 1}", 'probe: {"<<": *base}'),
            ("training: &base {epochs: 1}", "probe: {<<: *base, <<: *base}"),
        )
    )
    kept = [line for line in text.splitlines() if not line.startswith(("training", "probe"))]
    return "\n".join([*kept, key, value]) + "\n"


STRUCTURES: list[Callable[[random.Random, str], str]] = [
    _bomb,
    _merge_bomb,
    _merged,
    _merged,
    lambda draw, text: draw.choice("[{") * draw.choice((60, 5000, 200_000)) + text,
    lambda draw, text: text + "x: " + "- " * draw.choice((60, 5000)) + "1\n",
    lambda draw, text: text + "".join(f"{' ' * n}a:\n" for n in range(draw.choice((60, 500)))),
    lambda draw, text: text + "".join(f"field{n}: 1\n" for n in range(draw.choice((30, 9000)))),
    lambda draw, text: text + f"x: {'a' * draw.choice((5000, 300_000))}\n",
    lambda draw, text: text + f"? {'[' * 40}a{']' * 40}\n: 1\n",
    lambda draw, text: text.replace("\n", draw.choice(("\r\n", "\r", "\u2028", "\x85", "\n\n"))),
    lambda draw, text: text.replace("  ", "\t"),
    lambda draw, text: "%YAML 1.1\n---\n" + text,
    lambda draw, text: text + "---\n" + text,
    lambda draw, text: text + "...\n",
    lambda draw, text: "# comment\n" * 3 + text + "#" * draw.choice((1, 20_000)) + "\n",
    lambda draw, text: text + text,
    lambda draw, text: "\ufeff" + text,
]


def broken(draw: random.Random, data: bytes) -> bytes:
    """The bytes of a file, damaged or in another encoding."""
    text = data.decode("utf-8", "replace")
    at = draw.randrange(len(data) + 1)
    match draw.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        case 2:
            return data[:at] + bytes([draw.randrange(256)]) + data[at:]
        case 3:
            return data[:at] + data[at + draw.randrange(40) :]
        case 4:
            return text.encode(draw.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32")))
        case 5:
            return b"\xef\xbb\xbf" + data
        case 6:
            return text.encode("utf-16")[: at | 1]
        case 7:
            return data[:at] + draw.choice(TEXT).encode("utf-8", "surrogatepass") + data[at:]
        case _:
            return data.decode("latin-1").encode("utf-7")
