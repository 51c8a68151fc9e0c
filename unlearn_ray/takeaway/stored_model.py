"""`load_model`: a model out of a store, by its key."""

from __future__ import annotations

import logging

from unlearn_ray.core.errors import BadInput, listed
from unlearn_ray.storage.lookup import find_record
from unlearn_ray.storage.store import Record, Store, open_store, unpack_tensors
from unlearn_ray.storage.tensors import MODEL
from unlearn_ray.takeaway.description import description_of
from unlearn_ray.takeaway.image_model import ImageModel, built

_log = logging.getLogger(__name__)


def load_model(store: Store | str, key: str) -> ImageModel:
    """The model that a step left, on the CPU and in eval mode; nothing is unpickled.

        model = load_model("./store", "3fa9")
        model(images)         # uint8 or floats in [0, 1]: logits, features or embeddings
        model.network         # the network alone, which takes normalised images
        model.description     # its size of images, normalisation, classes and architecture

    Every trial's weights are stored, not only those of winners, until `gc` or the sweep's
    `keep.models` removes them.

    Args:
        store: a store, or its URL: a folder, or s3://bucket/prefix[?endpoint=URL&region=NAME].
        key: of the step that trained or unlearned the model; it may be shortened.

    Raises:
        BadInput: no step or several steps have this key, or the step leaves no model.
        ConfigError: the model or its family is from a plug-in that is not loaded.
        RemovedArtifact: the weights were removed on purpose; `rerun KEY --restore` has them again.
        MissingObject: the weights are gone from the store.
        CorruptObject: they were altered, or do not fit the model.
        StoreError: the store cannot be read.
    """
    opened = open_store(store) if isinstance(store, str) else store
    opened.check_readable()
    return model_of(find_record(opened, key), opened)


def model_of(record: Record, store: Store) -> ImageModel:
    """The model of a record; see `load_model`."""
    subject = f"{record.kind} {record.key}"
    if MODEL not in record.files:
        files = listed(sorted(record.files)) or "none"
        trained = record.inputs.get("model")
        raise BadInput(
            subject,
            f"leaves no model; its files are {files}",
            f"the model that it is about is {trained}"
            if trained
            else "give the key of a step that trains or unlearns",
        )
    description = description_of(record, store)
    for text in description.changes():
        _log.warning("%s: %s; its outputs may differ from those recorded", subject, text)
    weights, _ = unpack_tensors(store.read_artifact(record, MODEL))
    return built(description, weights, f"weights of {subject}")
