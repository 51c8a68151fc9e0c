"""`export`: a model of a store as a folder that another library loads."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from unlearn_ray.core.errors import BadInput, MachineError, shown_path
from unlearn_ray.storage.store import Store, pack_tensors
from unlearn_ray.takeaway.card import card
from unlearn_ray.takeaway.choice import Choice
from unlearn_ray.takeaway.exported_model import CONFIG, WEIGHTS
from unlearn_ray.takeaway.forgotten import counts_of
from unlearn_ray.takeaway.image_model import ImageModel
from unlearn_ray.takeaway.stored_model import model_of
from unlearn_ray.takeaway.targets import Translated, translated

REFERENCE, SCRIPT, CARD = "reference.safetensors", "load.py", "README.md"
_IMAGES = 8


def export(choice: Choice, store: Store, library: str, output: Path) -> ImageModel:
    """Write a model's weights, config, card, script and reference outputs into a new folder.

    The folder appears when it is complete. It holds no image and no name of a sample: the
    reference outputs are of random images.

    Args:
        choice: the model.
        store: that it is in.
        library: one of `targets.LIBRARIES`.
        output: the folder, which must not exist or be empty.

    Returns:
        The exported model.

    Raises:
        BadInput: there is something in the folder already, or the library has no such model.
        ConfigError: the model or its family is from a plug-in that is not loaded.
        StoreError: the weights are gone or were altered.
        MachineError: the folder cannot be written.
    """
    _check_empty(output)
    model = model_of(choice.record, store)
    description, theirs = model.description, translated(model, library)
    files = files_of(model, theirs, library, _origin(choice))
    about = card(choice, description, counts_of(choice.row, store), library, theirs.note)
    _write(output, {**files, CARD: about.encode()})
    return model


def files_of(
    model: ImageModel, theirs: Translated, library: str, origin: Mapping[str, Any]
) -> dict[str, bytes]:
    """The files of an exported model but its card, by name.

    Args:
        model: the model.
        theirs: the same in the library's terms.
        library: one of `targets.LIBRARIES`.
        origin: where it is from, in JSON's own types.
    """
    config = {"library": library, "description": model.description.to_json(), "origin": origin}
    return {
        WEIGHTS: pack_tensors(theirs.weights),
        CONFIG: json.dumps(config, indent=1).encode(),
        REFERENCE: pack_tensors(_reference(model)),
        SCRIPT: theirs.script.encode(),
    }


def _origin(choice: Choice) -> dict[str, Any]:
    record, row = choice.record, choice.row
    return {
        "sweep": choice.sweep,
        "study": choice.study,
        "seed": row["seed"],
        "replicate": row["replicate"],
        "kind": record.kind,
        "key": record.key,
        "inputs": record.inputs,
        "versions": record.versions,
    }


def _reference(model: ImageModel) -> dict[str, torch.Tensor]:
    """Random images and the model's outputs."""
    size = model.description.image_size
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(256, (_IMAGES, 3, size, size), generator=drawn, dtype=torch.uint8)
    with torch.no_grad():
        return {"images": images, "outputs": model(images).float()}


def _check_empty(output: Path) -> None:
    if output.is_dir():
        if any(output.iterdir()):
            raise BadInput(f"--output {output}", "the folder is not empty", "name a new folder")
    elif output.exists() or output.is_symlink():
        raise BadInput(f"--output {output}", "it is no folder", "name a new folder")


def _write(output: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a folder beside, which then takes the output's name."""
    target = output.absolute()
    unfinished = target.with_name(f".{target.name}-{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(parents=True)
        for name, data in files.items():
            (unfinished / name).write_bytes(data)
        unfinished.replace(target)
    except OSError as error:
        _check_empty(output)
        reason = f"cannot be written: {error.strerror or error}"
        raise MachineError(
            shown_path(output), reason, "free space there, or name another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
