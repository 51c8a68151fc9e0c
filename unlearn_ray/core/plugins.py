"""Plug-ins: modules and files outside this package that register parts.

They are found in three equal ways: entry points of installed distributions (group `GROUP`, each
naming a module), the field `plugins` of a sweep file, and the option --plugin. The latter two are
in use until others are (`use`), so that sweeps whose files or parts have the same names do not mix.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from unlearn_ray.core import registry, shipping
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.code import digest
from unlearn_ray.core.errors import ConfigError, UnlearnRayError, shown
from unlearn_ray.core.modules import Place
from unlearn_ray.core.plugin_sources import Found, Source, find

GROUP = "unlearn_ray.parts"
Parts = dict[tuple[str, str], type[registry.Part]]


@dataclass
class _Set:
    """The plug-ins that are in use together.

    Attributes:
        found: as they are imported, in order.
        paths: the folders that were added to Python's for them, in the order of being added.
        tops: the first words of the names of modules that may be theirs.
        before: the modules of their folders that were imported before them.
        modules: those of files, while the set is not in use.
        codes: digests of these when they were imported.
        parts: what they register, while the set is not in use.
    """

    found: list[Found] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    tops: set[str] = field(default_factory=set)
    before: set[str] = field(default_factory=set)
    modules: dict[str, ModuleType] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    parts: Parts = field(default_factory=dict)


@dataclass
class _State:
    """What this process has loaded.

    Attributes:
        current: the plug-ins in use.
        sets: all that were in use, by their sources.
        given: the sources of --plugin, which are always in use.
        withdrawn: parts of imported modules that are not in use, by the module.
        installed: whether the entry points were read.
        broken: what is wrong with those that cannot be imported.
    """

    current: _Set = field(default_factory=_Set)
    sets: dict[tuple[Source, ...], _Set] = field(default_factory=dict)
    given: tuple[Source, ...] = ()
    withdrawn: dict[str, Parts] = field(default_factory=dict)
    installed: bool = False
    broken: list[ConfigError] = field(default_factory=list)


_state = _State()


def give(names: Iterable[str]) -> None:
    """Load the plug-ins of --plugin, for all that this process does.

    Args:
        names: modules, or paths relative to the working directory.

    Raises:
        ConfigError: one cannot be loaded.
    """
    before = _state.given
    _state.given = tuple(dict.fromkeys(Source.of(name, Path.cwd()) for name in names))
    errors = use(()) if _state.given or before else {}
    for error in errors.values():
        _state.given = ()
        raise error


def use(sources: Sequence[Source]) -> dict[Source, ConfigError]:
    """Let these plug-ins, and those of --plugin, be in use, and no others.

    Files that were edited since they were loaded are loaded again.

    Returns:
        What is wrong with those that cannot be loaded; if any, none is in use.

    Raises:
        ConfigError: installed distributions have two parts of one name.
    """
    wanted = tuple(dict.fromkeys([*_state.given, *sources]))
    if in_use() == wanted and not _edited(_state.current):
        return {}
    _put_away()
    if wanted:
        load_waiting()
    known = _state.sets.get(wanted)
    errors: dict[Source, ConfigError] = {}
    if known is not None and not _edited(known):
        try:
            _take(known)
        except ConfigError as error:
            _put_away()
            errors[wanted[0]] = error
        return errors
    for source in wanted:
        try:
            _load(source)
        except ConfigError as error:
            errors[source] = error
    if errors:
        _put_away()
    else:
        own = _own_modules(_state.current)
        _state.current.codes = {name: _code(module) for name, module in own.items()}
        _state.sets[wanted] = _state.current
    return errors


def in_use() -> tuple[Source, ...]:
    """The plug-ins in use, those of --plugin first."""
    return tuple(found.source for found in _state.current.found)


def modules_in_use() -> tuple[str, ...]:
    """The names of their modules."""
    return tuple(found.module for found in _state.current.found)


def parts_in_use() -> list[type[registry.Part]]:
    """The parts of the plug-ins in use."""
    found = _state.current.found
    origins, modules = {f"{one.source}" for one in found}, [one.module for one in found]
    return [
        cls
        for cls in registry.registered().values()
        if registry.origin(cls) in origins or any(_is_in(module, cls) for module in modules)
    ]


def broken() -> tuple[ConfigError, ...]:
    """What is wrong with entry points that cannot be imported; names their distributions."""
    return tuple(_state.broken)


def load_waiting() -> None:
    """Load the entry points of installed distributions, or what a driver sent, the first time.

    Raises:
        ConfigError: two parts have one name, or what the driver sent cannot be imported.
    """
    if shipping.was_sent():  # the driver's parts are all that count
        with shipping.waiting() as modules:
            for module in modules:
                with _importing(f"plug-in {module}"):
                    importlib.import_module(module)
    elif not _state.installed:
        _state.installed = True
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
            _load_entry_point(point)


def _load_entry_point(point: EntryPoint) -> None:
    of = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    before = registry.registered()
    try:
        with _importing(f"entry point {shown(point.name)}{of}"):
            importlib.import_module(point.module)
    except ConfigError as error:
        registry.restore(before)
        if isinstance(error.__cause__, registry.NameTaken):
            _state.installed = False  # it is as true the next time
            raise
        _state.broken.append(error)


def _load(source: Source) -> None:
    """Import a plug-in; it is then in use."""
    found, current = find(source), _state.current
    registered, imported = registry.registered(), {*sys.modules}
    if found.file is not None and found.root is not None:
        current.before |= {name for name, _ in _modules_in(found.root)} - {*_own_modules(current)}
        current.tops |= found.tops()
    current.found.append(found)
    _add_path(found)
    found.check_names()
    importlib.invalidate_caches()
    try:
        with _importing(f"{source}"):
            module = importlib.import_module(found.module)
            if found.file is None:
                _enter_withdrawn(found.module)
    finally:
        current.tops |= {name.partition(".")[0] for name in {*sys.modules} - imported}
    file = getattr(module, "__file__", None)
    if found.file is not None and (file is None or Path(file).resolve() != found.file.resolve()):
        raise found.taken(found.module, file)
    now = registry.registered()
    if now == registered and not any(_is_in(found.module, cls) for cls in now.values()):
        raise source.error(
            "it registers no part", 'write @register("name") above each class that is a part'
        )


def _is_in(module: str, cls: type) -> bool:
    return f"{cls.__module__}.".startswith(f"{module}.")


def _enter_withdrawn(module: str) -> None:
    """What a module registered when it was imported for other sweeps."""
    for name in [*_state.withdrawn]:
        if f"{name}.".startswith(f"{module}."):
            for key, cls in _state.withdrawn[name].items():
                registry.enter(*key, cls)
            del _state.withdrawn[name]


def _add_path(found: Found) -> None:
    if found.root is not None and str(found.root) not in sys.path:
        sys.path.insert(0, str(found.root))
        _state.current.paths.append(str(found.root))


@contextmanager
def _importing(what: str) -> Iterator[None]:
    """Parts that are registered meanwhile come from `what`, and so do errors."""
    try:
        # A command's output is for its results.
        with registry.registering(what), redirect_stdout(sys.stderr):
            yield
    except UnlearnRayError as error:
        reason = f"{error.subject}: {error.reason}"
        raise ConfigError(what, reason, error.remedy) from error
    except (Exception, SystemExit) as error:
        reason = f"cannot be imported: {reason_of(error)}{_line_of(error)}"
        raise ConfigError(what, reason, "fix that code, or install what it needs") from error


def _line_of(error: BaseException) -> str:
    """Where in a person's own file an error was raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename[:1] != "<" and Place("", Path(frame.filename)).a_persons_own:
            return f" ({frame.filename}:{frame.lineno})"
    return ""


