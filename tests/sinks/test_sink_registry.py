import pytest

from forebay.sinks import Options, Sink
from forebay.sinks.registry import SINKS, sink_class


@pytest.mark.parametrize("name", SINKS)
def test_every_sink_brings_its_options_with_a_description_of_each(name: str):
    sink = sink_class(name)
    assert issubclass(sink, Sink)
    assert issubclass(sink.options, Options)
    assert all(field.description for field in sink.options.model_fields.values())


@pytest.mark.parametrize("name", SINKS)
def test_options_can_be_told_apart_from_those_of_delivery(name: str):
    common = {"type", "streams", "start", "order", "max_in_flight", "timeout", "batch", "retry",
              "breaker", "partition_by"}  # fmt: skip
    assert not common & set(sink_class(name).options.model_fields)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("powrbi", "unknown sink type 'powrbi': did you mean 'powerbi'. known are file, http, "),
        ("kafka", "unknown sink type 'kafka': known are file, http, powerbi, stdout"),
        (None, "unknown sink type None"),
        (["http"], "unknown sink type"),
    ],
)
def test_an_unknown_type_is_told_with_the_known_ones(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        sink_class(name)
