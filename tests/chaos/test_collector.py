"""`gc` through a network that loses requests, killed and run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos import ENVIRONMENT, RATES
from tests.chaos.collector import collected, left_wrong
from tests.chaos.evidence import History
from tests.chaos.proxy import FaultyProxy
from tests.keeping.searched import SEARCHED, search
from tests.s3_server import S3Server
from tests.tiny import runtime, tiny_sweep
from unlearn_ray.keeping.merging import merge
from unlearn_ray.storage.store import open_store


@pytest.mark.timeout(180)
def test_what_the_table_needs_is_there(s3_server: S3Server, tmp_path: Path) -> None:
    here = runtime(tmp_path / "store")
    search(tiny_sweep(tmp_path, SEARCHED), here)
    direct = open_store(s3_server.store_url("chaos"))
    merge(direct, here.store)
    assert {each.partition(":")[0] for each in left_wrong(direct)} == {"not collected"}
    with FaultyProxy(s3_server.ports["proxy"], RATES, 0) as proxy:
        url = direct.url.replace(s3_server.endpoint, proxy.endpoint)
        assert collected(url, direct, ENVIRONMENT, seed=0) == []
        history = History(direct.url.split("/")[2], "chaos/", proxy.exchanges)
        # All that it wrote or deleted, and no step.
        assert history.lost(s3_server.client) == []
        assert history.run_again() == []
        assert proxy.faults.total() > 0