def _put_away() -> None:
    """Let no plug-in be in use; their modules and parts are kept."""
    current = _state.current
    _state.current = _Set()
    current.modules = _own_modules(current)
    origins = {f"{found.source}" for found in current.found}
    for (kind, name), cls in registry.registered().items():
        if cls.__module__ in current.modules:
            current.parts[kind, name] = cls
        elif registry.origin(cls) not in origins:
            continue
        elif cls.__module__ in sys.modules:  # else its import failed
            _state.withdrawn.setdefault(cls.__module__, {})[kind, name] = cls
        registry.withdraw(kind, name)
    for name in current.modules:
        del sys.modules[name]
    for path in current.paths:
        if path in sys.path:
            sys.path.remove(path)


def _take(known: _Set) -> None:
    """Put plug-ins to use again."""
    _state.current = known
    for found in known.found:
        if found.file is None:
            _enter_withdrawn(found.module)
    for path in known.paths:
        sys.path.insert(0, path)
    sys.modules.update(known.modules)
    for key, cls in known.parts.items():
        registry.enter(*key, cls)


def _own_modules(plugins: _Set) -> dict[str, ModuleType]:
    """The modules beside files that were imported since, by these or for them."""
    roots = {found.root for found in plugins.found if found.file is not None}
    return {
        name: module
        for root in roots
        if root is not None
        for name, module in _modules_in(root)
        if name not in plugins.before and name.partition(".")[0] in plugins.tops
    }


def _modules_in(folder: Path) -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not isinstance(file, str):
            continue
        if Path(file).is_relative_to(folder) and Place(name, Path(file)).a_persons_own:
            yield name, module


def _code(module: ModuleType) -> str:
    return digest({"": Place(module.__name__, Path(f"{module.__file__}")).source() or ""})


def _edited(plugins: _Set) -> bool:
    """Whether the code of a file has changed since it was loaded."""
    modules = {**_own_modules(plugins), **plugins.modules}
    return any(
        name in modules and _code(modules[name]) != code for name, code in plugins.codes.items()
    )
