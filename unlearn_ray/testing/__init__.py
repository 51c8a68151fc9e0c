"""The conformance suite: tests that every part must pass, this package's or a user's own.

A complete pytest file for a method in your own module:

    from mine import Mine
    from unlearn_ray.testing import conformance_of

    test_mine = conformance_of(Mine)

A method is tested with every family and a family with every method; datasets, forget sets, models,
objectives and scores likewise. A part that is too large or slow at its defaults sets `tiny` for
the tests.
"""

import pkgutil

import pytest

# Failed assertions of the checks show their values, as in a test file.
_modules = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)]
pytest.register_assert_rewrite(*_modules)

from unlearn_ray.testing.suite import conformance_of  # noqa: E402

__all__ = ["conformance_of"]
