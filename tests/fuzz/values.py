"""Values that are hard to take, and YAML that holds them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from tests.fuzz.fuzzing import SECRET


@dataclass(frozen=True)
class Raw:
    """Text that stands in YAML as it is."""

    text: str


WHOLE = [
    *(0, 1, -1, 2, 3, 7, 10, 100, 1000, 10_000, 10**5, 10**6, 10**7, 10**9),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**31), -(2**63)),
    *(Raw("9" * 5000), Raw("-" + "1" * 5000), Raw("0x" + "f" * 40), Raw("1_000"), Raw("007")),
]
REAL = [
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 1e-5, 1e-4, 0.00015, 0.3333, 1e-320, 1e-300, 1e300, 1.7e308),
    *(Raw(".inf"), Raw("-.inf"), Raw(".nan"), Raw("1e400"), Raw("1e-400"), Raw("0." + "3" * 5000)),
]
TEXT = [
    *("", " ", ".", "..", "/", "~", "~nosuchuser", "~nosuchuser/x", "../../x", "/dev/zero"),
    *("/dev/null", "/proc/self/mem", "a" * 256, "a/" * 3000, "a" * 100_000, "größe", "中文"),
    *("x\n", "a\nb", "a\tb", "a\rb", "\x00", "a\x00b", "\x1b[2J\x1b[31m", "\x7f", "\u202egnp.x"),
    *("\ud800", "\udcff.txt", "\ufeff", "\u2028", "\U0001f600", "null", "true", "1e3", "12:30"),
    *("{}", "%s%n", "$(x)", "`x`", "http://", "s3://", "s3:/bucket", "gs://x", "file:///x"),
    *("NaN", "-", "=", "<<", "&a", "*a", "!!str", "con", "a b", "a,b", "a;b", 'a"b', "a'b"),
]
OTHER: list[Any] = [
    *(None, True, False, [], {}, [[]], [None], {"": 1}, {"a": 1}, [1, "1", 1.0, True], [[1, 2]]),
    *({"uniform": [0, 1]}, {"uniform": [-1.7e308, 1.7e308]}, {"uniform": [0, 1e-320]}),
    *({"log_uniform": [1e-320, 1]}, {"log_uniform": [0, 1]}, {"log_uniform": [1, 1.7e308]}),
    *({"int": [0, 2**62]}, {"int": [-1, 1]}, {"int": [1, 2**31]}, {"int": [1.5, 2]}),
    *({"choice": []}, {"choice": [1]}, {"choice": [1, True, 1.0]}, {"choice": ["a", None]}),
    *({"choice": [0, 1]}, {"choice": [{}, []]}, {"choice": [*range(3000)]}, {"uniform": []}),
    *({"log_int": [1, 9]}, {"grid": [1, 2, 4]}, {"grid": [0.1, 0.2]}, {"int": [1, 9], "step": 2}),
    *({"uniform": [0, 1], "step": 0.1}, {"uniform": [0, 1], "step": 1e-300}, {"step": 1}),
    *({"int": [1, 9], "when": {"schedule": "cosine"}}, {"int": [1, 9], "when": []}),
    *({"from": "recommended"}, {"from": "none.yaml"}, {"from": []}, "recommended", "muc"),
    *({"min": 1, "max": 2}, {"min": 3, "max": 2}, {"min": 0, "max": 10**12}),
    *([*range(50)], [*range(1000)], [*range(1001)], [0] * 5000, [2**32], [2**32 - 1], [-1]),
    *(Raw("[" * 60 + "]" * 60), Raw("{a: " * 60 + "1" + "}" * 60), Raw("[" * 5000), Raw("*a")),
    *(
        Raw("!!python/object:os.system {}"),
        Raw("!!binary aGFsbG8="),
        Raw("!x [1]"),
        Raw("!!set {}"),
    ),
    *(Raw("{<<: {a: 1}}"), Raw("{<<: 3}"), Raw("{<<: [1]}"), Raw("{<<: [{a: 1}, {a: 2}]}")),
    *(Raw("{a: 1, a: 2}"), Raw("{? [a] : 1}"), Raw('"\\ud800"'), Raw('"\\0"'), Raw('"\\x1b"')),
    *(Raw("|\n  a\n  b\n"), Raw(">-\n  a\n"), Raw("'"), Raw('"'), Raw("["), Raw("}"), Raw("@x")),
    *(Raw("&a 1"), Raw("&a {b: *a}"), Raw("&a [*a]"), Raw("&a {<<: *a}"), Raw("%x"), Raw("? ")),
]
# Never to be repeated.
STORES = [
    *(f"s3://key:{SECRET}@bucket/x", f"s3://KEY:SEC/{SECRET}@bucket", "store", "./store"),
    *(f"s3://bucket/x?secret_key={SECRET}", f"s3://b/x?endpoint=http://u:{SECRET}@h", "s3:///x"),
    *(f"s3://bucket/x?endpoint=http://[{SECRET}", "S3://bucket", "http://host/x", "s3:/bucket/x"),
    *("s3://bucket/x?endpoint=http://host:99999", "s3://bucket/x?endpoint=http://[::1", "s3://b"),
    *("s3://bucket/x?region=", "s3://bucket/x?region=eu west", "s3://bu_cket/\x01", "//x"),
]


def hard(draw: random.Random) -> Any:
    """Any hard value."""
    return draw.choice(draw.choice((WHOLE, REAL, TEXT, OTHER)))


def emitted(value: Any) -> str:
    """A value as YAML on one line, as far as it has a line."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)}: {emitted(v)}" for name, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(emitted, value)) + "]"
    if isinstance(value, float):
        return repr(value) if value == value and abs(value) != float("inf") else ".nan"
    return json.dumps(value)


def _key(name: Any) -> str:
    return name.text if isinstance(name, Raw) else json.dumps(name)
