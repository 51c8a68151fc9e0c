"""Two drivers at once on one real S3 store train every model once."""

from __future__ import annotations

import pytest

from tests.s3_server import S3Server
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, attempts, objects, rows, table


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_drivers_train_each_step_once(
    s3_server: S3Server, uninterrupted: Uninterrupted
) -> None:
    store = s3_server.store_url("some/prefix")
    with Driver(uninterrupted.file, store) as one, Driver(uninterrupted.file, store) as other:
        one.ends(0)
        other.ends(0)
    again = {training: count for training, count in attempts(store).items() if count != 1}
    assert again == {}, one.told() + other.told()
    assert attempts(store) == attempts(uninterrupted.store)
    assert set(objects(store, "records/")) == set(objects(uninterrupted.store, "records/"))
    noted = [line for line in (one.err + other.err).splitlines() if line.startswith("done: ")]
    assert len(noted) == len(set(noted)), noted
    assert rows(store) == uninterrupted.rows
    assert table(one.out) == table(other.out) == uninterrupted.table
