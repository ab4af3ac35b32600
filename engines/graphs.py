"""CUDA graphs: a network of many small kernels, launched as one.

A small network on a card is bound by launches: at 16 pictures of 32 x 32 the emoji model takes about 400 kernels of a few
microseconds each, and Python twice as long to ask for them. A graph records them once for each shape of the input and plays
them back with one launch. On other devices, and where recording fails, the function is called as it is.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakMethod, ref

import torch
from torch import Tensor, nn

MOST = 16  # recordings kept for a function, the last used ones
AFTER = 2  # calls of one shape before it is recorded: recording costs about as much as four
TRIES = 3  # after which a shape that cannot be recorded is called as it is
SHAPES = 256  # whose calls are counted
RECORD = True  # False: every function is called as it is, to compare
_recording = threading.RLock()  # a card records for one thread at a time


class Graph:
    """One recording of a function of tensors; a call copies the arguments in, plays it, and copies the result out."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Tensor, ...], pool: Any = None):
        """pool: memory of earlier recordings that are never played at the same time."""
        with torch.inference_mode(False), torch.no_grad():
            self.arguments = tuple(torch.empty_like(a).copy_(a) for a in arguments)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                function(*self.arguments)  # libraries choose kernels and workspaces before the recording
            torch.cuda.current_stream().wait_stream(side)
            self.graph = torch.cuda.CUDAGraph()
            # other threads may ask the card for memory meanwhile
            with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
                self.result = function(*self.arguments)

    @property
    def pool(self) -> Any:
        """The memory that it works in."""
        return self.graph.pool()

    def __call__(self, *arguments: Tensor) -> Any:
        with torch.no_grad():
            for own, given in zip(self.arguments, arguments, strict=True):
                own.copy_(given, non_blocking=True)
            self.graph.replay()
            if isinstance(self.result, Tensor):
                return self.result.clone()
            return tuple(part.clone() for part in self.result)


class Captured:
    """A function of tensors (to a tensor or a tuple of them) whose calls on a card are recorded, once for each shape.

    The function must do the same work whatever its arguments hold, and may neither read a number off the card nor make a
    tensor of one. What it closes over is as it was when it was recorded.

    most: recordings kept, the last used ones; they share their memory, as one is played at a time
    """

    graph = Graph

    def __init__(self, function: Callable[..., Any], most: int = MOST):
        self.function, self.most = function, most
        self.pool: Any = None
        self.graphs: OrderedDict[tuple, Any] = OrderedDict()
        self.calls: Counter[tuple] = Counter()
        self.failures: Counter[tuple] = Counter()
        self.lock = threading.Lock()

    def __call__(self, *arguments: Tensor) -> Any:
        if not self.on_card(arguments):
            return self.function(*arguments)
        key = tuple((a.shape, a.stride(), a.dtype, a.device) for a in arguments)
        with self.lock:  # one recording has one place for its arguments
            if key not in self.graphs:
                self._record(key, arguments)
            if key not in self.graphs:
                return self.function(*arguments)
            self.graphs.move_to_end(key)
            return self.graphs[key](*arguments)

    def _record(self, key: tuple, arguments: tuple[Tensor, ...]) -> None:
        """Record a shape that has been asked for often enough."""
        if self.calls[key] < AFTER:
            if len(self.calls) > SHAPES:
                self.calls.clear()
                self.failures.clear()
            self.calls[key] += 1
            return
        try:
            with _recording:
                self.graphs[key] = self.graph(self.function, arguments, self.pool)
            self.pool = self.graphs[key].pool
        except RuntimeError:  # something in it cannot be recorded, or another's work came in between
            self.failures[key] += 1
            if self.failures[key] == TRIES:
                self.graphs[key] = self.function
        while len(self.graphs) > self.most:
            old, _ = self.graphs.popitem(last=False)
            del self.calls[old], self.failures[old]  # if it comes back, it is counted anew

    @staticmethod
    def on_card(arguments: tuple[Tensor, ...]) -> bool:
        return RECORD and all(a.device.type == "cuda" for a in arguments)


def recorded(method: Callable[..., Any], most: int = MOST) -> Captured:
    """A method whose calls are recorded. Its object, which keeps this, is held weakly, so that both go together."""
    weak = WeakMethod(method)

    def call(*arguments: Tensor) -> Any:
        held = weak()
        assert held is not None  # whoever calls holds the object
        return held(*arguments)

    return Captured(call, most)


_networks: WeakKeyDictionary[nn.Module, Captured] = WeakKeyDictionary()


def network(model: Callable) -> Callable[..., Tensor]:
    """`model(x, t, *labels).sample` of a UNet2DModel, recorded; the recordings go when the model does.

    t: whole timestep, a tensor on the model's device
    """
    if not isinstance(model, nn.Module):
        return lambda *arguments: model(*arguments).sample
    if model not in _networks:
        _networks[model] = Captured(partial(_sample, ref(model)))
    return _networks[model]


def _sample(model: ref[nn.Module], *arguments: Tensor) -> Tensor:
    held = model()
    assert held is not None  # whoever calls holds it
    return held(*arguments).sample
