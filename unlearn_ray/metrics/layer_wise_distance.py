"""Layer-wise distance: how far a model's weights are from the retrained model's."""

from __future__ import annotations

from typing import ClassVar

import torch

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.weight_sketch import WeightSketch

SKETCH = WeightSketch()


@register("layer_wise_distance")
@schema
class LayerWiseDistance(Metric):
    """L2 distance of all trained weights to the retrained model's: the root of the layers' squares.

    Golatkar et al., "Forgetting Outside the Box", ECCV 2020; Tarun et al. (2111.08947); SUPREME
    (2606.00380) prints the same sum. Distances are estimated from projections of 4,096 numbers a
    layer, with a standard error of at most 1.1 %; layers of at most 4,096 weights are exact (see
    the quantity `weight_sketch`). A layer is one parameter tensor; those of batch norm and biases
    count, running statistics do not. Each layer's distance is an array of the artifact.

    Networks of different training seeds are far apart even if they compute the same function, so
    that this tells little about forgetting: read it beside the distance of another retrained model.
    """

    columns: ClassVar[dict[str, str]] = {"layer_wise_distance": "Layer-wise distance"}

    def needs(self) -> Needs:
        """Projections of both models' weights."""
        return Needs(model=(SKETCH,), retrained=(SKETCH,))

    def measure(self, model: Observed) -> Measurement:
        """The distance, and that of every layer by its name."""
        own, other = (each.observation(SKETCH).arrays for each in (model, model.retrained))
        layers = {name: torch.linalg.vector_norm(own[name] - other[name]) for name in own}
        total = torch.linalg.vector_norm(torch.stack([*layers.values()]))
        return Measurement({"layer_wise_distance": float(total)}, layers)
