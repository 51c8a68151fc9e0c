"""The shadow device refuses what CUDA refuses, and counts what CUDA does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shadow.build import CannotBuild, built
from tests.shadow.conftest import Shadow

KINDS = ("launch", "pinned", "staged", "waited", "read", "sync")
# Besides launches, which the operations before them have, too.
COUNTED: dict[str, dict[str, int]] = {
    "launch": {},
    "no launch": {},
    "sync item": {"sync": 1},
    "sync mask": {"sync": 1},
    "sync nonzero": {"sync": 1},
    "filled mask": {},
    "read": {"read": 1},
    "read list": {"read": 1},
    "waited": {"waited": 1},
    "waited tensor": {"waited": 1},
    "waited index": {"waited": 1},
    "waited list": {"waited": 1},
    "staged": {"staged": 1},
    "pinned": {"pinned": 1},
    "drawn": {},
}


@pytest.mark.parametrize("operation", COUNTED)
def test_each_operation_is_counted_as_what_it_is(shadow: Shadow, operation: str) -> None:
    found = shadow("device")[operation]
    assert {kind: found[kind] for kind in KINDS[1:] if found[kind]} == COUNTED[operation]


def test_what_describes_memory_launches_nothing(shadow: Shadow) -> None:
    found = shadow("device")
    assert found["no launch"]["launch"] + 1 == found["launch"]["launch"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("refuses both devices", "at least two devices, cuda:0 and cpu"),
        ("refuses an index on the device", "at least two devices, cuda:0 and cpu"),
        ("refuses a generator of the host", "Expected a 'cuda' device type for generator"),
        ("refuses a generator of the device", "Expected a 'cpu' device type for generator"),
    ],
)
def test_what_cuda_refuses_is_refused(shadow: Shadow, case: str, reason: str) -> None:
    assert reason in shadow("device")[case]["refused"]


def test_the_line_of_the_package_is_named(shadow: Shadow) -> None:
    (line,) = shadow("device")["a line is named"]["synchronised"]
    assert line.startswith("train/loop.py:")
    assert "finite" in line


def test_a_worker_that_asked_for_no_gpu_takes_none(shadow: Shadow) -> None:
    """Even where PyTorch sees one: it belongs to others."""
    found = shadow("device")["workers"]
    assert found["of none"] == "cpu"
    assert found["of a share"] == "cuda:0"
    assert found["counted"] == 0
    assert found["machine"].startswith("cpu: ")


def test_without_a_compiler_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotBuild, match=r"needs a C\+\+ compiler.*no-such-compiler"):
        built("no-such-compiler", tmp_path)
    with pytest.raises(CannotBuild, match="does not compile against torch"):
        built("false", tmp_path)
    assert not list(tmp_path.glob("*.so"))
