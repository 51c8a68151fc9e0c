"""Code that is sent to other processes: modules that need not lie in their file systems.

A driver packs the sources that its parts need (`pack`); a worker unpacks them (`unpack`) before it
unpickles anything, and imports them from memory under the same names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from types import ModuleType

from unlearn_ray.core.modules import Place, locate, reached


@dataclass(frozen=True)
class Source:
    """The source of a module.

    Attributes:
        text: its code; empty for a package without a file.
        file: its place on the machine that sent it, for tracebacks; None if it has none.
        folders: of a package, likewise.
    """

    text: str
    file: str | None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shipment:
    """What one process sends to others.

    Attributes:
        sources: by the name of the module.
        codes: digests of the parts in them, by module and qualified name of the class.
        plugins: the modules to import before parts are looked up.
    """

    sources: Mapping[str, Source]
    codes: Mapping[tuple[str, str], str] = field(default_factory=dict)
    plugins: Sequence[str] = ()


# Digests of parts that were sent, by module and qualified name.
_codes: dict[tuple[str, str], str] = {}
# Modules that are still to be imported.
_waiting: list[str] = []


def pack(modules: Iterable[str]) -> dict[str, Source]:
    """The sources of modules and of everything of a person's own that these import, transitively.

    Installed packages are sent if one of `modules` is in them: those modules of it that are
    reached, and only their Python sources.

    Args:
        modules: names of imported modules.
    """
    packed: dict[str, Source] = {}
    waiting = [place for name in modules if (place := locate(name)) is not None]
    while waiting:
        place = waiting.pop()
        text = place.source() if place.file else ""
        if place.name in packed or place.ours or text is None:
            continue  # compiled code is not sent
        file = str(place.file) if place.file else None
        packed[place.name] = Source(text, file, place.folders)
        package = place.name.rpartition(".")[0]
        names = {package, *reached(place, text, _sent_with(place))} - {"", *packed}
        waiting += [other for name in names if (other := locate(name)) is not None]
    packed.pop("__main__", None)  # classes in it are sent by value
    return packed


def _sent_with(place: Place) -> Callable[[Place], bool]:
    """Whether a module that `place` imports is a person's own, or of its package."""
    return lambda other: other.a_persons_own or (other.top == place.top and not other.ours)


def unpack(shipment: Shipment) -> None:
    """Let this process import what was sent; imports none of it."""
    _codes.update(shipment.codes)
    _waiting.extend(shipment.plugins)
    sys.meta_path.insert(0, _Finder(shipment.sources))


def sent_code(cls: type) -> str | None:
    """The digest that was sent with a class's source; None if it was not sent."""
    return _codes.get((cls.__module__, cls.__qualname__))


@contextmanager
def waiting() -> Iterator[list[str]]:
    """The modules that were sent and are still to be imported; none within this context."""
    modules, _waiting[:] = _waiting.copy(), []
    try:
        yield modules
    except BaseException:
        _waiting[:] = modules
        raise


def was_sent() -> bool:
    """Whether another process decides which parts this one has."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder(MetaPathFinder, Loader):
    """Finds and loads modules from memory."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that was sent."""
        source = self.sources.get(fullname)
        if source is None:
            return None
        is_package = bool(source.folders)
        spec = spec_from_loader(fullname, self, origin=source.file, is_package=is_package)
        assert spec is not None
        spec.has_location = source.file is not None
        if is_package:
            # What was not sent may be installed here.
            here = PathFinder.find_spec(fullname, path)
            installed = (here and here.submodule_search_locations) or ()
            spec.submodule_search_locations = [*source.folders, *installed]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run the source."""
        source = self.sources[module.__name__]
        code = compile(source.text, source.file or "<sent>", "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102

    def get_source(self, fullname: str) -> str:
        """The source, for tracebacks and `inspect`."""
        return self.sources[fullname].text
