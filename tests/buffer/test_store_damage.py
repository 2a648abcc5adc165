"""Damage costs the events that it touched: their neighbours are read, and each sink's count agrees.

The damage is done to the file while the log is closed, as a bad disk would.
"""

import random
from datetime import timedelta
from pathlib import Path

import aiosqlite
import pytest
from buffer_kit import (
    Event,
    WallClock,
    block,
    damage_of,
    drain,
    line,
    numbered,
    opened,
    other_connection,
    read,
    rest,
    rows,
)

from forebay.buffer import BufferOptions, BufferUnavailable, Damage, Outcome, Store
from forebay.buffer.database import PAGE_SIZE


def damage(path: Path, statement: str, *parameters: object) -> None:
    with other_connection(path) as database:
        database.create_function("flipped", 2, _flipped)
        assert database.execute(statement, parameters).rowcount == 1


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


FLIP = "UPDATE segments SET data = flipped(data, 9) WHERE first_seq = ?"


async def three_segments(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.subscribe("some", ("s",), start_now=False)
        await store.subscribe("none", ("u",), start_now=False)
        for stream, start in (("s", 0), ("s", 10), ("t", 20)):
            await store.append(numbered(stream, 4, start=start))


async def recover(store: Store, sink: str) -> tuple[list[Event], list[Damage]]:
    """What a pipeline does: read on, and set aside what is damaged."""
    reader, found, damages = store.reader(sink), [], []
    for _ in range(100):
        reading = await reader.read(1000, 1_000_000)
        if isinstance(reading, Damage):
            damages.append(reading)
            await store.quarantine(reading)
        elif reading.last < reading.first:
            return found, damages
        else:
            for part in reading.slices:
                found += [
                    Event(part.first_seq + index, part.stream, data)
                    for index, data in enumerate(part.payload.split(b"\n"))
                ]
    raise AssertionError("the reader goes round in circles")


async def test_a_flipped_byte_costs_its_segment_and_no_other(options: BufferOptions) -> None:
    await three_segments(options)
    damage(options.path, FLIP, 5)
    data = rows(options.path, "SELECT data FROM segments WHERE first_seq = 5")
    async with opened(options) as store:
        found, damages = await recover(store, "all")
        assert [event.seq for event in found] == [1, 2, 3, 4, 9, 10, 11, 12]
        assert [one.first_seq for one in damages] == [5]
        assert rows(options.path, "SELECT data, events FROM quarantine") == [(*data[0], 4)]
        assert store.ledger.quarantined == 1
        counted = {name: (s.quarantined, s.lag) for name, s in store.ledger.sinks.items()}
        assert counted == {"all": (4, 8), "some": (4, 4), "none": (0, 0)}
        assert len(await drain(store, "some")) == 4
        await store.quarantine(damages[0])
        assert store.ledger.quarantined == 1, "set aside twice, it counts once"
    async with opened(options) as store:
        assert store.ledger.quarantined == 1
        assert store.sink("all").lag == 8


async def test_events_that_were_done_before_the_damage_do_not_count(
    options: BufferOptions,
) -> None:
    await three_segments(options)
    async with opened(options) as store:
        store.settle("all", 1, 6, {Outcome.DELIVERED: 6})
        store.settle("some", 7, 7, {Outcome.DELIVERED: 1})
    damage(options.path, FLIP, 5)
    async with opened(options) as store:
        assert [event.seq for event in (await recover(store, "all"))[0]] == [9, 10, 11, 12]
        counted = {name: (s.quarantined, s.lag) for name, s in store.ledger.sinks.items()}
        assert counted == {"all": (2, 4), "some": (3, 4), "none": (0, 0)}


async def test_a_damaged_oldest_segment_is_not_the_oldest_any_more(options: BufferOptions) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 1))
        await store.quarantine(await _first(store))
        assert store.ledger.oldest_at == 0


async def _first(store: Store) -> Damage:
    part = (await read(store.reader("all"))).slices[0]
    return Damage(part.first_seq, "a test")


