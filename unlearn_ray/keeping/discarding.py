"""`discard`: removes a sweep, and what no other sweep refers to.

Steps go first: their removal is announced, then their artifacts go and then their records, so that
a record without an artifact is known to be one (`storage.removals`). Rows, studies and kept files
follow; the manifest is last. Killed half-way, the sweep is still listed, and the next call removes
the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from unlearn_ray.core.errors import BadInput, StoreError, did_you_mean, listed, shown
from unlearn_ray.keeping.collection import kept_alone
from unlearn_ray.keeping.holdings import MANIFESTS, Holdings, Kept
from unlearn_ray.keeping.running import Watch
from unlearn_ray.storage import checkpoints
from unlearn_ray.storage.objects import THREADS
from unlearn_ray.storage.records import record_name
from unlearn_ray.storage.store import Lease, Store
from unlearn_ray.studies.history import Row

_AT_A_TIME = 200


@dataclass(frozen=True)
class Discard:
    """What goes with a sweep.

    Attributes:
        sweep: its name.
        rows: their names.
        steps: that no other sweep refers to.
        studies: keys of those that no other sweep has.
        files: objects of its manifest and its kept files.
        bytes: of the steps' artifacts.
        shared: how many of its steps stay, because other sweeps refer to them.
    """

    sweep: str
    rows: tuple[str, ...]
    steps: tuple[Kept, ...]
    studies: frozenset[str]
    files: tuple[str, ...]
    bytes: int
    shared: int


def discard(store: Store, sweep: str, agreed: Callable[[Discard], bool]) -> Discard | None:
    """Remove a sweep, unless it runs.

    Args:
        store: the store.
        sweep: its name.
        agreed: whether to remove what it is told.

    Returns:
        What was removed; None if that was not agreed.

    Raises:
        BadInput: there is no such sweep, or it runs.
        StoreError: another process removes or merges, or a sweep has started; some of it may be
            removed already.
    """
    with kept_alone(store, f"rm {sweep}") as lease:
        watch = Watch(store)
        running = watch.sweeps()
        if sweep in running:
            raise BadInput(f"sweep {sweep}", "it runs", "stop it, or wait for its end")
        found = _found(store, sweep, running)
        if not agreed(found):
            return None
        for start in range(0, len(found.steps), _AT_A_TIME):
            several = found.steps[start : start + _AT_A_TIME]
            _remove_steps(store, several, found, watch, running, lease)
        started = watch.news()
        lease.check()
        if started:
            raise _interfering(found, started)
        _remove_unfinished(store, found)
        if found.rows:
            store.remove_rows(found.rows)
        _delete(store, _of_studies(store, found.studies))
        _delete(store, found.files[:-1])
        _delete(store, found.files[-1:])
    return found


def _found(store: Store, sweep: str, running: frozenset[str]) -> Discard:
    holdings = Holdings.of(store)
    known = {*holdings.sweeps, *_named(store)}
    if sweep not in known:
        reason = f"no sweep of this name is in {store.url}"
        raise BadInput(f"sweep {shown(sweep)}", reason, did_you_mean(sweep, known))
    # A damaged manifest of its own tells nothing that its rows do not.
    others_unread = holdings.unread - {f"{MANIFESTS}{sweep}.json"}
    replace(holdings, unread=others_unread).check_whole(store, running)
    _check_searches(holdings, sweep)
    files = (*store.objects.names(f"sweep_files/{sweep}/"), f"{MANIFESTS}{sweep}.json")
    own = set(holdings.references.get(sweep, ()))
    own |= {key for key, record in holdings.records.items() if record.sweep == sweep}
    others = _needed_by_others(holdings, sweep, running)
    going = own - others
    steps = tuple(
        record
        for record in (holdings.records[key] for key in sorted(going))
        if not record.along or record.along in going
    )
    return Discard(
        sweep=sweep,
        rows=tuple(row["row"] for row in holdings.rows_of.get(sweep, ())),
        steps=steps,
        studies=_studies(holdings, [sweep]) - _studies(holdings, {*holdings.sweeps} - {sweep}),
        files=files,
        bytes=sum(entry.size for step in steps for entry in holdings.present(step)),
        shared=len(own & others),
    )


def _check_searches(holdings: Holdings, sweep: str) -> None:
    """Refuse to remove trials that another sweep counts as its own, having the same study."""
    run = {
        name: {_trial_run(row) for row in rows if row["purpose"] == "tuning"}
        for name, rows in holdings.rows_of.items()
    }
    elsewhere = {trial for name, trials in run.items() if name != sweep for trial in trials}
    alone = run.get(sweep, set()) - elsewhere
    users = [
        name
        for name, manifest in holdings.manifests.items()
        if name != sweep
        and any(key == study.key and n < study.trials for study in manifest.studies
                for key, n, *_ in alone)
    ]  # fmt: skip
    if users:
        reason = f"its trials are also those of {listed(users)}, which would have to search again"
        raise BadInput(f"sweep {sweep}", reason, "remove these sweeps first, or keep it")


def _trial_run(row: Row) -> tuple[str, int, str, int]:
    return row["study_key"], row["trial"], row["point"], row["seed"]


def _named(store: Store) -> set[str]:
    """The names of sweeps with an object of their own, whatever is in it."""
    manifests = (name.removeprefix(MANIFESTS) for name in store.objects.names(MANIFESTS))
    files = (name.split("/")[1] for name in store.objects.names("sweep_files/"))
    return {*files, *(name.removesuffix(".json") for name in manifests)}


def _needed_by_others(holdings: Holdings, sweep: str, running: Iterable[str]) -> frozenset[str]:
    others = [keys for name, keys in holdings.references.items() if name != sweep]
    asked = {
        wanted.key
        for name in running
        if name in holdings.manifests
        for wanted in holdings.manifests[name].references
    }
    return holdings.descendants(asked).union(*others)


def _studies(holdings: Holdings, sweeps: Iterable[str]) -> frozenset[str]:
    found = {
        study.key
        for name in sweeps
        if name in holdings.manifests
        for study in holdings.manifests[name].studies
    }
    rows = (row for name in sweeps for row in holdings.rows_of.get(name, ()))
    return frozenset(found | {row["study_key"] for row in rows if row["study_key"]})


def _remove_steps(
    store: Store,
    several: Sequence[Kept],
    found: Discard,
    watch: Watch,
    running: frozenset[str],
    lease: Lease,
) -> None:
    steps = [record.step for record in several]
    earlier = store.removals.steps()
    # One that has just read a record learns that its artifact was removed.
    store.removals.announce(steps, f"rm {found.sweep}")
    started = watch.news()
    # Before anything is withdrawn: whoever took over may have deleted these files.
    lease.check()
    if started:
        store.removals.withdraw(step for step in steps if step not in earlier)
        raise _interfering(found, started)
    _delete(store, [name for one in several for name in one.files])
    _delete(store, [record_name(*step) for step in steps])


def _interfering(found: Discard, started: Iterable[str]) -> StoreError:
    return StoreError(
        f"sweep {found.sweep}",
        f"not removed, or not all of it: {listed(sorted(started))} started meanwhile",
        "run the command again",
    )


def _remove_unfinished(store: Store, found: Discard) -> None:
    """What killed steps of the sweep left, and why steps of it failed."""
    left = {key for key, one in store.holders().items() if one.work.sweep == found.sweep}
    keys = left | {record.key for record in found.steps}
    saved = store.objects.names(checkpoints.FOLDER)
    _delete(store, [name for name in saved if checkpoints.key_in(name) in keys])
    for key in left:
        store.forget_lease(key)
    failed = [(kind, key) for key, kind in store.failures.kinds().items()]
    own = [one for one in store.failures.read(failed).values() if one.sweep == found.sweep]
    store.failures.forget((one.kind, one.key) for one in own)
    complete = {(kind, key) for key, kind in store.kinds().items()}
    without = store.removals.steps() - complete
    if without:
        without -= {(record.kind, record.key) for record in store.sharing().values()}
    store.removals.withdraw(without)


def _of_studies(store: Store, studies: Collection[str]) -> list[str]:
    """The claims of studies, and their identities."""
    claims = [name for study in studies for name in store.objects.names(f"claims/{study}/")]
    identities = store.objects.names("studies/")
    return claims + [
        name for name in identities if name.split("/")[-1].removesuffix(".json") in studies
    ]


def _delete(store: Store, names: Iterable[str]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(store.objects.delete, names))
