"""Memorisation of a bank's audited samples, from the stored outputs of its base models."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput
from unlearn_ray.data.estimate_files import MEMORISATION, SAMPLE
from unlearn_ray.data.sample_names import SampleNames
from unlearn_ray.data.splits import training_ids
from unlearn_ray.evidence.confidence import correct
from unlearn_ray.evidence.masks import OUT, states
from unlearn_ray.evidence.memorisation import memorisation
from unlearn_ray.metrics.base import OUTPUTS
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.bank import bank_models

# Of a model: the order of its samples, and its outputs.
Read = tuple[Step, Step]


def estimates(sweep: Sweep, store: Store) -> pd.DataFrame:
    """One row per audited sample, in the bank's order; no model is loaded.

    Columns: `sample`, named as sweep files name it; `memorisation`, from -1 to 1;
    `standard_error` of it; `in_accuracy` and `out_accuracy`, the shares of models that classify the
    sample correctly among those trained on it and among the others.

    Args:
        sweep: with the bank.
        store: that holds its models' outputs.

    Raises:
        BadInput: the sweep has no bank, or the store lacks outputs of its models.
        StoreError: the store cannot be read.
    """
    bank, setting = sweep.bank, sweep.setting
    if bank is None:
        raise BadInput(
            f"sweep {sweep.name}",
            "has no bank, whose models memorisation is estimated from",
            "add `bank: {models: 64, samples: 1000}` and a score that reads it, and run the sweep",
        )
    read: list[Read] = [
        (base.same(Samples), base.same(Observe, model=base, quantity=OUTPUTS))
        for base in bank_models(sweep)
    ]
    records = store.read_records((step.name, step.key) for pair in read for step in pair)
    there = sum(all(step.key in records for step in pair) for pair in read)
    if there < len(read):
        raise BadInput(
            f"bank of sweep {sweep.name}",
            f"outputs of {there:,} of its {len(read):,} base models are in {store.url}",
            "run the sweep with this store, or set bank.models to fewer",
        )
    info = setting.dataset.info()
    audited = training_ids(info.train_size, setting.validation, bank.seed)[: bank.samples]
    right = [_right(pair, records, store, info.train_size)[audited] for pair in read]
    trained = states(len(read), bank.samples, bank.seed) != OUT
    found, names = memorisation(np.stack(right), trained), SampleNames(info)
    return pd.DataFrame(
        {
            SAMPLE: [names.written(sample) for sample in audited.tolist()],
            MEMORISATION: found.value,
            "standard_error": found.error,
            "in_accuracy": found.inside,
            "out_accuracy": found.outside,
        }
    )


def _right(
    read: Read, records: dict[str, Record], store: Store, train_size: int
) -> Bool[np.ndarray, " train"]:
    """Whether a model classifies each training sample correctly."""
    samples, outputs = (
        unpack(store.read_artifact(records[step.key], OBSERVED), f"{step}") for step in read
    )
    right = np.zeros(train_size, bool)
    for part in outputs:
        if part != "test":
            ids, labels = (samples[part][column].numpy() for column in ("id", "label"))
            right[ids] = correct(outputs[part]["value"].numpy(), labels)
    return right
