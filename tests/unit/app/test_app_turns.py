"""The queue of the page: one at a time, in order, positions told, a turn that lasts as long as its thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cea.app.turns import Stop, StoppedError, Turns


def test_one_at_a_time_in_order_and_told_how_many_are_before():
    running: list[int] = []
    most, order = 0, []
    told: dict[int, list[int]] = {number: [] for number in range(3)}

    def work(number: int) -> int:
        nonlocal most
        running.append(number)
        most = max(most, len(running))
        order.append(number)
        threading.Event().wait(0.02)
        running.remove(number)
        return number * 10

    async def main() -> list[int]:
        turns = Turns()
        return await asyncio.gather(
            *(turns.run(lambda number=number: work(number), told[number].append, Stop()) for number in range(3))
        )

    assert asyncio.run(main()) == [0, 10, 20]
    assert (most, order) == (1, [0, 1, 2])
    assert told[2][0] == 2
    assert [places[-1] for places in told.values()] == [0, 0, 0]
    assert sorted(told[2], reverse=True) == told[2]


def test_an_error_passes_the_turn_on():
    async def main() -> str:
        turns = Turns()
        failed = await asyncio.gather(
            turns.run(lambda: 1 / 0, lambda _: None, Stop()),
            turns.run(lambda: "next", lambda _: None, Stop()),
            return_exceptions=True,
        )
        assert isinstance(failed[0], ZeroDivisionError)
        assert len(turns) == 0
        return failed[1]

    assert asyncio.run(main()) == "next"


def test_who_is_stopped_while_waiting_never_begins():
    began: list[str] = []

    async def main() -> None:
        turns, stop, gate = Turns(), Stop(), threading.Event()
        first = asyncio.create_task(turns.run(gate.wait, lambda _: None, Stop()))
        await asyncio.sleep(0)
        second = asyncio.create_task(turns.run(lambda: began.append("second"), lambda _: None, stop))
        await asyncio.sleep(0)
        stop.ask()
        gate.set()
        await first
        with pytest.raises(StoppedError):
            await second

    asyncio.run(main())
    assert began == []


def test_a_turn_lasts_as_long_as_its_thread_even_if_the_visitor_is_gone():
    events: list[str] = []

    async def main() -> None:
        turns, stop, gate = Turns(), Stop(), threading.Event()

        def long() -> None:
            gate.wait(5)
            try:
                stop.check()
            except StoppedError:
                events.append("stopped")
            events.append("long ends")

        first = asyncio.create_task(turns.run(long, lambda _: None, stop))
        second = asyncio.create_task(turns.run(lambda: events.append("second"), lambda _: None, Stop()))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.sleep(0.05)
        assert events == []
        gate.set()
        await second
        assert first.cancelled() or first.done()

    asyncio.run(main())
    assert events == ["stopped", "long ends", "second"]
