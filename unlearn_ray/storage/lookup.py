"""Steps found by the first digits of their keys."""

from __future__ import annotations

from collections.abc import Mapping

from unlearn_ray.core.errors import BadInput, listed, shown
from unlearn_ray.storage.store import Failure, Record, Store


def find_record(store: Store, prefix: str) -> Record:
    """The record of the one completed step whose key starts with `prefix`.

    Steps that share a model's record are looked for only if no other key starts with it: that
    takes a request for each model.

    Raises:
        BadInput: no key or several keys start with it.
    """
    kinds = store.kinds()
    if not any(key.startswith(prefix) for key in kinds):
        sharing = store.sharing()
        return sharing[_only(prefix, {key: record.kind for key, record in sharing.items()})]
    key = _only(prefix, kinds)
    record = store.record(kinds[key], key)
    if record is None:
        raise BadInput(f"key {prefix}", "its record was just removed", "run the command again")
    return record


def find_step(store: Store, prefix: str) -> Record | Failure:
    """The record of the one step whose key starts with `prefix`; its failure, if it has none.

    Raises:
        BadInput: no key or several keys start with it.
    """
    kinds = store.kinds()
    failed = {key: kind for key, kind in store.failures.kinds().items() if key not in kinds}
    known = {**kinds, **failed}
    if not any(key.startswith(prefix) for key in known):
        return find_record(store, prefix)
    key = _only(prefix, known)
    if key in failed:
        failure = store.failures.read([(failed[key], key)]).get(key)
        if failure is not None:
            return failure
    return find_record(store, key)


def _only(prefix: str, kinds: Mapping[str, str]) -> str:
    matching = sorted(key for key in kinds if key.startswith(prefix))
    if len(matching) == 1:
        return matching[0]
    reason = "several keys start with it" if matching else "no key starts with it"
    found = listed(f"{kinds[key]} {key}" for key in matching)
    remedy = f"give more digits: {found}" if matching else "find keys with `query`"
    raise BadInput(f"key {shown(prefix)}", reason, remedy)
