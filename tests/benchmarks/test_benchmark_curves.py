from benchmarks.curves import Curve, _fall

BENT = Curve([1, 64, 512], [100.0, 400.0, 200.0], [1.0, 1.0, 1.0])


def test_a_curve_that_falls_is_told_from_one_that_only_ends():
    row = _fall("posts", "requests/s", "connections", BENT)
    assert (row.what, row.beside) == (
        "posts, 512 connections",
        "the best of the curve: 64 connections",
    )
    assert row.ratio == 0.5


def test_a_long_curve_is_thinned_in_the_note_but_its_end_is_kept():
    long = Curve(list(range(1, 41)), [float(value) for value in range(1, 41)], [])
    note = _fall("bodies", "events/s", "events waiting", long).note.split(" · ")
    assert len(note) <= 10
    assert note[-1] == "40: 40"
