import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_kit import LINES, Kitchen, ScriptedLog, Served, request, until
from prometheus_client import CollectorRegistry

from forebay.buffer.entry import Receipt
from forebay.buffer.errors import BufferFull
from forebay.daemon.ingest.counts import MAX_STREAMS
from forebay.daemon.metrics import IngestMetrics

EVENTS = "forebay_ingest_events_total"


def labels(served: Served) -> set[str]:
    """The streams that metrics know by name."""
    metrics = served.registry.collect()
    samples = [sample for metric in metrics for sample in metric.samples]
    return {sample.labels["stream"] for sample in samples if "stream" in sample.labels}


async def test_an_outcome_is_not_counted(kitchen: Kitchen) -> None:
    async with kitchen.served(ScriptedLog(Receipt(2, 1, 0, 1, 2))) as served:
        body = b'{"a": 1}\n{"a": 2}\n{"a": 3}\n[]\n'
        await served.ask(request(body, content_type=LINES))
        counted = {
            outcome: served.metric(EVENTS, stream="bookings", outcome=outcome)
            for outcome in ("accepted", "rejected", "duplicate")
        }
        assert counted == {"accepted": 2, "rejected": 1, "duplicate": 1}
        # Two of the three events that were handed over, newlines between them included.
        assert served.metric("forebay_ingest_bytes_total", stream="bookings") == 26 * 2 // 3
        assert served.metric("forebay_ingest_ack_seconds_count") == 1


@pytest.mark.parametrize("outcome", [BufferFull("full"), Receipt(0, 1)])
async def test_what_was_not_stored_counts_as_accepted(
    outcome: BufferFull | Receipt, kitchen: Kitchen
) -> None:
    async with kitchen.served(ScriptedLog(outcome)) as served:
        await served.ask(request())
        assert served.metric(EVENTS, stream="bookings", outcome="accepted") == 0
        assert served.metric("forebay_ingest_bytes_total", stream="bookings") == 0
        assert served.metric("forebay_ingest_ack_seconds_count") == 0


async def test_an_answer_takes_time_that_is_not_measured(kitchen: Kitchen) -> None:
    async with kitchen.served(ScriptedLog("hold")) as served:
        reader, writer = await served.connect()
        writer.write(request())
        await until(lambda: served.log.held)
        served.clock.now += 0.75
        served.log.release(*served.log.held[0])
        await reader.readuntil(b"}")
        assert served.metric("forebay_ingest_ack_seconds_sum") == 0.75


async def test_a_client_makes_up_labels(kitchen: Kitchen) -> None:
    async with kitchen.served() as served:
        for number in range(5):
            await served.ask(request(path=b"/v1/events/unheard-of-%d" % number))
            await served.ask(request(b"nope", path=b"/v1/events/bookings-%d" % number))
        assert labels(served) == set()


async def test_a_client_makes_up_labels_without_end(kitchen: Kitchen) -> None:
    async with kitchen.served(unrouted="store") as served:
        data = [request(path=b"/v1/events/s%d" % number) for number in range(MAX_STREAMS + 10)]
        await served.talk(b"".join(data))
        assert len(labels(served)) == MAX_STREAMS + 1
        assert served.metric(EVENTS, stream="_other", outcome="accepted") == 10


@given(st.lists(st.floats(0, 10) | st.sampled_from([0.0005, 0.001, 5.0, 5.1]), max_size=20))
def test_many_observations_at_once_fall_into_other_buckets(amounts: list[float]) -> None:
    at_once, singly = CollectorRegistry(), CollectorRegistry()
    IngestMetrics(at_once).ack_seconds.observe_all(amounts)
    one_by_one = IngestMetrics(singly).ack_seconds
    for amount in amounts:
        one_by_one.observe(amount)
    for bound in ("0.0005", "0.001", "0.002", "0.0075", "0.01", "1.0", "5.0", "+Inf"):
        name, labels = "forebay_ingest_ack_seconds_bucket", {"le": bound}
        assert at_once.get_sample_value(name, labels) == singly.get_sample_value(name, labels)
    name = "forebay_ingest_ack_seconds_sum"
    assert at_once.get_sample_value(name) == pytest.approx(singly.get_sample_value(name))
