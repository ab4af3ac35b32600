"""Long runs one at a time, visitors in turn."""

import asyncio
import threading
import time

import pytest

from engines.arguments import Refusal
from studio.turns import CROWD, SHORT, Turns, inside


async def collect(turns, visitor, items, log, **more):
    async for item in turns.stream(visitor, items, **more):
        if item is not None:
            log.append(item)


def counted(name, steps=2, seconds=0.01):
    for step in range(steps):
        time.sleep(seconds)
        yield f"{name}{step}"


def test_one_run_at_a_time_and_the_visitor_who_waited_longest_is_next():
    async def visit():
        turns, log = Turns(64, 60), []
        await asyncio.gather(
            *(collect(turns, "a", counted(f"a{i}."), log) for i in range(4)), collect(turns, "b", counted("b."), log)
        )
        return log

    log = asyncio.run(visit())
    assert log == ["a0.0", "a0.1", "b.0", "b.1", "a1.0", "a1.1", "a2.0", "a2.1", "a3.0", "a3.1"]


def test_who_waits_is_told_how_many_come_first():
    async def visit():
        turns, told, log = Turns(64, 60), [], []
        await asyncio.gather(
            *(collect(turns, name, counted(name), []) for name in "ab"),
            collect(turns, "c", counted("c"), log, wait=told.append),
        )
        return told, log

    told, log = asyncio.run(visit())
    assert told[0] == 2 and told == sorted(told, reverse=True) and log == ["c0", "c1"]


def test_more_than_may_wait_are_told_that_it_is_busy():
    async def visit():
        turns = Turns(1, 60)
        return await asyncio.gather(
            *(collect(turns, name, counted(name), []) for name in "abc"), return_exceptions=True
        )

    first, second, third = asyncio.run(visit())
    assert first is None and second is None and "busy: 1 runs are waiting" in str(third)


def test_one_visitor_and_one_address_leave_places_to_others():
    async def visit(visitors):
        turns = Turns(40, 60)
        told = await asyncio.gather(
            *(collect(turns, name, counted(name, 1), [], address=at) for name, at in visitors), return_exceptions=True
        )
        return [one is None for one in told]

    # the first of all has its turn at once, and is no longer among those that wait
    assert asyncio.run(visit([("a", "")] * 12 + [("b", "")])) == [True] * 9 + [False] * 3 + [True]
    several = [(f"a{i}", "1.2.3.4") for i in range(24)]
    assert asyncio.run(visit([*several, ("b", "5.6.7.8")])) == [True] * 21 + [False] * 3 + [True]


def test_a_short_answer_takes_one_thread_of_torch_and_a_long_run_two(monkeypatch):
    asked = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("studio.turns.os.cpu_count", lambda: 8)
    monkeypatch.setattr("studio.turns.torch.set_num_threads", asked.append)
    SHORT._initializer(*SHORT._initargs)
    asyncio.run(collect(Turns(1, 60), "a", counted("a", 1), []))
    assert asked == [1, 2]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")  # the host's word
    SHORT._initializer(*SHORT._initargs)
    assert asked == [1, 2]


def test_more_short_answers_than_may_wait_are_refused():
    go_on = threading.Event()

    async def ask():
        asked = [asyncio.create_task(inside(SHORT, go_on.wait, 30)) for _ in range(CROWD + 60)]
        await asyncio.sleep(0.2)
        refused = sum(task.done() for task in asked)
        go_on.set()
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert "busy" in str(next(one for one in told if isinstance(one, Refusal)))
        return refused

    assert 0 < asyncio.run(ask()) <= 60
    assert asyncio.run(inside(SHORT, str, 1)) == "1"


def test_a_run_that_streams_ends_at_the_limit():
    async def visit():
        turns, log = Turns(64, 0.05), []
        with pytest.raises(ValueError, match=r"stopped after 0\.05 s"):
            await collect(turns, "a", counted("a", steps=1000), log)
        await collect(turns, "a", counted("b", steps=1), log)
        return log

    log = asyncio.run(visit())
    assert log[-1] == "b0" and len(log) < 20


def test_a_later_run_of_the_page_ends_the_earlier_ones():
    async def visit():
        turns, logs = Turns(64, 60), [[], [], []]
        await asyncio.gather(
            *(collect(turns, "a", counted(f"{i}.", 50), log, only=True) for i, log in enumerate(logs[:2])),
            collect(turns, "b", counted("b."), logs[2], only=True),
        )
        return logs

    first, second, other = asyncio.run(visit())
    assert len(first) < 2 and len(second) == 50 and other == ["b.0", "b.1"]


def test_a_run_whose_visitor_left_is_closed_and_the_next_begins():
    closed = threading.Event()

    def endless():
        try:
            while True:
                time.sleep(0.01)
                yield "on"
        finally:
            closed.set()

    async def visit():
        turns, log = Turns(64, 60), []
        left = asyncio.create_task(collect(turns, "a", endless(), []))
        waits = asyncio.create_task(collect(turns, "c", endless(), []))
        await asyncio.sleep(0.05)
        waits.cancel()  # before its turn
        left.cancel()
        await collect(turns, "b", counted("b"), log)
        return log

    assert asyncio.run(visit()) == ["b0", "b1"] and closed.is_set()


def test_an_engine_that_fails_frees_the_device():
    def broken():
        yield "first"
        raise MemoryError

    async def visit():
        turns, log = Turns(64, 60), []
        with pytest.raises(MemoryError):
            await collect(turns, "a", broken(), log)
        await collect(turns, "b", counted("b"), log)
        return log

    assert asyncio.run(visit()) == ["first", "b0", "b1"]
