"""The libraries that a model can be exported to: its weights in their terms, and its script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from unlearn_ray.core.words import counted
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.layouts.counterpart import Library, Ours
from unlearn_ray.layouts.reading import counterpart
from unlearn_ray.takeaway.description import Description
from unlearn_ray.takeaway.exported_model import NATIVE
from unlearn_ray.takeaway.image_model import ImageModel

LIBRARIES: tuple[str, ...] = (NATIVE, *get_args(Library))

_NATIVE = """\
from unlearn_ray.takeaway.exported_model import load_exported

network = load_exported(FOLDER).network"""
_LOAD = """\

network = model.eval()
network.load_state_dict(load_file(FOLDER / "model.safetensors"))"""
_SCRIPT = '''\
"""Loads the model in this folder with {library}, and checks its outputs: python load.py"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

FOLDER = Path(__file__).resolve().parent
TOLERANCE = 1e-4

{code}
MEAN = torch.tensor({mean}).view(3, 1, 1)
STD = torch.tensor({std}).view(3, 1, 1)


def outputs(images: torch.Tensor) -> torch.Tensor:
    """{output} of uint8 images, (n, 3, {size}, {size})."""
    normalised = (images / 255 - MEAN) / STD
    return {call}


if __name__ == "__main__":
    stored = load_file(FOLDER / "reference.safetensors")
    with torch.no_grad():
        found, expected = outputs(stored["images"]), stored["outputs"]
    # Relative for outputs beyond 1.
    difference = ((found - expected).abs() / expected.abs().clamp(min=1)).max().item()
    print(f"largest difference from the stored outputs: {{difference:.2e}}")
    sys.exit(0 if difference <= TOLERANCE else 1)
'''
_CALLS = {
    "logits": "network(normalised)",
    "features": "network(normalised)",
    "embeddings": "network.encode_image(normalised, normalize=True)",
}
# Our own networks also have the heads that they were trained with.
_NATIVE_CALLS = {
    "logits": "network(normalised)",
    "features": "network.backbone(normalised)",
    "embeddings": (
        "torch.nn.functional.normalize(network.image_projection(network.backbone(normalised)))"
    ),
}


@dataclass(frozen=True)
class Translated:
    """A model in a library's terms.

    Attributes:
        weights: its state dict there.
        script: builds it there, loads the weights and checks its outputs.
        note: what this version of the model lacks, for people; empty if nothing.
    """

    weights: Mapping[str, Tensor]
    script: str
    note: str = ""


def translated(model: ImageModel, library: str) -> Translated:
    """A model in the terms of one of `LIBRARIES`.

    Raises:
        ConfigError: the library has no such model.
    """
    state, described = model.network.state_dict(), model.description
    if library == NATIVE:
        return Translated(state, _script(library, _NATIVE, _NATIVE_CALLS, described))
    part, family = described.parts()
    info = DatasetInfo(0, 0, described.class_names, described.image_size)
    theirs = counterpart(library, Ours.of(part, family, info))  # type: ignore[arg-type]
    note = ""
    if theirs.left_out:
        note = (
            f"It is the backbone alone: {counted(len(theirs.left_out), 'tensor')} of the head that"
            f" {family.name} trains with, which {library} has no place for, are left out."
        )
    return Translated(
        theirs.weights(state), _script(library, f"{theirs.code()}{_LOAD}", _CALLS, described), note
    )


def _script(library: str, code: str, calls: Mapping[str, str], described: Description) -> str:
    return _SCRIPT.format(
        library="unlearn_ray" if library == NATIVE else f"{library} alone",
        code=code,
        mean=[*described.mean],
        std=[*described.std],
        size=described.image_size,
        output=described.output.capitalize(),
        call=calls[described.output],
    )
