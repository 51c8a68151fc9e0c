"""A file in a contract's folder that cannot be imported is told by its name."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import Part, parts

BROKEN = {
    "raise ValueError('of two\\nlines')": "ValueError: of two lines",
    "def broken(:\n    pass": "SyntaxError: invalid syntax",
    "import a_package_that_is_not_there": "ModuleNotFoundError: No module named 'a_package_that",
    "from unlearn_ray.core.keys import nothing": "ImportError: cannot import name 'nothing'",
    "raise KeyError": "KeyError",
    "def deeper():\n    deeper()\ndeeper()": "RecursionError",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_imported(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "a_room"
    room.mkdir()
    (room / "__init__.py").write_text("")
    file = room / "broken_part.py"
    file.write_text(f"{text}\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Furniture(Part):
        kind = "furniture"
        room = "a_room"

    said = rf"^{re.escape(str(file))}: cannot be imported: {re.escape(BROKEN[text])}.*; fix that"
    try:
        with pytest.raises(ConfigError, match=said):
            parts(Furniture)
    finally:
        for name in [name for name in sys.modules if name.startswith("a_room")]:
            del sys.modules[name]
