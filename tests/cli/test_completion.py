"""A shell's completion of the command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unlearn_ray.cli.main import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("unlearn-ray", "results", "status"):
        assert word in script


def test_bash_completes_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    file = tmp_path / "completion"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    program = (
        f"source {file}; COMP_WORDS=(unlearn-ray st); COMP_CWORD=1; "
        "_shtab_unlearn_ray; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["status"]
