"""External: weights that other code has unlearned, measured in the same table.

Triantafillou et al., "Are We Making Progress in Unlearning? Findings from the First NeurIPS
Unlearning Competition", 2024, compare what the code of others has unlearned.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import nn

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeFloat, schema
from unlearn_ray.layouts.brought import Checkpoint
from unlearn_ray.methods.base import Method, Outside, Task


@register("external")
@schema
class External(Method):
    """The model is replaced by weights that other code has made from the same original.

        external: {weights: "runs/{seed}.safetensors"}
        external: {weights: {checkpoint: "runs/{seed}.pt", layout: timm}, seconds: 81.5}

    There is a file for each tuning and each reporting seed. They were forgotten by that code: the
    same samples as here, which `unlearn_ray.sweep plan` shows.

    Attributes:
        weights: a path or s3://bucket/key, in which `{seed}` and `{replicate}` stand for the
            run's, or a mapping of `checkpoint` to it, with `layout` and `classes`, as of
            `original`. Keys cover the weights, never a path.
        seconds: compute seconds that unlearning took; null takes `seconds` of the metadata of each
            safetensors file.
    """

    reads_weights: ClassVar[bool] = True
    idle: ClassVar[Fields | None] = {"weights": None}

    weights: str | Checkpoint | None = None
    seconds: NonNegativeFloat | None = None

    def identity(self) -> dict[str, Any]:
        """The name alone: weights and seconds are each run's own (`outside`)."""
        return {"name": self.name}

    def outside(self, seed: int, replicate: int) -> Outside | None:
        """Weights and seconds of a run.

        Raises:
            ConfigError: the sweep was not planned, or nothing says how long it took.
        """
        if self.weights is None:
            return None
        assert isinstance(self.weights, Checkpoint), "planning reads the files"
        planned = self.weights.of_run(seed, replicate)
        seconds = planned.seconds if self.seconds is None else self.seconds
        if seconds is None:
            raise ConfigError(
                f"external.weights = {self.weights.path(seed, replicate)}",
                "nothing says how many seconds unlearning took",
                "set external.seconds, or write `seconds` into the safetensors file's metadata",
            )
        return Outside(planned.digest, seconds)

    def finish(self, model: nn.Module, task: Task) -> None:
        """Replace the weights."""
        if self.weights is not None:
            assert isinstance(self.weights, Checkpoint), "planning reads the files"
            model.load_state_dict(task.brought(self.weights))
