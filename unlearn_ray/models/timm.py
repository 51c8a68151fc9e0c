"""Any image classifier of the timm package (PyTorch Image Models)."""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import ConfigError, MachineError, did_you_mean
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import Arguments, UnitInterval, schema
from unlearn_ray.models.base import Model

# What this part decides itself.
_RESERVED = {
    "checkpoint_path", "drop_path_rate", "drop_rate", "features_only", "in_chans", "num_classes",
    "pretrained", "pretrained_cfg", "pretrained_cfg_overlay",
}  # fmt: skip

# What timm's and torch's code raises for arguments and images that do not fit.
_FAILURES = (
    AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


class TimmBackbone(nn.Module):
    """A timm model without its classifier; its features are what the classifier would be given.

    Args:
        network: timm's model, made with num_classes=0; weights keep timm's names behind
            "network.".
        feature_size: dimension of its output.

    Attributes:
        feature_size: dimension of the features.
        channels_last: whether its blocks put out maps (N, H, W, C), as Swin's do.
    """

    def __init__(self, network: nn.Module, feature_size: int) -> None:
        super().__init__()
        self.feature_size = feature_size
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.network = network

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch features"]:
        """Features of a batch of images."""
        return cast(Tensor, self.network(images))


@register("timm")
@schema
class Timm(Model):
    """Any architecture of timm that classifies images, with random weights at first.

        timm: {architecture: resnet50d}
        timm: {architecture: vit_small_patch16_224, drop_path_rate: 0.1}
        timm: {architecture: swin_tiny_patch4_window7_224, options: {window_size: 4}}

    An architecture that timm makes for one image size is made for the dataset's; if it cannot be,
    planning says why. A tag after a dot (resnet18.a1_in1k) names weights in timm; none are loaded.

    Attributes:
        architecture: its name in timm.
        drop_rate: probability of dropout before the classifier, and where timm uses the same.
        drop_path_rate: of stochastic depth; not every architecture has it.
        options: further arguments of timm.create_model.
    """

    synaptic_flow: ClassVar[bool] = False
    tiny: ClassVar[Fields] = {"architecture": "resnet10t"}

    architecture: str = "resnet18"
    drop_rate: UnitInterval = 0.0
    drop_path_rate: UnitInterval = 0.0
    options: Arguments = field(default_factory=dict, hash=False)

    def check(self, image_size: int) -> None:
        """Check that timm makes such a model, and that it turns such images into features.

        Raises:
            ConfigError: it does not.
            MachineError: timm is not installed.
        """
        with torch.random.fork_rng(devices=[]):
            try:
                with torch.device("meta"):
                    _feature_size(self._network(image_size), image_size)
            except _FAILURES:
                # A size that does not fit, or an operation that needs real numbers.
                self._checked(self._network(image_size), image_size)

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        network = self._network(image_size)
        return TimmBackbone(network, self._checked(network, image_size))

    def _network(self, image_size: int) -> nn.Module:
        timm, arguments = _timm(), self.arguments(image_size)
        try:
            network = timm.create_model(self.architecture, **arguments)
        except _FAILURES as error:
            raise self._error(f"timm cannot make it: {reason_of(error)}") from error
        return cast(nn.Module, network)

    def arguments(self, image_size: int) -> dict[str, Any]:
        """Those of timm.create_model beside the architecture; for a model without a classifier.

        Raises:
            ConfigError: it has no such architecture, or an option is not one.
            MachineError: timm is not installed.
        """
        timm = _timm()
        name, _, tag = self.architecture.partition(".")
        if not timm.is_model(name):
            remedy = did_you_mean(name, timm.list_models())
            raise ConfigError(f"timm.architecture = {self.architecture}", "is unknown", remedy)
        if tag and self.architecture not in timm.list_pretrained(f"{name}.*"):
            tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
            raise ConfigError(
                f"timm.architecture = {self.architecture}",
                f"{name} has no weights tagged {tag}",
                did_you_mean(tag, tags),
            )
        if taken := sorted(_RESERVED & self.options.keys()):
            raise ConfigError(
                f"timm.options.{taken[0]}",
                "is not an option: weights come from the sweep, classes and channels from the data",
                "remove it; drop_rate and drop_path_rate are fields of their own",
            )
        arguments: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": 3}
        arguments |= {
            name: rate
            for name in ("drop_rate", "drop_path_rate")
            if (rate := getattr(self, name)) > 0
        }
        made_for = timm.get_pretrained_cfg(self.architecture)
        if made_for is not None and made_for.fixed_input_size:
            arguments["img_size"] = image_size
        return {**arguments, **self.options}

    def _checked(self, network: nn.Module, image_size: int) -> int:
        """The size of its features.

        Raises:
            ConfigError: it has none for such images.
        """
        try:
            return _feature_size(network, image_size)
        except _FAILURES as error:
            made_for = getattr(network, "default_cfg", {}).get("input_size")
            usual = f" (it is made for {made_for[-1]})" if made_for else ""
            reason = f"does not take images of {image_size} pixels{usual}: {reason_of(error)}"
            raise self._error(reason) from error

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(
            f"timm.architecture = {self.architecture}",
            reason,
            "change the dataset's image_size, the options, or the architecture",
        )


def _feature_size(network: nn.Module, image_size: int) -> int:
    """Tried out, since each architecture names it in its own way; changes nothing."""
    training = network.training
    network.eval()
    weight = next(network.parameters())
    images = torch.zeros(2, 3, image_size, image_size, device=weight.device)
    with torch.no_grad():
        output = network(images)
    network.train(training)
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 2:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"its output for 2 images is no pair of feature vectors, but {shape}")
    return output.shape[1]


def _timm() -> Any:
    # Planning a sweep imports this module; timm takes seconds.
    import unlearn_ray.core.torchvision_import  # noqa: F401

    # isort: split
    try:
        import timm
    except ImportError as error:
        raise MachineError(
            "model timm", f"the package cannot be imported: {reason_of(error)}", "pip install timm"
        ) from error
    return timm
