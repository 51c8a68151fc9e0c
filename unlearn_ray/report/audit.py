"""`Audit`: what became of the samples that somebody asked to forget, and what proves it.

The chain goes from the weights of the original to those of the unlearned model. Each link is a
step: its key is the hash of its config, which names the keys of its inputs, and its record holds
the SHA-256 of its files. All of it is computed again here. It shows that the store agrees with
itself, not that nobody who may write there has rewritten all of it: keep the signed file elsewhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unlearn_ray.core.errors import BadInput, CorruptObject, MissingObject
from unlearn_ray.core.keys import content_key
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.report.observed import Outputs, Source
from unlearn_ray.storage.records import from_bytes, record_name

if TYPE_CHECKING:
    from unlearn_ray.quantities.base import SetName
    from unlearn_ray.report.evidence import SweepEvidence
    from unlearn_ray.report.request import Request
    from unlearn_ray.storage.store import Record, Store

_TRAINED: tuple[SetName, ...] = ("forget", "retain", "validation")
# Names of the three models in an audit, in order.
WHEN = ("before", "after", "retrained")


@dataclass(frozen=True)
class Link:
    """A step of the chain.

    Attributes:
        role: what it is to the unlearned model.
        record: of the step; None if it is gone.
        digest: SHA-256 of the record's own bytes.
        problem: what is wrong with it; "" if all of it was found as it was written.
    """

    role: str
    record: Record | None
    digest: str
    problem: str

    def plain(self) -> dict[str, Any]:
        """For a file."""
        told: dict[str, Any] = {"role": self.role, "intact": not self.problem}
        if self.problem:
            told["problem"] = self.problem
        if self.record is not None:
            files = sorted(self.record.files.items())
            told |= {
                "kind": self.record.kind,
                "key": self.record.key,
                "config": self.record.config,
                "created": self.record.created,
                "record_sha256": self.digest,
                "files": {name: {"size": f.size, "sha256": f.sha256} for name, f in files},
            }
        return told


@dataclass(frozen=True)
class Scores:
    """What one model says of a sample.

    Attributes:
        loss: its cross-entropy, in nats.
        confidence: log p - log(1 - p) of its class, in nats.
        as_confident: an attack's view: the share of test samples of its class of which the model is
            at least as confident; small if it knows the sample better than unseen ones. None if
            there are none.
    """

    loss: float
    confidence: float
    as_confident: float | None


@dataclass(frozen=True)
class SampleAudit:
    """A sample that was named.

    Attributes:
        name: as the dataset names it.
        sample: its position in the training set.
        part: the set that it was in; "" if in none.
        scores: by the model that says so, one of `WHEN`.
    """

    name: str
    sample: int
    part: str
    scores: Mapping[str, Scores]


@dataclass(frozen=True)
class ModelAudit:
    """An unlearned model: the first run of a study's winner.

    Attributes:
        study: its name.
        run: the model's.
        chain: from the original on.
        samples: in the order of the request's positions.
        missing: why scores are missing.
    """

    study: str
    run: Run
    chain: tuple[Link, ...]
    samples: tuple[SampleAudit, ...]
    missing: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether the whole chain was found as it was written."""
        return not any(link.problem for link in self.chain)

    def counts(self) -> dict[str, int]:
        """How many named samples each set of the training images has, and how many are in none."""
        parts = [sample.part for sample in self.samples]
        return {part: parts.count(part) for part in (*_TRAINED, "")}


