"""`python -m tests.scheduling.simulated_program FILE`: a sweep that may name simulated parts."""

from __future__ import annotations

import sys

import benchmarks.simulated  # noqa: F401  registers them
from unlearn_ray.sweep import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
