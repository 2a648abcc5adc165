import json

from benchmarks.booking import JSON, NDJSON, bodies, booking


def test_an_event_is_json_of_the_size_that_the_table_speaks_of():
    event = booking()
    assert json.loads(event)["status"] == "RESERVED"
    assert 130 <= len(event) <= 145


def test_every_line_of_a_body_is_an_event():
    (body,) = bodies(50, NDJSON, different=1)
    assert len([json.loads(line) for line in body.split(b"\n")]) == 50


def test_an_array_holds_as_many_events_as_it_says():
    (body,) = bodies(50, JSON, different=1)
    assert len(json.loads(body)) == 50


def test_no_event_comes_twice_so_that_none_compresses_to_nothing():
    found = [json.loads(line) for body in bodies(100, different=5) for line in body.split(b"\n")]
    assert len({event["booking_id"] for event in found}) == 500
