"""Read a checkpoint of the open_clip package without unpickling, check it, and load it."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.text_files import regular_file

_REMEDY = "give a .pt or .safetensors file with the state dict of a CLIP model of open_clip"


def digest(path: str) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with regular_file(path, "checkpoint", _REMEDY).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(f"checkpoint = {path}", reason, _REMEDY) from error


@dataclass(frozen=True)
class OpenCLIPCheckpoint:
    """The tensors of an `open_clip.CLIP`.

    Attributes:
        path: of the file.
        image, text: state dicts of its towers.
        log_scale: log of the factor of the cosine.
    """

    path: str
    image: dict[str, Tensor]
    text: dict[str, Tensor]
    log_scale: Tensor

    @classmethod
    def read(cls, path: str, context_length: int) -> OpenCLIPCheckpoint:
        """Read either of open_clip's layouts: a bare state dict, or one saved in training.

        Args:
            path: of the file.
            context_length: a longer context is cut to its first positions.

        Raises:
            DataError: the file holds something else.
        """
        tensors = {name.removeprefix("module."): value for name, value in _tensors(path).items()}
        log_scale = tensors.pop("logit_scale", None)
        if log_scale is None or log_scale.numel() != 1:
            raise DataError(f"checkpoint = {path}", "has no logit_scale", _REMEDY)
        image = {name: value for name, value in tensors.items() if name.startswith("visual.")}
        text = {
            name.removeprefix("text."): value
            for name, value in tensors.items()
            if name not in image
        }
        if "positional_embedding" in text:
            text["positional_embedding"] = text["positional_embedding"][:context_length]
        image = {name.removeprefix("visual."): value for name, value in image.items()}
        return cls(path, image, text, log_scale.reshape(()))

    def check(self, image: nn.Module, text: nn.Module) -> None:
        """Check that the tensors fit the towers.

        Raises:
            DataError: a tensor is missing, unknown or of another shape.
        """
        for kind, found, tower in (("image", self.image, image), ("text", self.text, text)):
            shapes = {name: list(value.shape) for name, value in found.items()}
            wanted = {name: list(value.shape) for name, value in tower.state_dict().items()}
            for name in sorted(shapes.keys() | wanted.keys()):
                if shapes.get(name) != wanted.get(name):
                    raise DataError(
                        f"checkpoint = {self.path}",
                        f"does not fit the {kind} tower: {name} has the shape "
                        f"{shapes.get(name, 'none')}, the model's {wanted.get(name, 'none')}",
                        "set the architecture and the image size that it was trained with",
                    )

    @torch.no_grad()
    def load(self, image: nn.Module, text: nn.Module, log_scale: nn.Parameter) -> None:
        """Copy the tensors into towers that passed `check`."""
        image.load_state_dict(self.image)
        text.load_state_dict(self.text)
        log_scale.copy_(self.log_scale)


def _tensors(path: str) -> dict[str, Tensor]:
    place = regular_file(path, "checkpoint", _REMEDY)
    try:
        found: Any
        if place.suffix == ".safetensors":
            found = load_file(place)
        else:
            found = torch.load(place, map_location="cpu", weights_only=True)
    # An OSError, too: in a truncated file, torch seeks beyond its end.
    except (
        SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError,
    ) as error:  # fmt: skip
        first = str(error).partition("\n")[0]
        raise DataError(
            f"checkpoint = {path}", f"does not contain plain tensors: {first}", _REMEDY
        ) from error
    if isinstance(found, dict):
        found = found.get("state_dict", found)
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise DataError(f"checkpoint = {path}", "does not contain plain tensors", _REMEDY)
    return found
