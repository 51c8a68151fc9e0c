"""The conformance suite without a test file: each check is run, and its outcome returned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pytest

from unlearn_ray.core.boundary import traceback_of
from unlearn_ray.core.registry import Part
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.suite import checks_of


@dataclass(frozen=True)
class Outcome:
    """What became of a check.

    Attributes:
        said: why it failed or does not apply; its traceback if that tells more.
    """

    check: Check
    state: Literal["passed", "failed", "skipped"]
    said: str = ""


def outcomes_of(part: type[Part]) -> Iterator[Outcome]:
    """Run every check of a part, all cases of a requirement after each other."""
    checks = {check.id: check for check in checks_of(part)}.values()
    names = list(dict.fromkeys(check.name for check in checks))
    for check in sorted(checks, key=lambda check: names.index(check.name)):
        yield _outcome(check)


def _outcome(check: Check) -> Outcome:
    try:
        check()
    except pytest.skip.Exception as skipped:
        return Outcome(check, "skipped", f"{skipped}")
    except (AssertionError, pytest.fail.Exception) as failed:
        return Outcome(check, "failed", f"{failed}".strip() or traceback_of(failed))
    except Exception as error:
        return Outcome(check, "failed", traceback_of(error))
    return Outcome(check, "passed")
