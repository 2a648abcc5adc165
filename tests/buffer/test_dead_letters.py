"""Dead letters are bounded and counted, keep their ids and their bytes, and are one each."""

from collections.abc import Iterable
from datetime import timedelta

import pytest
from buffer_kit import WallClock, line, numbered, opened, rows
from msgspec.structs import replace

from forebay.buffer import BufferOptions, DeadLetter, Outcome, Selection, Store
from forebay.buffer.dead_letters import _OLDEST, waiting

OUTCOMES = ("delivered", "dead_lettered", "dropped", "expired", "quarantined")
HOUR = 3600.0


def letter(seq: int, clock: WallClock, *, sink: str = "s", event: bytes = b"{}") -> DeadLetter:
    return DeadLetter(sink, "orders", seq, clock.now - 1, clock.now, 1, 400, "no", event)


async def filled(store: Store, *sinks: str, events: int = 20) -> None:
    """Sinks with events before them."""
    for sink in sinks or ("s",):
        await store.subscribe(sink, ("*",), start_now=False)
    await store.append(numbered("orders", events))


async def bury(store: Store, letters: Iterable[DeadLetter]) -> None:
    for dead in letters:
        store.settle(dead.sink, dead.seq, dead.seq, {Outcome.DEAD_LETTERED: 1}, [dead])
    await store.flush()


async def kept(store: Store, selection: Selection | None = None) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    selection = selection or Selection()
    while page := await store.dead_letters(selection, 1000):
        found += page
        selection = replace(selection, after=page[-1].id)
    return found


async def kept_seqs(store: Store) -> list[int]:
    return [dead.seq for dead in await kept(store)]


async def refuse(store: Store, *, at: float) -> None:
    """What is back in line comes back."""
    waiting = await store.replaying("s", 1000)
    store.settle_replayed(
        "s",
        refused=[
            DeadLetter(d.sink, d.stream, d.seq, d.received_at, at, 2, 422, "still no", d.event,
                       d.attributes, d.id)
            for d in waiting
        ],
    )  # fmt: skip
    await store.flush()


def check(store: Store, sink: str = "s") -> None:
    state = store.sink(sink)
    done = sum(getattr(state, outcome) for outcome in OUTCOMES)
    assert state.routed + state.replayed == done + state.lag


def change(options: BufferOptions, **values: object) -> BufferOptions:
    return options.model_copy(update=values)


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


async def test_over_their_size_the_oldest_go_and_are_counted(options: BufferOptions) -> None:
    small = change(options, dead_letters_max_bytes=1000)
    clock = WallClock()
    async with opened(small, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock, event=b"x" * 100) for seq in range(1, 14)])
        await store.tidy()
        state = store.sink("s")
        assert await kept_seqs(store) == list(range(4, 14))
        assert (state.dead_letters, state.dead_letter_bytes, state.discarded) == (10, 1000, 3)
        assert (state.dead_lettered, state.lag) == (13, 7)
        check(store)


async def test_one_letter_larger_than_the_limit_is_no_endless_work(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(change(options, dead_letters_max_bytes=0), wall=clock) as store:
        await filled(store)
        await bury(store, [letter(1, clock)])
        await store.tidy()
        assert (store.sink("s").dead_letters, store.sink("s").discarded) == (0, 1)


async def test_a_limit_beyond_half_of_the_buffer_is_half_of_it(options: BufferOptions) -> None:
    tight = change(options, max_bytes=1024 * 1024, dead_letters_max_bytes=1 << 40)
    clock = WallClock()
    async with opened(tight, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock, event=b"x" * 100_000) for seq in range(1, 8)])
        await store.tidy()
        assert store.sink("s").dead_letter_bytes <= 512 * 1024
        assert store.sink("s").discarded == 2


async def test_each_sink_counts_its_own_losses(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(change(options, dead_letters_max_bytes=400), wall=clock) as store:
        await filled(store, "s", "t")
        await bury(
            store,
            [
                letter(seq, clock, sink=sink, event=b"x" * 100)
                for seq, sink in enumerate("ssttst", 1)
            ],
        )
        await store.tidy()
        assert (store.sink("s").discarded, store.sink("s").dead_letters) == (2, 1)
        assert (store.sink("t").discarded, store.sink("t").dead_letters) == (0, 3)


async def test_over_their_age_they_go_and_are_counted(options: BufferOptions) -> None:
    aged = change(options, dead_letters_max_age=timedelta(hours=1))
    clock = WallClock()
    async with opened(aged, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(1, clock)])
        clock.now += HOUR - 60
        await bury(store, [letter(2, clock)])
        await store.tidy()
        assert (await kept_seqs(store), store.sink("s").discarded) == ([1, 2], 0)
        clock.now += 120
        await store.tidy()
        assert (await kept_seqs(store), store.sink("s").discarded) == ([2], 1)
        check(store)


