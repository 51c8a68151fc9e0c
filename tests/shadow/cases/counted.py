"""What a run launches, copies and waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.shadow.device import counting
from tests.shadow.ledger import Ledger
from tests.shadow.world import on_device
from unlearn_ray.train.loop import Report


def counted(run: Callable[..., Any], batch: int) -> tuple[Report, Ledger]:
    """The report of a run on the device with such batches, and what was counted."""
    with counting() as ledger:
        report, _ = run(on_device(), batch)
    return report, ledger
