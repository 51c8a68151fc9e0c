"""Device, precision and compilation.

Measured on two-core AVX2 machines: bf16 autocast runs at 0.08x the speed of float32, and under
other load a second OpenMP thread makes small networks 4 to 15 times slower. So a CPU worker
computes in float32 on one thread; a GPU worker uses bf16 autocast and, for long runs, a compiled
encoder.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from unlearn_ray.core.collective import world_size
from unlearn_ray.core.errors import MachineError
from unlearn_ray.core.precision import round_to_tf32
from unlearn_ray.train.compiled import compile_children

# Mark, in a machine's kernels, a GPU that repeats every digit, and one that replays iterations.
DETERMINISTIC = "deterministic"
GRAPHS = "graphs"

# Compiling takes about a minute; below this many iterations it does not pay off.
COMPILE_FROM_ITERATIONS = 5_000


@dataclass(frozen=True)
class Machine:
    """The hardware that numbers depend on besides the step's config: in every row, in no key.

    Attributes:
        device: "cuda: " and the model of the GPU, or "cpu: " and that of the CPU.
        threads: CPU threads; 1 on a GPU, where their number has no effect.
        kernels: the instruction set of PyTorch's kernels, and limits that the environment sets for
            other libraries; of a GPU also whether they are deterministic, and replayed as graphs.
    """

    device: str
    threads: int
    kernels: str

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.device}, {self.kernels}, {threads}"

    def facts(self) -> dict[str, str | int]:
        """The same as a dict, as in results of steps and rows."""
        return asdict(self)


@dataclass(frozen=True)
class Compute:
    """The device of this process, with its precision and compilation.

    Attributes:
        device: where it computes.
        share: of the GPU's memory, in (0, 1], that this process may use.
        deterministic: whether a GPU repeats every digit; a CPU always does.
        graphs: whether iterations are captured and replayed as a CUDA graph (`train.step_graph`).
    """

    device: torch.device
    share: float = 1.0
    deterministic: bool = False
    graphs: bool = False

    @classmethod
    def cpu(cls, threads: int = 1) -> Compute:
        """The CPU, whatever else this process sees; configures PyTorch for it.

        Results are deterministic, bit for bit, for the same number of threads.
        """
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        return cls(torch.device("cpu"))

    @classmethod
    def gpu(
        cls,
        threads: int = 1,
        *,
        share: float = 1.0,
        deterministic: bool = False,
        graphs: bool = False,
    ) -> Compute:
        """The first GPU that this process may use; configures PyTorch for it.

        Args:
            threads: of the CPU.
            share: of the GPU, in (0, 1]: a process on a part of it may use that part of its memory.
            deterministic: whether to use only algorithms that repeat every digit. Otherwise some
                add in an order that changes from run to run, and those of convolutions are chosen
                by trying them out.
            graphs: whether iterations are captured and replayed as a CUDA graph.

        Raises:
            MachineError: PyTorch finds none.
        """
        if not torch.cuda.is_available():
            raise MachineError(
                f"PyTorch {torch.__version__} on {platform.node()}",
                "it finds no GPU, and one was requested",
                "install PyTorch's build for CUDA and the GPU's driver there, or request no GPU",
            )
        torch.set_num_threads(threads)
        if deterministic:
            # cuBLAS reads it when it first computes.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # A CPU of this process may have set it.
        torch.use_deterministic_algorithms(deterministic)
        torch.backends.cudnn.benchmark = not deterministic
        round_to_tf32(False, False)
        device = torch.device("cuda", torch.cuda.current_device())
        if share < 1:
            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(
                share_of_memory(share, total) / total, device
            )
        return cls(device, share, deterministic, graphs)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def machine(self) -> Machine:
        """The hardware that this process computes on."""
        if self.on_gpu:
            major, minor = torch.cuda.get_device_capability(self.device)
            model = torch.cuda.get_device_name(self.device)
            marks = {DETERMINISTIC: self.deterministic, GRAPHS: self.graphs}
            kernels = [f"sm_{major}{minor}", *(mark for mark, on in marks.items() if on)]
            return Machine(f"cuda: {model}", 1, " ".join(kernels))
        return Machine(f"cpu: {cpu_model()}", torch.get_num_threads(), cpu_kernels())

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 on a GPU, nothing elsewhere."""
        return torch.autocast("cuda", torch.bfloat16) if self.on_gpu else nullcontext()

    def place(self, module: nn.Module, iterations: int) -> nn.Module:
        """Move a module to the device, in channels_last, compiled if that pays off."""
        module = module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Communication between workers would break a compiled encoder's graph.
        if self.on_gpu and world_size() == 1 and iterations >= COMPILE_FROM_ITERATIONS:
            compile_children(module)
        return module


# What a process takes of a GPU besides its tensors: the driver's context and loaded kernels.
CONTEXT_BYTES = 10**9


def share_of_memory(share: float, total: int) -> int:
    """Bytes for the tensors of a process on a share, in (0, 1], of a GPU with so many bytes."""
    return max(int(share * total) - CONTEXT_BYTES, int(share * total) // 2)


# Variables that limit the instructions of the libraries that PyTorch computes with.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")


def cpu_kernels() -> str:
    """The instruction set of PyTorch's own kernels, and limits set for oneDNN and MKL."""
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *limits])


def cpu_model() -> str:
    """The CPU model as reported by the system, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


@dataclass
class Stopwatch:
    """Compute seconds within `running()`: device time on a GPU, CPU time on a CPU.

    CPU time is summed over all threads of this process. Unlike wall time it hardly depends on
    other load.
    """

    compute: Compute
    seconds: float = 0.0
    _events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time everything inside the context."""
        if self.compute.on_gpu:
            begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            begin.record()
            try:
                yield
            finally:
                end.record()
                self._events.append((begin, end))
        else:
            started = time.process_time()
            try:
                yield
            finally:
                self.seconds += time.process_time() - started

    def leave_out(self, seconds: float) -> None:
        """Take away CPU seconds of another thread, which `running` has counted."""
        self.seconds = max(0.0, self.seconds - seconds)

    def restart(self, seconds: float) -> None:
        """Set the count to so many seconds."""
        self._events.clear()
        self.seconds = seconds

    def total(self) -> float:
        """Seconds so far; synchronises with the device."""
        if self._events:
            torch.cuda.synchronize(self.compute.device)
            self.seconds += sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
            self._events.clear()
        return self.seconds