async def test_one_that_was_refused_again_does_not_shield_older_ones(
    options: BufferOptions,
) -> None:
    aged = change(options, dead_letters_max_age=timedelta(hours=1))
    clock = WallClock()
    async with opened(aged, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(1, clock), letter(2, clock)])
        first = (await kept(store))[0]
        await store.replay(Selection(sink="s", ids=(first.id,)))
        clock.now += HOUR
        await refuse(store, at=clock.now)
        clock.now += 120
        await store.tidy()
        assert (await kept_seqs(store), store.sink("s").discarded) == ([1], 1)


async def test_what_is_back_in_line_is_not_discarded(options: BufferOptions) -> None:
    small = change(options, dead_letters_max_bytes=250, dead_letters_max_age=timedelta(hours=1))
    clock = WallClock()
    async with opened(small, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock, event=b"x" * 100) for seq in (1, 2)])
        await store.replay(Selection(sink="s"))
        clock.now += 2 * HOUR
        await bury(store, [letter(seq, clock, event=b"x" * 100) for seq in (3, 4)])
        await store.tidy()
        assert [dead.seq for dead in await store.replaying("s", 10)] == [1, 2]
        assert store.sink("s").discarded == 2
        check(store)


async def test_dead_letters_do_not_wedge_a_full_log(options: BufferOptions) -> None:
    full = change(options, max_bytes=40 * 1024 * 1024)
    clock = WallClock()
    async with opened(full, wall=clock) as store:
        await filled(store)
        for number in range(75):  # noise in hexadecimal: zstd halves it
            await store.append(numbered("orders", 1, start=number, pad=1024 * 1024))
        assert store.ledger.used_bytes > 37 * 1024 * 1024
        # Less than their own limit of half the log, more than there is room for.
        await bury(store, [letter(seq, clock, event=line(seq, 1 << 20)) for seq in range(1, 20)])
        state = store.sink("s")
        assert state.dead_lettered == 19
        assert state.dead_letters + state.discarded == 19
        assert 0 < state.discarded < 12
        assert (await kept_seqs(store))[-1] == 19
        assert store.fault is None
        check(store)


# ── replay and purge ─────────────────────────────────────────────────────────────────────────────


async def test_refused_again_it_is_the_one_letter_that_it_was(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock, event=b'{"n":1.10}') for seq in (1, 2)])
        before = await kept(store)
        assert await store.replay(Selection(sink="s", ids=(before[0].id,))) == 1
        assert (store.sink("s").dead_letters, store.sink("s").lag) == (1, 19)
        assert await kept(store) == before[1:]
        await refuse(store, at=clock.now + 5)
        again = (await kept(store))[0]
        assert len(await kept(store)) == 2
        assert (again.id, again.seq, again.event) == (before[0].id, 1, b'{"n":1.10}')
        assert (again.attempts, again.status, again.error) == (3, 422, "still no")
        assert (again.received_at, again.failed_at) == (before[0].received_at, clock.now + 5)
        state = store.sink("s")
        assert (state.dead_letters, state.dead_lettered, state.replayed) == (2, 3, 1)
        check(store)


async def test_asking_twice_replays_once(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(1, clock)])
        assert await store.replay(Selection(sink="s")) == 1
        assert await store.replay(Selection(sink="s")) == 0
        assert await store.purge(Selection(sink="s")) == 0, "it is under way, and not to be deleted"
        waiting = await store.replaying("s", 10)
        store.settle_replayed("s", delivered=[dead.id for dead in waiting])
        store.settle_replayed("s", delivered=[dead.id for dead in waiting])
        await store.flush()
        state = store.sink("s")
        assert (state.replayed, state.delivered, state.dead_letter_bytes) == (1, 1, 0)
        check(store)


