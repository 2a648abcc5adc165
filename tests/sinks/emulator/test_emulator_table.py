"""A table's rows, held against a plain list."""

from hypothesis import given
from hypothesis import strategies as st

from forebay.sinks.powerbi.emulator.options import EmulatorOptions, Retention
from forebay.sinks.powerbi.emulator.table import Table

posts = st.lists(st.integers(0, 7), max_size=40)


def filled(sizes: list[int], retention: Retention, options: EmulatorOptions):
    table, number = Table("t", options, retention, None), 0
    for size in sizes:
        rows = [b"%d" % n for n in range(number, number + size)]
        table.append(size, b"[" + b" , ".join(rows) + b"]")
        number += size
    return table, [b"%d" % n for n in range(number)]


@given(posts, st.integers(0, 50), st.none() | st.integers(0, 50))
def test_any_page_of_rows_is_that_of_the_list(sizes: list[int], offset: int, limit: int | None):
    table, rows = filled(sizes, Retention.NONE, EmulatorOptions())
    stop = None if limit is None else offset + limit
    assert table.rows(offset, limit) == rows[offset:stop]
    assert table.count == len(rows)


@given(posts, st.integers(1, 20), st.integers(0, 10))
def test_a_fifo_table_holds_the_newest_and_never_more_than_it_may(
    sizes: list[int], kept: int, slack: int
):
    options = EmulatorOptions(fifo_rows=kept, fifo_slack=slack)
    table, rows = filled(sizes, Retention.FIFO, options)
    assert table.count <= kept + slack
    assert table.count >= min(kept, len(rows))
    assert table.rows() == rows[len(rows) - table.count :]