@dataclass(frozen=True)
class Audit:
    """The audit of a request.

    Attributes:
        request: what was asked.
        models: one for each study that has been reported.
        not_audited: studies that have not been.
    """

    request: Request
    models: tuple[ModelAudit, ...]
    not_audited: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every study was audited, all named samples were forgotten by each model, none of
        them validated, and all chains are intact."""
        whole = len(self.request.samples)
        return not self.not_audited and all(
            one.intact and one.counts()["forget"] == whole for one in self.models
        )


def audit(evidence: SweepEvidence, request: Request) -> Audit:
    """Audit a request against a sweep.

    Args:
        evidence: of the sweep.
        request: the samples that were to be forgotten.

    Raises:
        BadInput: no study has been reported, or no metric of the sweep reads outputs.
        StoreError: the store cannot be read.
    """
    observed = evidence.all_observations
    studies = [name for name in observed.studies if observed.runs(name)]
    if not studies:
        remedy = "run the sweep to its end"
        raise BadInput(f"sweep {evidence.sweep}", "has no unlearned model to audit yet", remedy)
    models = tuple(_model(name, evidence, request) for name in studies)
    if not any(one.chain for one in models):
        raise BadInput(
            f"sweep {evidence.sweep}",
            "no metric reads the models' outputs, so that nothing says what was in which set",
            "add a metric such as forget_accuracy, and run the sweep again",
        )
    return Audit(request, models, tuple(n for n in evidence.studies if n not in studies))


def _model(study: str, evidence: SweepEvidence, request: Request) -> ModelAudit:
    observed = evidence.all_observations
    row = observed.runs(study)[0]
    run = Run(int(row["seed"]), int(row["replicate"]))
    outputs: dict[str, Outputs] = {}
    missing: list[str] = []
    for when, name in zip(WHEN, (ORIGINAL, study, RETRAIN), strict=True):
        found = observed.outputs(name)
        own = next((one for one in found.values if one.run == run), None)
        outputs |= {} if own is None else {when: own}
        missing += [f"{name}: {reason}" for reason in found.missing]
    places: dict[int, tuple[SetName, int]] = {}
    source = _source(evidence, study, run)
    if source is not None:
        try:
            sets = observed.ids(source)
        except (MissingObject, CorruptObject) as error:
            missing.append(f"{error.subject}: {error.reason}")
        else:
            for part in _TRAINED:
                places |= {int(of): (part, place) for place, of in enumerate(sets[part])}
    return ModelAudit(
        study=study,
        run=run,
        chain=_agreeing(list(_chain(study, run, evidence))),
        samples=tuple(_samples(request, places, outputs)),
        missing=tuple(missing),
    )


def _source(evidence: SweepEvidence, model: str, run: Run) -> Source | None:
    """Where the outputs of a model's run were observed."""
    found = evidence.all_observations.sources(model, "outputs")
    return next((source for source in found.values if source.run == run), None)


def _samples(
    request: Request, places: Mapping[int, tuple[SetName, int]], outputs: Mapping[str, Outputs]
) -> Iterator[SampleAudit]:
    for sample, name in request.samples.items():
        if sample not in places:
            yield SampleAudit(name, sample, "", {})
            continue
        part, place = places[sample]
        scores = {when: _scores(one, part, place) for when, one in outputs.items()}
        yield SampleAudit(name, sample, part, scores)


def _scores(model: Outputs, part: SetName, place: int) -> Scores:
    confidence = float(model.confidence[part][place])
    alike = model.labels["test"] == model.labels[part][place]
    unseen = model.confidence["test"][alike]
    return Scores(
        loss=float(np.logaddexp(0, -confidence)),
        confidence=confidence,
        as_confident=float(np.mean(unseen >= confidence)) if len(unseen) else None,
    )


def _chain(study: str, run: Run, evidence: SweepEvidence) -> Iterator[Link]:
    """The links of a model: training, unlearning, retraining, sets, and what was observed."""
    observed, store = evidence.all_observations, evidence.store
    row = observed.runs(study)[0]
    sources = {
        when: _source(evidence, name, run)
        for when, name in zip(WHEN, (ORIGINAL, study, RETRAIN), strict=True)
    }
    own = sources["after"]
    if own is None:
        return
    original, unlearned, retrained = (
        row.get(name) for name in ("key_original", "key_unlearn", "key_retrained")
    )
    yield _link("original", ("pretrain", "bring"), original, store)
    yield _link("unlearned", ("unlearn",), unlearned, store, {"original": original})
    if isinstance(retrained, str):
        yield _link("retrained", ("retrain", "bring"), retrained, store)
    yield _link("sets", ("samples",), own.samples, store)
    models = dict(zip(WHEN, (original, unlearned, retrained), strict=True))
    for when, source in sources.items():
        if source is not None:
            inputs = {"model": models[when]}
            yield _link(f"outputs {when}", ("observe",), source.key, store, inputs)


