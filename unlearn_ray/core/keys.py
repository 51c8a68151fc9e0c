"""Keys: the content of a step's config, hashed.

key = the first 16 hex digits of SHA-256 over canonical JSON. Only values that mean the same on
every machine are accepted; anything else is refused, not turned into an unstable string.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import field_values

KEY_LENGTH = 16
_LEAVES = frozenset({type(None), bool, str, int})


def plain(value: Any) -> Any:
    """`value` in JSON types, with parts and schemas expanded: to `identity()`, or their fields.

    Raises:
        TypeError: a value has no stable form (a set, a tensor, an open file, a NaN ...).
    """
    kind = type(value)
    if kind in _LEAVES:
        return value
    # The usual kinds first, as a plan has thousands of keys.
    if kind is not dict and kind is not list:
        return _plain(value)
    if kind is list:
        return [plain(item) for item in value]
    return _plain_mapping(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form: not a finite number")
        # 1.0 and 1 are the same setting: YAML writers use both.
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Part):
        return plain(value.content())
    if is_dataclass(value) and not isinstance(value, type):
        identity = getattr(type(value), "identity", None)
        return plain(identity(value) if callable(identity) else field_values(value))
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    raise TypeError(f"{value!r} has no canonical form: {type(value).__name__}")


def _plain_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{value!r} has no canonical form: a key is not a string")
    return {key: plain(value[key]) for key in sorted(value)}


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, shortest float form, ASCII."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: Any) -> str:
    """16 hex digits that name `value`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:KEY_LENGTH]


def stable_seed(*words: str | int) -> int:
    """A 63-bit seed from words and numbers, the same on every machine and in every process."""
    text = "\x1f".join(f"{type(word).__name__}:{word}" for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
