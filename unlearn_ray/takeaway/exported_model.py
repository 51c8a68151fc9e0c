"""`load_exported`: a model out of a folder that `results export --to native` wrote."""

from __future__ import annotations

from pathlib import Path

from unlearn_ray.core.errors import BadInput, DataError, shown_path
from unlearn_ray.storage.store import unpack_tensors
from unlearn_ray.storage.stored import json_value
from unlearn_ray.takeaway.description import described
from unlearn_ray.takeaway.image_model import ImageModel, built

CONFIG, WEIGHTS = "config.json", "model.safetensors"
NATIVE = "native"


def load_exported(folder: Path | str) -> ImageModel:
    """The exported model, on the CPU and in eval mode; nothing is unpickled.

    Args:
        folder: that `results STORE export SWEEP --to native --output FOLDER` wrote.

    Raises:
        DataError: a file is missing.
        BadInput: it was exported for another library.
        CorruptObject: a file was altered.
        ConfigError: the model or its family is from a plug-in that is not loaded.
    """
    place = Path(folder)
    try:
        text, weights = (place / CONFIG).read_bytes(), (place / WEIGHTS).read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise DataError(shown_path(error.filename or place), reason, "export it again") from error
    try:
        config = json_value(text)
        library, fields = config["library"], config["description"]
    except (ValueError, TypeError, KeyError) as error:
        subject = shown_path(place / CONFIG)
        raise BadInput(subject, "is not of an exported model", "export it again") from error
    if library != NATIVE:
        raise BadInput(
            shown_path(place), f"was exported for {library}", "run its load.py, or export it again"
        )
    tensors, _ = unpack_tensors(weights)
    return built(described(CONFIG, fields), tensors, shown_path(place / WEIGHTS))