def _agreeing(links: Sequence[Link]) -> tuple[Link, ...]:
    """The links, with a problem where one is about another forget set, split or dataset."""
    said: dict[str, Any] = {}
    checked = []
    for link in links:
        config = {} if link.record is None else link.record.config
        for name in ("dataset", "forget_set", "seed"):
            if name in config and said.setdefault(name, config[name]) != config[name]:
                problem = f"its {name} is not that of the links before it"
                link = replace(link, problem="; ".join(filter(None, (link.problem, problem))))
        checked.append(link)
    return tuple(checked)


def _link(
    role: str,
    kinds: Iterable[str],
    key: Any,
    store: Store,
    inputs: Mapping[str, Any] | None = None,
) -> Link:
    """A link, with all its files read again.

    Args:
        role: of the link.
        kinds: that its step may be of.
        key: of the step, as the row says.
        store: that holds it.
        inputs: those that the chain needs it to have.
    """
    for kind in kinds if isinstance(key, str) else ():
        try:
            data = store.objects.read(record_name(kind, key))
        except MissingObject:
            continue
        digest = hashlib.sha256(data).hexdigest()
        try:
            record = from_bytes(kind, key, data)
        except CorruptObject as error:
            return Link(role, None, digest, f"{error.subject}: {error.reason}")
        return Link(role, record, digest, "; ".join(_problems(record, store, inputs or {})))
    return Link(role, None, "", f"there is no record of {' or '.join(kinds)} {key}")


def _problems(record: Record, store: Store, inputs: Mapping[str, Any]) -> Iterator[str]:
    if content_key(record.config) != record.key or record.config.get("inputs") != record.inputs:
        yield "its config is not what its key hashes"
    for role, key in inputs.items():
        if record.inputs.get(role) != key:
            yield f"its {role} is {record.inputs.get(role)}, not {key}"
    for name in record.files:
        try:
            store.read_artifact(record, name)
        except (MissingObject, CorruptObject) as error:
            yield f"{name}: {error.reason}"


def plain(found: Audit, **about: Any) -> dict[str, Any]:
    """An audit in JSON's types.

    Args:
        found: the audit.
        about: what else the file says: of which sweep, when, by whom.
    """
    return {
        "format": "unlearn_ray audit 1",
        **about,
        "request": found.request.plain(),
        "holds": found.holds,
        "not_audited": list(found.not_audited),
        "models": [_plain_model(one, found.request) for one in found.models],
    }


def _plain_model(model: ModelAudit, request: Request) -> dict[str, Any]:
    counts = model.counts()
    told = next((link.record for link in model.chain if link.role == "unlearned"), None)
    forgotten = {} if told is None else told.config.get("forget_set", {})
    return {
        "study": model.study,
        "seed": model.run.seed,
        "replicate": model.run.replicate,
        "intact": model.intact,
        "named_samples": {**{part: counts[part] for part in _TRAINED}, "in_no_set": counts[""]},
        # The digest is that of a forget set `ids` with these samples alone.
        "request_is_the_forget_set": forgotten.get("sha256") == request.digest,
        "missing": list(model.missing),
        "chain": [link.plain() for link in model.chain],
        "samples": [_plain_sample(sample) for sample in model.samples],
    }


def _plain_sample(sample: SampleAudit) -> dict[str, Any]:
    told: dict[str, Any] = {"sample": sample.name, "id": sample.sample, "set": sample.part or None}
    for when, scores in sample.scores.items():
        told[when] = {
            "loss": _finite(scores.loss),
            "confidence": _finite(scores.confidence),
            "test_samples_as_confident": scores.as_confident,
        }
    return told


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def mean_loss(samples: Sequence[SampleAudit], when: str) -> float | None:
    """Of the samples that have one; None if none has."""
    losses = [sample.scores[when].loss for sample in samples if when in sample.scores]
    return math.fsum(losses) / len(losses) if losses else None
