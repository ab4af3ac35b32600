"""Where a computation runs, how long it takes there, and what is done where its memory ends."""

from __future__ import annotations

import errno
import gc
import re
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import torch

# torch's own of a CPU and the allocation failures of CUDA's libraries are bare RuntimeErrors; "an illegal memory access" is
# another matter
LACKS = re.compile(r"out of memory|(not enough|allocate) memory|STATUS_(ALLOC|\w*ALLOCATION)_FAILED")
Item = TypeVar("Item")


def resolve(device: str | torch.device | None = None) -> torch.device:
    """The named device, or the best one present (CUDA, then MPS, then CPU)."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def is_memory(fault: BaseException) -> bool:
    """Whether a fault says that there is not enough memory, of the machine or of a card."""
    if isinstance(fault, OSError):
        return fault.errno == errno.ENOMEM
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(fault, kinds) or (isinstance(fault, RuntimeError) and bool(LACKS.search(str(fault))))


def give_back(fault: BaseException) -> None:
    """Give back the memory that the frames of a fault hold."""
    found: BaseException | None = fault
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__context__
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Timed(Generic[Item]):
    """The items of a generator; `seconds` is what they took to make, without what is done between them."""

    def __init__(self, items: Iterable[Item], device: torch.device):
        self.seconds = 0.0
        self._items, self._device = iter(items), device

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        started = time.perf_counter()
        try:
            return next(self._items)
        finally:
            if self._device.type == "cuda":  # which works on after its kernels are asked for
                torch.cuda.synchronize(self._device)
            self.seconds += time.perf_counter() - started
