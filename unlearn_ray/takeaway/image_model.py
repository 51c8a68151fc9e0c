"""`ImageModel`: a trained model that takes images as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from unlearn_ray.core.errors import BadInput, CorruptObject
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import Family
from unlearn_ray.takeaway.description import Description
from unlearn_ray.train.training import new_model

Images = UInt8[Tensor, "n height width 3"] | UInt8[Tensor, "n 3 height width"]
Floats = Float[Tensor, "n 3 height width"]


class ImageModel(nn.Module):
    """A model with its normalisation: images in, logits, features or embeddings out.

    Images are a batch of the size that the model was trained with: uint8, channels last (as
    datasets keep them) or first, or floats in [0, 1], channels first. Gradients reach float
    images. It is in eval mode.

    Args:
        network: the family's model; it takes normalised images.
        family: of the network.
        description: of both.

    Attributes:
        network, family, description: the arguments.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, family: Family, description: Description) -> None:
        super().__init__()
        self.network = network
        self.family = family
        self.description = description
        for name in ("mean", "std"):
            values = torch.tensor(getattr(description, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.eval()

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the logits."""
        return self.description.class_names

    def normalised(self, images: Images | Floats) -> Float[Tensor, "n 3 height width"]:
        """Images as the network takes them, on its device.

        Raises:
            BadInput: they are of another shape or type.
        """
        size = self.description.image_size
        if images.dtype == torch.uint8 and images.ndim == 4 and images.shape[-1] == 3 != size:
            images = images.permute(0, 3, 1, 2)
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, size, size):
            raise BadInput(
                f"images of shape {tuple(images.shape)}",
                f"the model takes (n, 3, {size}, {size}), or as uint8 (n, {size}, {size}, 3)",
                f"resize them to {size} x {size} pixels, as for training",
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise BadInput(
                f"images of {images.dtype}",
                "the model takes uint8 from 0 to 255, or floats from 0 to 1",
                "convert them with images.to(torch.uint8)",
            )
        whole = images.dtype == torch.uint8
        scaled = images.to(self.mean.device, self.mean.dtype)
        return ((scaled / 255 if whole else scaled) - self.mean) / self.std

    def forward(self, images: Images | Floats) -> Float[Tensor, "n out"]:
        """What `description.output` names: logits, features or normalised embeddings."""
        inputs = self.normalised(images)
        if self.description.output == "logits":
            return cast(Tensor, self.network(inputs))
        if self.description.output == "features":
            return cast(Tensor, self.network.get_submodule("backbone")(inputs))
        return self.family.embed_images(self.network, inputs)


def built(description: Description, weights: Mapping[str, Tensor], subject: str) -> ImageModel:
    """The described model with these weights, on the CPU.

    Args:
        description: of the model.
        weights: its state dict.
        subject: whose weights they are, for errors.

    Raises:
        ConfigError: a part is not loaded here.
        CorruptObject: the weights do not fit the model.
    """
    model, family = description.parts()
    info = DatasetInfo(0, 0, description.class_names, description.image_size)
    network = new_model(model, family, info, seed=0, sparse=description.sparse)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        # PyTorch lists every tensor, one a line below a heading.
        first = " ".join(str(error).splitlines()[1:2]).strip()
        changes = "".join(f"; {text}" for text in description.changes())
        raise CorruptObject(
            subject,
            f"do not fit the model: {first}{changes}",
            "use the version of the code that trained it, or run the step again",
        ) from error
    return ImageModel(network, family, description)