async def test_purge_changes_only_the_gauge(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store, "s", "t")
        await bury(store, [letter(seq, clock, sink=sink) for sink in "st" for seq in (1, 2, 3)])
        before = store.sink("s")
        assert await store.purge(Selection(sink="s")) == 3
        after = store.sink("s")
        assert (before.dead_letters, after.dead_letters, after.dead_letter_bytes) == (3, 0, 0)
        for counter in ("routed", "replayed", "discarded", "lag", *OUTCOMES):
            assert getattr(before, counter) == getattr(after, counter), counter
        assert [dead.sink for dead in await kept(store)] == ["t"] * 3
        check(store)


async def test_ids_are_never_used_again(options: BufferOptions) -> None:
    clock, seen = WallClock(), set[int]()
    for seq in range(1, 5):
        async with opened(options, wall=clock) as store:
            await filled(store)
            await bury(store, [letter(seq, clock)])
            (dead,) = await kept(store)
            assert dead.id not in seen
            seen.add(dead.id)
            await store.purge(Selection(sink="s"))


@pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
async def test_in_parts_each_is_replayed_once(options: BufferOptions, most: int) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock) for seq in range(1, 8)])
        selection, parts = Selection(sink="s"), []
        while selection is not None:
            part = await store.replay_part(selection, most)
            parts.append(part.letters)
            await refuse(store, at=clock.now)  # what comes back at once is not taken again
            selection = part.rest
        assert sum(parts) == 7
        assert max(parts) <= most
        assert store.sink("s").replayed == 7


async def test_more_than_a_transaction_takes_is_still_all(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store, events=2500)
        letters = [letter(seq, clock) for seq in range(1, 2501)]
        store.settle("s", 1, 2500, {Outcome.DEAD_LETTERED: 2500}, letters)
        part = await store.replay_part(Selection(sink="s"), 1500)
        assert (part.letters, part.rest is None) == (1500, False)
        assert await store.replay(Selection(sink="s")) == 1000
        assert store.sink("s").dead_letters == 0


# ── what is read ─────────────────────────────────────────────────────────────────────────────────


async def test_a_page_of_large_events_is_bounded_in_memory(options: BufferOptions) -> None:
    clock = WallClock()
    async with opened(options, wall=clock) as store:
        await filled(store)
        await bury(store, [letter(seq, clock, event=b"x" * 1_000_000) for seq in range(1, 21)])
        seen: list[int] = []
        while page := await store.dead_letters(Selection(after=seen[-1] if seen else 0), 1000):
            assert sum(len(dead.event) for dead in page) <= 8 * 1024 * 1024
            seen += [dead.id for dead in page]
        assert len(seen) == len(set(seen)) == 20
        await store.replay(Selection(sink="s"))
        assert 1 <= len(await store.replaying("s", 1000)) <= 8


async def test_a_letter_keeps_bytes_and_attributes_over_a_restart(options: BufferOptions) -> None:
    clock = WallClock()
    event, attributes = b'{"n":1.0,"n":1e2,"u":"\\u00e9"}', {"id": "7", "source": "/x"}
    made = DeadLetter("s", "orders", 1, 1.5, 2.5, 3, None, "x" * 5000, event, attributes)
    async with opened(options, wall=clock) as store:
        await filled(store)
        await bury(store, [made])
    async with opened(options, wall=clock) as store:
        (dead,) = await kept(store)
        assert (dead.event, dead.attributes, dead.status) == (event, attributes, None)
        assert dead.error == "x" * 1000
        assert store.sink("s").dead_letters == 1


@pytest.mark.parametrize(
    "query",
    [
        Selection().page(10),
        Selection(after=5).page(10),
        Selection(sink="s").page(10),
        Selection(stream="orders", after=5).page(10),
        Selection(ids=(1, 2)).page(10),
        waiting("s", 10),
        (_OLDEST, []),
    ],
)
async def test_no_page_looks_at_all_letters_or_sorts_them(
    options: BufferOptions, query: tuple[str, list[object]]
) -> None:
    async with opened(options):
        pass
    text, parameters = query
    plan = [row[3] for row in rows(options.path, f"EXPLAIN QUERY PLAN {text}", *parameters)]
    looks = next(step for step in plan if " dead_letters" in step)
    assert looks.startswith("SEARCH") or "dead_letters_by_age" in looks, plan
    following = plan[plan.index(looks) + 1 :]
    assert following[:1] != ["USE TEMP B-TREE FOR ORDER BY"], plan
