"""Where a plug-in is found, and the module that it is."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path

from unlearn_ray.core.errors import ConfigError, shown, shown_path
from unlearn_ray.core.modules import PACKAGE, PACKAGE_FOLDER, Place, imported, locate


@dataclass(frozen=True)
class Source:
    """Where a plug-in is found.

    Attributes:
        name: a module (`my_package.methods`), or the absolute path of a file or package.
        folder: where a module is looked for that Python does not find.
    """

    name: str
    folder: str = field(compare=False)

    @classmethod
    def of(cls, written: str, folder: Path) -> Source:
        """The plug-in that a person names.

        Args:
            written: a module, or a path (`./my_method.py`).
            folder: that a relative path starts from.
        """
        is_path = written.endswith(".py") or os.sep in written
        path = os.path.abspath(folder / os.path.expanduser(written))
        return cls(path if is_path else written, str(folder))

    def __str__(self) -> str:
        return f"plug-in {shown_path(self.name)}"

    def error(self, reason: str, remedy: str) -> ConfigError:
        """An error about this plug-in."""
        return ConfigError(f"{self}", reason, remedy)


@dataclass(frozen=True)
class Found:
    """A plug-in as it is imported.

    Attributes:
        module: its name.
        root: the folder to import it from; None if Python finds it anyway.
        file: of a file that is imported as a script would be, with what lies beside it.
    """

    source: Source
    module: str
    root: Path | None = None
    file: Path | None = None

    def check_names(self) -> None:
        """Refuse what its imports would get from elsewhere, as it is imported already.

        Raises:
            ConfigError: it, or a module beside it that it imports, has the name of another module.
        """
        if self.root is None:
            return
        if self.file is None:
            top = self.module.partition(".")[0]
            place = locate(top)
            at = [*place.folders, *([str(place.file)] if place.file else [])] if place else []
            if not any(Path(path).is_relative_to(self.root) for path in at):
                raise self.taken(top, at[-1] if at else None)
            return
        for name in sorted(self.tops(), key=lambda name: (name != self.module, name)):
            place, lies = locate(name), _files_of(self.root, name)
            other = place.file if place is not None and lies else None
            if other is not None and other.resolve() not in lies:
                raise self.taken(name, str(other))

    def taken(self, name: str, file: str | None) -> ConfigError:
        """The error that `name` is another module already."""
        return self.source.error(
            f"it needs its folder's {name}, but that name is taken by {shown_path(file)}",
            "rename one of the two",
        )

    def tops(self) -> set[str]:
        """The first words of its module's name, and of what it and files beside it import."""
        found, waiting = {self.module.partition(".")[0]}, [self.file] if self.file else []
        while waiting and self.root is not None:
            place = Place(self.module, waiting.pop())
            new = {name.partition(".")[0] for name in imported(place, place.source() or "")} - found
            found |= new
            waiting += [file for name in new for file in _files_of(self.root, name)]
        return found - {PACKAGE}


def _files_of(folder: Path, module: str) -> list[Path]:
    """The file in a folder that a module of this name would be imported from."""
    files = (folder / module / "__init__.py", folder / f"{module}.py")
    return [file.resolve() for file in files if file.is_file()][:1]


def find(source: Source) -> Found:
    """The module that a plug-in is; imports nothing.

    Raises:
        ConfigError: there is none.
    """
    if os.path.isabs(source.name):
        return _find_file(source)
    words = source.name.split(".")
    if not all(word.isidentifier() for word in words):
        raise source.error("not the name of a module", "write my_package.module, or ./my_file.py")
    if locate(source.name) is not None:
        return Found(source, source.name)
    for folder in (Path(source.folder).absolute(), Path.cwd()):
        if PathFinder.find_spec(words[0], [str(folder)]) is not None:
            return Found(source, source.name, root=folder)
    remedy = f"install it, or name its file: ./{'/'.join(words)}.py"
    raise source.error("there is no module of this name", remedy)


def _find_file(source: Source) -> Found:
    path = Path(source.name)
    file = path if path.suffix == ".py" else path / "__init__.py"
    try:
        found = file.is_file()
    except OSError:  # such as a name that is too long
        found = False
    if not found:
        remedy = f"name a Python file; relative paths start from {shown_path(source.folder)}"
        raise source.error(f"there is no file {shown_path(file)}", remedy)
    if file.resolve().is_relative_to(PACKAGE_FOLDER):
        words = file.resolve().relative_to(PACKAGE_FOLDER).with_suffix("").parts
        return Found(source, ".".join([PACKAGE, *words]))
    name = path.stem if path.suffix == ".py" else path.name
    if not name.isidentifier() or name in (PACKAGE, *sys.stdlib_module_names):
        reason = f"{shown(name)} cannot be the name of a module of your own"
        raise source.error(reason, "rename the file: letters, digits and `_`")
    return Found(source, name, root=path.parent, file=file)
