"""The conformance suite: what every part owes, whether it is this package's or a user's own.

A whole test file, for pytest, of a method in one's own module:

    from mine import Mine
    from unlearn_ray.testing import conformance_of

    test_mine = conformance_of(Mine)

A method is tried with every family and a family with every method; datasets, forget sets, models
and metrics likewise. What is too large or slow at its defaults says by `tiny` what to try instead.
"""

import pkgutil

import pytest

# What the checks assert is shown with its values, as in a file of tests.
_modules = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
pytest.register_assert_rewrite(*_modules)

from unlearn_ray.testing.suite import conformance_of  # noqa: E402

__all__ = ["conformance_of"]
