"""Prices of accelerator hours, from a YAML file that a person keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unlearn_ray.config.fields import read_schema
from unlearn_ray.config.yaml_file import read_tree
from unlearn_ray.core.schema import NonNegativeFloat, schema

# The name under which a file gives the price of a CPU's hour.
CPU = "CPU"


@schema
class PriceFile:
    """What a price file says.

    Attributes:
        currency: as it is printed, such as USD.
        hour: the price of an accelerator's hour, by the name of the device as `plan` shows it, or
            by a part of it (`H200`); CPU for a CPU's.
    """

    currency: str = "USD"
    hour: dict[str, NonNegativeFloat]


@dataclass(frozen=True)
class Prices:
    """Prices by device.

    Attributes:
        currency: of all.
        hour: by name, or part of a name.
    """

    currency: str
    hour: dict[str, float]

    def of(self, device: str) -> float | None:
        """An hour of a device: the price under its name, or under the longest part of it.

        Args:
            device: the model of a GPU, or `CPU`.
        """
        whole = device.casefold()
        fit = [name for name in self.hour if name.casefold() in whole]
        return self.hour[max(fit, key=len)] if fit else None


def read_prices(path: Path) -> Prices:
    """The prices of a file.

    Raises:
        ConfigError: it cannot be read, or a field is wrong; with its line.
    """
    read = read_schema(read_tree(path), PriceFile)
    return Prices(read.currency, dict(read.hour))
