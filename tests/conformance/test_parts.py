"""Every built-in part conforms: a new one is tested unasked."""

from __future__ import annotations

from tests.conformance.digests import CONTRACTS
from unlearn_ray.core.registry import parts
from unlearn_ray.testing import conformance_of

test_part = conformance_of(*(part for of in CONTRACTS for part in parts(of).values()))


def test_there_are_parts_of_every_kind() -> None:
    assert all(parts(contract) for contract in CONTRACTS)