@pytest.mark.parametrize(
    "change",
    [
        "events = 1", "events = 0", "events = 4000000000000", "events = 9223372036854775807",
        "events = -1", "events = 'x'", "events = x'ff'", "events = 1e300",
        "stream = 99", "stream = 'x'", "stream = -1",
        "received_at = 5.0", "received_at = x'ff'", "received_at = 'y'",
        "size = 0", "size = -1", "size = 9223372036854775807", "size = 'x'",
        "checksum = 1", "checksum = 'x'", "checksum = -9223372036854775808",
        "attributes = x''", "attributes = 'x'", "attributes = 7",
        "data = x''", "data = 'text'", "data = 7", "data = CAST(x'ff' AS TEXT)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [1, 5, 9])
async def test_damage_to_any_column_is_found_and_counted_right(
    options: BufferOptions, first: int, change: str
) -> None:
    await three_segments(options)
    damage(options.path, f"UPDATE segments SET {change} WHERE first_seq = ?", first)  # noqa: S608
    intact = [seq for seq in range(1, 13) if not first <= seq < first + 4]
    own = [seq for seq in intact if seq < 9]
    async with opened(options) as store:
        found, damages = await recover(store, "all")
        assert [one.first_seq for one in damages] == [first]
        assert [event.seq for event in found] == intact
        assert [event.seq for event in (await recover(store, "some"))[0]] == own
        counted = {name: (s.quarantined, s.lag) for name, s in store.ledger.sinks.items()}
        assert counted == {"all": (4, 8), "some": (8 - len(own), len(own)), "none": (0, 0)}
        store.settle("all", 1, 12, {Outcome.DELIVERED: 8})
        store.settle("some", 1, 12, {Outcome.DELIVERED: len(own)})
        await store.tidy()
        assert rows(options.path, "SELECT * FROM segments") == []
        assert store.fault is None


async def test_two_damaged_neighbours_are_each_as_long_as_they_are(options: BufferOptions) -> None:
    await three_segments(options)
    damage(options.path, "UPDATE segments SET events = 7 WHERE first_seq = ?", 5)
    damage(options.path, "UPDATE segments SET events = 7 WHERE first_seq = ?", 1)
    async with opened(options) as store:
        await store.quarantine(Damage(5, "found first"))
        found, _ = await recover(store, "all")
        assert [event.seq for event in found] == [9, 10, 11, 12]
        assert store.sink("all").quarantined == 8
        assert store.sink("some").lag == 0


@pytest.mark.parametrize("what", ["zeros", "noise"])
@pytest.mark.parametrize("position", [0.3, 0.6, 0.95])
async def test_a_lost_page_inside_a_segment_costs_that_segment(
    options: BufferOptions, what: str, position: float
) -> None:
    async with opened(options) as store:
        await store.subscribe("all", ("*",), start_now=False)
        for number in range(5):
            await store.append(block(number, 200_000))
    data = rows(options.path, "SELECT data FROM segments WHERE first_seq = 3")[0][0]
    content = bytearray(options.path.read_bytes())
    middle = int(len(data) * position)
    page = content.index(data[middle : middle + 30]) // PAGE_SIZE
    noise = random.Random(7).randbytes(PAGE_SIZE)
    content[page * PAGE_SIZE : (page + 1) * PAGE_SIZE] = (
        bytes(PAGE_SIZE) if what == "zeros" else noise
    )
    options.path.write_bytes(content)
    async with opened(options) as store:
        found, damages = await recover(store, "all")
        assert [event.data for event in found] == [line(n, 200_000) for n in (0, 1, 3, 4)]
        assert [one.first_seq for one in damages] == [3]
        assert (store.sink("all").quarantined, store.sink("all").lag) == (1, 4)
        kept = rows(options.path, "SELECT data FROM quarantine")[0][0]
        assert kept[:1000] == data[:1000], "the bytes that can be read are kept"
        store.settle("all", 1, 5, {Outcome.DELIVERED: 4})
        await store.tidy()
        assert store.fault is None
        assert rows(options.path, "SELECT * FROM segments") == []


async def test_damage_behind_good_events_is_reported_after_them(options: BufferOptions) -> None:
    await three_segments(options)
    damage(options.path, FLIP, 5)
    async with opened(options) as store:
        reader = store.reader("all")
        assert (await read(reader)).last == 4
        assert (await damage_of(reader)).first_seq == 5
        assert (await damage_of(reader)).first_seq == 5, "until it is set aside"
        await store.quarantine(Damage(5, "a test"))
        assert [event.seq for event in await rest(reader)] == [9, 10, 11, 12]


async def test_a_log_that_cannot_be_read_at_all_is_unavailable_and_not_a_crash(
    options: BufferOptions,
) -> None:
    await three_segments(options)
    async with opened(options) as store:
        await store._connection.close()
        store._connection = await _broken(options.path.with_name("nothing.db"))
        with pytest.raises(BufferUnavailable, match="cannot read"):
            await store.reader("all").read(10, 1000)


async def _broken(path: Path) -> aiosqlite.Connection:
    return await aiosqlite.connect(path)


@pytest.mark.parametrize("events", [1, 0, 9_000_000_000_000])
async def test_a_damaged_count_that_nobody_reads_does_not_keep_the_log(
    options: BufferOptions, events: int
) -> None:
    async with opened(options) as store:
        await store.subscribe("some", ("s",), start_now=False)
        for stream in ("s", "foreign", "s"):
            await store.append(numbered(stream, 4))
    damage(options.path, "UPDATE segments SET events = ? WHERE first_seq = 5", events)
    async with opened(options) as store:
        store.settle("some", 1, 10, {Outcome.DELIVERED: 6})
        await store.tidy()
        assert rows(options.path, "SELECT first_seq FROM segments") == [(9,)]
        assert [event.seq for event in await drain(store, "some")] == [11, 12]
        assert store.ledger.events == 2


@pytest.mark.parametrize("events", [1, 9_000_000_000_000])
async def test_a_damaged_count_that_expires_takes_nothing_else_with_it(
    options: BufferOptions, events: int
) -> None:
    clock = WallClock()
    aging = options.model_copy(update={"max_age": timedelta(hours=1)})
    async with opened(aging, wall=clock) as store:
        await store.subscribe("all", ("*",), start_now=False)
        await store.append(numbered("s", 4))
        clock.now += 1800
        await store.append(numbered("s", 4))
    damage(options.path, "UPDATE segments SET events = ? WHERE first_seq = 1", events)
    async with opened(aging, wall=clock) as store:
        clock.now += 1800
        await store.tidy()
        assert [event.seq for event in await drain(store, "all")] == [5, 6, 7, 8]
