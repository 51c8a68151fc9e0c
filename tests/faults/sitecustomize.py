"""Kills a sweep between a model's upload and its record.

Python loads this file in every process that finds its folder on PYTHONPATH: the driver, which
sets DIE_BEFORE_RECORD_OF to a kind of step, and its Ray workers, which inherit it.
"""

import importlib.abc
import importlib.util
import os
import signal
import sys

KIND = os.environ.get("DIE_BEFORE_RECORD_OF")
# The first process of the tree is the driver, the leader of its process group.
DRIVER = int(os.environ.setdefault("DIE_WITH_DRIVER", str(os.getpid())))
MODULE = "unlearn_ray.storage.local"


def kill_before_record(folder_class):
    """Let the first record of KIND kill the driver's group and whoever writes it."""
    create = folder_class.create

    def create_or_die(self, name, data):
        if name.startswith(f"records/{KIND}/"):
            os.killpg(DRIVER, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return create(self, name, data)

    folder_class.create = create_or_die


class Finder(importlib.abc.MetaPathFinder):
    """Finds MODULE as everybody does, and changes it once it is loaded."""

    def find_spec(self, name, path, target=None):
        """The spec of MODULE; None of any other."""
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            kill_before_record(module.LocalFolder)

        spec.loader.exec_module = load_and_change
        return spec


if KIND:
    sys.meta_path.insert(0, Finder())
