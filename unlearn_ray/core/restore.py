"""Parts made again from the content that a key hashed: the inverse of `Part.content`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import ConfigError, did_you_mean, shown
from unlearn_ray.core.registry import Part, parts

P = TypeVar("P", bound=Part)

# What content holds beside a part's fields: its name, its code, the data that it read.
_BESIDE = {"name", "revision", "code", "data"}


def restore(contract: type[P], content: Mapping[str, Any], **replaced: Any) -> P:
    """The part that has this content, except for its revision, code and data.

    Args:
        contract: that it fulfils.
        content: from a step's config.
        replaced: fields whose content is not their value, such as a path's digest.

    Raises:
        ConfigError: no such part is loaded here, or it has other fields now.
    """
    found, subject = _class_of(contract, content), f"{contract.kind} {content['name']}"
    known = found.__pydantic_fields__  # type: ignore[attr-defined]
    given = {**{name: content[name] for name in content if name not in _BESIDE}, **replaced}
    for name in given:
        if name not in known:
            raise ConfigError(
                subject,
                f"was recorded with {shown(name)}, which is not among its fields here",
                "use the version of the code that recorded it",
            )
    try:
        return found(**{name: _value(known[name].annotation, of) for name, of in given.items()})
    except ValidationError as error:
        remedy = "use the version of the code that recorded it"
        raise ConfigError(subject, f"refuses its fields: {reason_of(error)}", remedy) from None


def changed(part: Part, content: Mapping[str, Any]) -> str:
    """How a restored part's code differs from the recorded one's, in words; empty if it does not.

    >>> from unlearn_ray.core.schema import schema
    >>> @schema
    ... class Square(Part):
    ...     kind, name = "shape", "square"
    >>> changed(Square(), {"name": "square", "revision": 7})
    'shape square: its revision is 1, and was 7'
    """
    now, then = part.code_identity(), {"revision": content.get("revision", 1)}
    then |= {"code": content["code"]} if "code" in content else {}
    of = f"{part.kind} {part.name}"
    if now["revision"] != then["revision"]:
        return f"{of}: its revision is {now['revision']}, and was {then['revision']}"
    if now.get("code") != then.get("code"):
        return f"{of}: its code was edited since"
    return ""


def _class_of(contract: type[P], content: Mapping[str, Any]) -> type[P]:
    known, name = parts(contract), content.get("name")
    if name in known:
        return known[str(name)]
    outside = "code" in content
    raise ConfigError(
        f"{contract.kind.replace('_', ' ')} {shown(str(name))}",
        "the step was run with this part, which is not loaded here",
        "it is from outside the package: load the plug-in that defines it"
        if outside
        else f"use the version of the package that has it ({did_you_mean(str(name), known)})",
    )


def _value(hint: Any, value: Any) -> Any:
    """A field's value: a part if its type is one, else what pydantic makes of the JSON value."""
    contracts = (each for each in (hint, *get_args(hint)) if isinstance(each, type))
    contract = next((each for each in contracts if issubclass(each, Part)), None)
    return restore(contract, value) if contract and isinstance(value, Mapping) else value
