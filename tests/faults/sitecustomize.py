"""Kills a sweep, or its workers, at a place that the environment names; or raises an error there.

Python loads this file in every process that finds its folder on PYTHONPATH: the driver, which
sets the variable of a fault, and its Ray workers, which inherit it.

DIE_BEFORE_RECORD_OF=KIND     kill -9 of the driver and whoever writes the first record of KIND
DIE_UNLEARNING_BY=METHOD      kill -9 of every process that unlearns by METHOD
DIE_RESET=FILE                kill -9 of the first trial process that takes a second trial; it
                              leaves FILE behind
DIE_LAUNCHED=FILE             kill -9 of the first Ray Train worker whose work is launched; it
                              leaves FILE behind
RAISE_IN=MODULE:CLASS.METHOD  each call of this method raises the next of RAISE (names in `ERRORS`,
                              with commas, the last one again and again), and adds a line to the
                              file RAISED; with RAISE_ON_RANK only on that worker of a group
"""

import fcntl
import importlib.abc
import importlib.util
import os
import signal
import sys

KIND = os.environ.get("DIE_BEFORE_RECORD_OF")
METHOD = os.environ.get("DIE_UNLEARNING_BY")
RESET = os.environ.get("DIE_RESET")
LAUNCHED = os.environ.get("DIE_LAUNCHED")
RAISE_IN = os.environ.get("RAISE_IN")
# The first process of the tree is the driver, the leader of its process group.
DRIVER = int(os.environ.setdefault("DIE_WITH_DRIVER", str(os.getpid())))


def kill_before_record(module):
    """Let the first record of KIND kill the driver's group and whoever writes it."""
    create = module.LocalFolder.create

    def create_or_die(self, name, data):
        if name.startswith(f"records/{KIND}/"):
            os.killpg(DRIVER, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        return create(self, name, data)

    module.LocalFolder.create = create_or_die


def kill_in_loss(module):
    """Let the loss of the module's method kill the process that computes it."""

    def die(self, model, batch, task):
        os.kill(os.getpid(), signal.SIGKILL)

    (method,) = (each for each in vars(module).values() if getattr(each, "name", None) == METHOD)
    method.loss = die


def kill_launched(module):
    """Let the first call of a worker's `run_train_fn` kill its process."""
    launch = module.RayTrainWorker.run_train_fn

    def launch_or_die(self, train_fn_ref):
        die_once(LAUNCHED)
        return launch(self, train_fn_ref)

    module.RayTrainWorker.run_train_fn = launch_or_die


def kill_reset(module):
    """Let the first process that takes a second trial die of it."""
    reset = module.Trial.reset_config

    def reset_or_die(self, new_config):
        if hasattr(self, "trial"):
            die_once(RESET)
        return reset(self, new_config)

    module.Trial.reset_config = reset_or_die


class CannotBeSent(Exception):
    """What another process cannot make again from its arguments."""

    def __init__(self, first, second):
        super().__init__("only one argument")
        self.lock = __import__("threading").Lock()


class CannotBeTold(Exception):
    """What fails when it is asked what it says."""

    def __str__(self):
        raise RuntimeError("no words")


ERRORS = {
    "lines": lambda: ValueError("of two\nlines\x1b]0;title\x07"),
    "unsent": lambda: CannotBeSent(1, 2),
    "untold": CannotBeTold,
    "empty": AssertionError,
    "exit": lambda: SystemExit(3),
    "memory": lambda: MemoryError(),
}


def raise_in(module):
    """Let a method raise an error."""
    owner, name = RAISE_IN.partition(":")[2].split(".")
    method = getattr(getattr(module, owner), name)

    def raise_or_call(self, *args, **options):
        from torch import distributed

        wanted = os.environ.get("RAISE_ON_RANK")
        if wanted is None or int(wanted) == distributed.get_rank():
            names = os.environ["RAISE"].split(",")
            with open(os.environ["RAISED"], "a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                before = len(file.readlines())
                file.write(f"{os.getpid()}\n")
            raise ERRORS[names[min(before, len(names) - 1)]]()
        return method(self, *args, **options)

    setattr(getattr(module, owner), name, raise_or_call)


def die_once(file):
    """Kill this process, unless another has left `file` behind."""
    if not os.path.exists(file):
        open(file, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules as everybody does, and changes some once they are loaded."""

    def __init__(self, changes):
        self.changes = changes

    def find_spec(self, name, path, target=None):
        """The spec of a module to be changed; None of any other."""
        change = self.changes.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change
        return spec


changes = {}
if KIND:
    changes["unlearn_ray.storage.local"] = kill_before_record
if METHOD:
    changes[f"unlearn_ray.methods.{METHOD}"] = kill_in_loss
if RESET:
    changes["unlearn_ray.scheduling.studies"] = kill_reset
if LAUNCHED:
    changes["ray.train.v2._internal.execution.worker_group.worker"] = kill_launched
if RAISE_IN:
    changes[RAISE_IN.partition(":")[0]] = raise_in
if changes:
    sys.meta_path.insert(0, Finder(changes))
