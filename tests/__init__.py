import os

if shift := int(os.environ.get("SHIFT_SEEDS", "0")):
    # A process that a test has started.
    from tests.seeds import shift_seeds

    shift_seeds(shift)
