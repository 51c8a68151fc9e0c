"""docs/bring_a_model.md: the message about a checkpoint that does not fit."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch

from tests.docs.pages import blocks
from tests.docs.stand_ins import write_files
from unlearn_ray.cli.main import main
from unlearn_ray.core.errors import Exit


def test_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARN_RAY_CACHE", "cache")
    sweep, message = blocks("bring_a_model")[:2]
    write_files(sweep.text, tmp_path)
    state = torch.load("runs/best.pt", weights_only=True)
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    torch.save({f"module.{name}": each for name, each in state.items()}, "runs/best.pt")
    Path("sweep.yaml").write_text(sweep.text, encoding="utf-8")
    capsys.readouterr()
    assert main(["plan", "sweep.yaml"]) == Exit.BAD_INPUT
    told = capsys.readouterr().err
    loosely = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(message.text, told, loosely), told
