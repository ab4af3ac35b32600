"""Who computes when: short answers in a few threads; long runs one at a time, visitors in turn.

All engines run in these threads, for torch keeps a pool of its own for every thread that it is called from.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import gc
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from engines.arguments import Refusal

CROWD = 200  # short answers that may wait
EACH = 8  # long runs of one visitor that may
ARENAS = -8  # M_ARENA_MAX of malloc.h
_END = object()


def limit_torch(threads: int) -> None:
    """How many threads torch has for this one, where the host has not said otherwise.

    They wait for one another wherever a core is taken: on a busy machine HiPPO's views take half as long again with two.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(threads, os.cpu_count() or 1))


# more at once would only slow each other down
SHORT = ThreadPoolExecutor(os.cpu_count() or 1, "short", limit_torch, (1,))


def switch_often() -> None:
    """A short answer takes the interpreter many times, and waits so long each time."""
    sys.setswitchinterval(5e-4)


def give_back(seconds: float = 10) -> None:
    """Every so often return to the system what glibc keeps of arrays that are gone (a third of all memory after 2,500 redraws)."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        trim = libc.malloc_trim
        libc.mallopt(ARENAS, 2)  # each thread would have its own, eight a core
    except (OSError, AttributeError):  # another system's memory is its own affair
        return

    def forever() -> None:
        spent = 0.0
        while True:
            time.sleep(seconds)
            if time.process_time() - spent > 1:  # there is nothing to give back where nothing is computed
                gc.collect()  # what a visitor left may hold arrays in a circle, which Python looks for far too seldom
                trim(0)
                spent = time.process_time()

    threading.Thread(target=forever, name="memory", daemon=True).start()


def stand_back() -> None:
    """Let short answers go before what this thread, and the threads that torch starts for it, compute."""
    limit_torch(2)
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


async def inside(pool: Executor, function: Callable, *arguments: Any) -> Any:
    """The function's value, computed in a thread of the pool with the caller's context; Refusal where too many wait."""
    if pool is SHORT and SHORT._work_queue.qsize() >= CROWD:
        raise _busy(CROWD)
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(pool, context.run, function, *arguments)  # pyright: ignore[reportArgumentType]


def _busy(count: int) -> Refusal:
    return Refusal("The studio is busy: {count} runs are waiting. Try again in a few minutes.", count=count)


@dataclass(eq=False)
class Ticket:
    """A long run that waits or goes on.

    turn: set when something changed for it
    is_running: whether it has its turn
    is_overtaken: whether a later run of the same visitor is to stand in its place
    """

    visitor: str
    address: str = ""
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    is_running: bool = False
    is_overtaken: bool = False


class Turns:
    """One long run at a time. Next is the visitor whose last turn is longest ago.

    most: runs that may wait (half of them from one address); seconds: after which a run that streams is stopped
    """

    def __init__(self, most: int, seconds: float):
        self.most, self.seconds = most, seconds
        self._pool = ThreadPoolExecutor(1, "long", stand_back)
        self._running: Ticket | None = None
        self._waiting: list[Ticket] = []
        self._served: OrderedDict[str, int] = OrderedDict()  # visitor -> number of the last turn
        self._turns = 0

    def ahead(self, ticket: Ticket) -> int:
        """How many runs come before this one."""
        return (self._running is not None) + self._order().index(ticket)

    async def stream(
        self,
        visitor: str,
        items: Iterator,
        wait: Callable[[int], Any] | None = None,
        only: bool = False,
        address: str = "",
    ) -> AsyncIterator:
        """The items, made when it is their turn; before that `wait(runs ahead)` (or None) every three seconds.

        only: a visitor's earlier runs end; address: where the visitor comes from
        Raises Refusal where too many wait already, or when the time is over.
        """
        ticket = self._take(visitor, address, only)
        try:
            while not ticket.is_running and not ticket.is_overtaken:
                yield wait(self.ahead(ticket)) if wait else None
                ticket.turn.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(ticket.turn.wait(), 3)
            end = time.monotonic() + self.seconds
            while not ticket.is_overtaken and (item := await inside(self._pool, next, items, _END)) is not _END:
                if ticket.is_overtaken:
                    return
                yield item
                if time.monotonic() > end:
                    raise Refusal(
                        "The run was stopped after {seconds} s, the limit that this studio's host has set. Ask for less.",
                        seconds=self.seconds,
                    )
        finally:
            self._end(ticket, items)

    def _take(self, visitor: str, address: str, only: bool) -> Ticket:
        if only:
            for other in [*self._waiting, *([self._running] if self._running else [])]:
                if other.visitor == visitor:
                    other.is_overtaken = True
                    other.turn.set()
        mine = sum(other.visitor == visitor for other in self._waiting)
        near = sum(other.address == address != "" for other in self._waiting)
        if len(self._waiting) >= self.most or mine >= EACH or near >= max(self.most // 2, 1):
            raise _busy(len(self._waiting))
        ticket = Ticket(visitor, address)
        self._waiting.append(ticket)
        self._next()
        return ticket

    def _order(self) -> list[Ticket]:
        served, left, order = dict(self._served), list(self._waiting), []
        while left:
            ticket = min(left, key=lambda one: served.get(one.visitor, 0))
            left.remove(ticket)
            order.append(ticket)
            served[ticket.visitor] = self._turns + len(order)
        return order

    def _next(self) -> None:
        if self._running is None and self._waiting:
            ticket = self._running = self._order()[0]
            self._waiting.remove(ticket)
            self._turns += 1
            self._served[ticket.visitor] = self._turns
            self._served.move_to_end(ticket.visitor)
            while len(self._served) > 10_000:
                self._served.popitem(last=False)
            ticket.is_running = True
            ticket.turn.set()

    def _end(self, ticket: Ticket, items: Iterator) -> None:
        if not ticket.is_running:
            self._waiting.remove(ticket)
            return
        loop = asyncio.get_running_loop()

        def free() -> None:
            self._running = None
            self._next()

        def closed(_: Any) -> None:
            with suppress(RuntimeError):  # the server is down
                loop.call_soon_threadsafe(free)

        # behind the step that may still be computed: only then is the device free
        self._pool.submit(getattr(items, "close", int)).add_done_callback(closed)


TURNS = Turns(int(os.environ.get("STUDIO_WAITING", "64")), float(os.environ.get("STUDIO_RUN_SECONDS", "600")))
