"""`Request`: the samples that somebody asked to forget, looked up in a sweep's dataset.

It needs the extra `run`, and the dataset of the sweep: names are the dataset's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import BadInput

if TYPE_CHECKING:
    from unlearn_ray.monitor.kept_sweeps import KeptSweep


@dataclass(frozen=True)
class Request:
    """What was asked.

    Attributes:
        file: SHA-256 of the file's bytes.
        samples: names of samples by their position in the training set, in ascending order.
        users: how many users asked; None if the file names samples.
        digest: of the positions, as the identity of a forget set `ids` has it.
    """

    file: str
    samples: Mapping[int, str]
    users: int | None
    digest: str

    def plain(self) -> dict[str, Any]:
        """For a file; it names no user."""
        return {
            "file_sha256": self.file,
            "samples": len(self.samples),
            "users": self.users,
            "ids_sha256": self.digest,
        }


def read_request(file: Path, kept: KeptSweep | None, sweep: str) -> Request:
    """Look a request up.

    Args:
        file: one sample per line, as in a forget set `ids`; one user per line, if the sweep's
            forget set has a map of users.
        kept: the sweep's file, which says which dataset it was.
        sweep: its name.

    Raises:
        BadInput: the store keeps no file of the sweep; its dataset is not on this machine; the file
            cannot be read, or a line of it names no sample or user.
    """
    from unlearn_ray.data.base import digest_of
    from unlearn_ray.data.forget_sets.ids import Ids
    from unlearn_ray.data.sample_names import SampleNames
    from unlearn_ray.data.user_files import samples_of_users
    from unlearn_ray.monitor.kept_sweeps import sweep_of

    if kept is None:
        raise BadInput(
            f"sweep {sweep}",
            "the store keeps no file of it, which says whose samples they are",
            "start the sweep once more on this store: what is complete is not run again",
        )
    setting = sweep_of(kept).setting
    info, forget_set = setting.dataset.info(), setting.forget_set
    names = SampleNames(info)
    users = None
    if isinstance(forget_set, Ids) and forget_set.map is not None:
        found, users = samples_of_users(forget_set.map, str(file), names)
        positions = sorted(found)
    else:
        asked = Ids(file=str(file))
        asked.check(info, 0)
        positions = asked.named_ids().tolist()
    return Request(
        file=hashlib.sha256(file.read_bytes()).hexdigest(),
        samples={position: names.written(position) for position in positions},
        users=users,
        digest=digest_of(positions),
    )
