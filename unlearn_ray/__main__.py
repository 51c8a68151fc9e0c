"""`python -m unlearn_ray`: the command `unlearn-ray`, where its script is not installed."""

import sys

from unlearn_ray.cli.main import console

if __name__ == "__main__":
    sys.exit(console())
