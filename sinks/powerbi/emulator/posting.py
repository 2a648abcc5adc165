"""What becomes of the rows of one POST, once its body is here. Nothing here waits.

    rate ─► inspect ─► rows a POST ─► bad rows ─► sequence number ─► rows an hour ─► room ─► stored

Each step may refuse. A POST that passed the first step has used up one request of its windows,
whatever comes of it.
"""

from dataclasses import dataclass

from forebay.sinks.powerbi.emulator.faults import Faults
from forebay.sinks.powerbi.emulator.inspection import Bad, Inspected
from forebay.sinks.powerbi.emulator.options import BadRow, EmulatorOptions, Sequence
from forebay.sinks.powerbi.emulator.refusal import Refused, bad_rows, error, invalid, throttled
from forebay.sinks.powerbi.emulator.stats import Stats
from forebay.sinks.powerbi.emulator.table import Table
from forebay.sinks.powerbi.emulator.world import Model, World

# One opaque sentence is what users get; a few more are enough to find the others.
_DETAILS = 10


@dataclass(frozen=True, slots=True)
class Numbered:
    """A sequence number, and the client whose numbers it belongs to."""

    client_id: str
    number: int


def admit(world: World, model: Model, *, push_url: bool) -> None:
    """Count a POST that has just arrived. Raises `Refused` when a rate is used up."""
    wait = model.rates.request(world.clock(), large=model.has_large_table, push_url=push_url)
    if wait is not None:
        raise throttled(*wait)


def post(
    world: World, model: Model, table: Table, payload: bytes, numbered: Numbered | None = None
) -> None:
    """Store the rows of the JSON array `payload`. Raises `Refused`."""
    poisons = world.faults.poisons(model.id, table.name)
    rows = table.inspector.inspect(payload, poisons)
    world.stats.counted(rows.total)
    if world.options.rows_per_request and rows.total > world.options.rows_per_request:
        raise _too_many(world.options)
    refusal = _refuse_bad(rows, world.stats, world.faults)
    if refusal and world.options.bad_row is BadRow.REFUSE_ALL:
        raise refusal
    if _is_new(world.options, table, numbered):
        _store(world, model, table, rows)
        _remember(world.options, table, numbered)
    else:
        world.stats.rows_repeated += rows.good
    if refusal and world.options.bad_row is BadRow.STORE_GOOD:
        raise refusal


def _too_many(options: EmulatorOptions) -> Refused:
    return error(
        options.too_many_rows_status,
        "RequestEntityTooLarge",
        f"At most {options.rows_per_request} rows in one request",
    )


def _refuse_bad(rows: Inspected, stats: Stats, faults: Faults) -> Refused | None:
    if not rows.bad:
        return None
    stats.rows_refused += len(rows.bad)
    for poison in {id(bad.poison): bad.poison for bad in rows.bad if bad.poison}.values():
        faults.bite(poison)
    return bad_rows([_detail(bad) for bad in rows.bad[:_DETAILS]])


def _detail(bad: Bad) -> tuple[str, str]:
    return bad.message, bad.target


def _is_new(options: EmulatorOptions, table: Table, numbered: Numbered | None) -> bool:
    if numbered is None or numbered.number > table.sequence_numbers.get(numbered.client_id, -1):
        return True
    if options.sequence is Sequence.REJECT:
        raise invalid("The sequence number must be greater than the last one")
    return options.sequence is not Sequence.DEDUPLICATE


def _store(world: World, model: Model, table: Table, rows: Inspected) -> None:
    now = world.clock()
    if wait := model.rates.rows_wait(now, rows.good):
        raise throttled(wait, "rows per hour")
    if not table.has_room(rows.good):
        raise error(
            world.options.full_status,
            "RowsLimitExceeded",
            f"Table [{table.name}] holds at most {world.options.max_rows} rows",
        )
    model.rates.rows_stored(now, rows.good)
    table.append(rows.good, rows.payload)
    world.stats.rows_stored += rows.good
    world.changed()


def _remember(options: EmulatorOptions, table: Table, numbered: Numbered | None) -> None:
    if numbered is not None and options.sequence is not Sequence.UNSUPPORTED:
        last = table.sequence_numbers.get(numbered.client_id, -1)
        table.sequence_numbers[numbered.client_id] = max(last, numbered.number)
