"""`gc` and `rm` on random stores: what must stay is found a second time, row by row."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_ray.keeping.collection import collect
from unlearn_ray.keeping.discarding import discard
from unlearn_ray.keeping.policy import Models
from unlearn_ray.keeping.usage import usages
from unlearn_ray.monitor.manifest import Manifest, Wanted
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import Record, Store, open_store

TIME = "2026-11-30T00:00:00+00:00"
LARGE = "view_features"
DEAD = ProcessIdentity("elsewhere", 1, "another boot", "1")
SEEDS = (0, 1)
REPORTING = 5


def key_of(*what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


@dataclass
class Trial:
    """One trial: its score on each seed that it ran, and how it ended."""

    scores: list[float]
    state: str
    large: bool


@dataclass
class Study:
    """One study, which several sweeps may have, each with its own number of trials."""

    name: str
    trials: list[Trial]
    wanted: dict[str, int]

    @property
    def key(self) -> str:
        return key_of("study", self.name)


trials = st.builds(
    Trial,
    scores=st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0]), min_size=1, max_size=len(SEEDS)),
    state=st.sampled_from(["complete", "complete", "complete", "stopped", "failed"]),
    large=st.booleans(),
)
NAMES = ("first", "second", "third")
counts = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5), min_size=1)


@st.composite
def studies(draw: st.DrawFn) -> list[Study]:
    return [
        Study(f"study{number}", draw(st.lists(trials, min_size=1, max_size=5)), draw(counts))
        for number in range(draw(st.integers(1, 3)))
    ]


@dataclass
class Invented:
    """A store of invented sweeps, and what each row needs, by its name."""

    store: Store
    needs: dict[str, set[str]] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweep_now: str = ""

    def step(self, kind: str, inputs: dict[str, str], *what: object, row: str = "") -> str:
        key = key_of(kind, *what)
        if self.store.record(kind, key) is None:
            file = "model.safetensors" if kind in ("pretrain", "retrain", "unlearn") else "samples"
            quantity = LARGE if "large" in what else "outputs"
            config = {"quantity": {"name": quantity}} if kind == "observe" else {}
            files = {file: f"{kind} {key}".encode()} if kind != "measure" else {}
            self.store.complete(
                Record(
                    kind=kind, key=key, config=config, inputs=inputs,
                    files=self.store.put_artifact(kind, key, files), result={}, seconds=1.0,
                    created=TIME, versions={}, host="here", sweep=self.sweep_now, row=row,
                    workers=1, accelerators=1.0, earlier_seconds=0.0,
                )
            )  # fmt: skip
        return key

    def references(self, seed: int) -> tuple[str, str]:
        return self.step("pretrain", {}, seed), self.step("retrain", {}, seed)

    def row(self, sweep: str, study: Study, number: int, seed: int, purpose: str) -> None:
        trial = study.trials[number]
        name = f"{study.key}/{sweep}/{purpose}-{number}-{seed}"
        original, retrained = self.references(seed)
        model = self.step("unlearn", {"original": original}, study.key, number, seed, row=name)
        read = {"model": model}
        seen = self.step("observe", read, model, row=name)
        observed = {"a": seen}
        if trial.large or purpose == "reporting":
            observed["b"] = self.step("observe", read, model, "large", row=name)
        measured = self.step("measure", observed, model, row=name)
        last = seed == SEEDS[: len(trial.scores)][-1] if purpose == "tuning" else False
        state = trial.state if last and trial.state != "complete" else "complete"
        row: dict[str, Any] = {
            "sweep": sweep, "study_key": study.key, "purpose": purpose, "study": study.name,
            "trial": number, "point": f"p{number}", "seed": seed, "state": state,
            "created": TIME, "hyperparameters": "{}", "failure": "it broke",
            "score": None if state == "failed" else trial.scores[SEEDS.index(seed)]
            if purpose == "tuning" else 1.0,
            "key_unlearn": model, "key_original": original, "key_retrained": retrained,
            "key_measure_accuracy": measured,
        }  # fmt: skip
        self.store.write_row(name, row)
        self.rows[name] = row
        self.needs[name] = {original, retrained, *observed.values(), model}

    def sweep(self, name: str, studies: list[Study], *, told: bool) -> None:
        self.sweep_now = name
        own = [study for study in studies if name in study.wanted]
        references = [key for seed in (*SEEDS, REPORTING) for key in self.references(seed)]
        for study in own:
            some = range(min(study.wanted[name], len(study.trials)))
            for number in some:
                for seed in SEEDS[: len(study.trials[number].scores)]:
                    self.row(name, study, number, seed, "tuning")
            for number in best(study, study.wanted[name], 1):
                self.row(name, study, number, REPORTING, "reporting")
        if told:
            wanted = (Wanted("finetune", s.key, s.name, s.wanted[name]) for s in own)
            manifest = Manifest(
                name, TIME, DEAD,
                tuple(Wanted("pretrain", key, key) for key in references),
                tuple(wanted), SEEDS, 1, 0, 0, None,
            )  # fmt: skip
            self.store.write_sweep(name, json.dumps(asdict(manifest)).encode())

    def present(self) -> set[str]:
        """The keys of the steps whose artifact is there."""
        return {name.split("/")[2] for name in self.store.objects.names("artifacts/")}

    def beside(self) -> dict[str, bytes]:
        """All but artifacts, removals and leases."""
        names = self.store.objects.names("")
        left_out = ("artifacts/", "removed/", "leases/")
        return {n: self.store.objects.read(n) for n in names if not n.startswith(left_out)}


def best(study: Study, wanted: int, count: int) -> list[int]:
    """The best complete trials among the first, by a plain sort."""
    complete = [
        (sum(trial.scores) / len(SEEDS), number)
        for number, trial in enumerate(study.trials[:wanted])
        if trial.state != "failed" and len(trial.scores) == len(SEEDS)
    ]
    return [number for _, number in sorted(complete)[:count]]


def goes_on(study: Study, number: int) -> bool:
    """Whether a trial has seeds left."""
    trial = study.trials[number]
    return trial.state == "complete" and len(trial.scores) < len(SEEDS)


@pytest.fixture(scope="module")
def invent(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Invented]:
    """Makes stores, one after another in the same place."""
    folder: Path = tmp_path_factory.mktemp("invented") / "store"

    def make(found: list[Study], untold: set[str]) -> Invented:
        shutil.rmtree(folder, ignore_errors=True)
        invented = Invented(open_store(str(folder), lease_seconds=1.0))
        for name in {name for study in found for name in study.wanted}:
            invented.sweep(name, found, told=name not in untold)
        return invented

    return make


@settings(max_examples=25)
@given(studies(), st.sampled_from(["reporting", "best", 1, 2, 9]), st.booleans())
def test_what_a_kept_row_needs_is_there(
    invent: Callable[..., Invented], found: list[Study], models: Models, compacted: bool
) -> None:
    invented = invent(found, set())
    if compacted:
        invented.store.compact()
    before, there = invented.beside(), invented.present()
    collected = collect(invented.store, models)
    assert invented.beside() == before
    removed = {one.record.key for one in collected.artifacts}
    assert there - invented.present() == removed
    kinds = {(one.record.kind, one.record.quantity) for one in collected.artifacts}
    assert kinds <= {("unlearn", ""), ("observe", LARGE)}
    needed: set[str] = set()
    for name, row in invented.rows.items():
        study = next(study for study in found if study.key == row["study_key"])
        count = {"reporting": 0, "best": 1}.get(str(models), models)
        assert isinstance(count, int)
        kept = {n for most in study.wanted.values() for n in best(study, most, count)}
        if row["purpose"] != "tuning" or row["trial"] in kept or goes_on(study, row["trial"]):
            needed |= invented.needs[name]
    assert needed <= invented.present()
    # And no more than that.
    weights = {one.record.key for one in collected.artifacts if one.record.kind == "unlearn"}
    models_there = set(invented.store.records("unlearn"))
    assert models_there - weights == models_there & needed
    assert invented.store.removals.steps() == {one.record.step for one in collected.artifacts}
    assert collect(invented.store, models).artifacts == []


@settings(max_examples=25)
@given(studies(), st.sets(st.sampled_from(NAMES), max_size=1), st.booleans())
def test_a_sweep_that_is_removed_takes_nothing_that_another_needs(
    invent: Callable[..., Invented], found: list[Study], untold: set[str], compacted: bool
) -> None:
    invented = invent(found, untold)
    if compacted:
        invented.store.compact()
    names = sorted({row["sweep"] for row in invented.rows.values()})
    _, total = usages(invented.store)
    assert total.bytes == sum(entry.size for entry in invented.store.objects.entries(""))
    assert untold or total.nobody == 0
    for name in names:
        assert discard(invented.store, name, lambda _: True) is not None
        left = {n: row for n, row in invented.rows.items() if row["sweep"] > name}
        stored = invented.store.read_rows().to_pylist()
        assert {row["row"] for row in stored} == left.keys()
        for row in stored:
            assert invented.needs[row["row"]] <= invented.present()
            assert {n: row.get(n) for n in left[row["row"]]} == left[row["row"]]
    assert invented.present() == set()
    assert set(invented.beside()) == set()
