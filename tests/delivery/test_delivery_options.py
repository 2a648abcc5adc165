"""What an operator can set wrongly about the delivery."""

import pytest
from pydantic import ValidationError

from forebay.daemon.delivery.options import DeliveryOptions


@pytest.mark.parametrize(
    "table",
    [
        {"retry": {"base": "0s"}},
        {"retry": {"cap": "0s"}},
        {"breaker": {"open_for": "0s"}},
        {"breaker": {"open_cap": "0s"}},
        {"timeout": "0s"},
    ],
    ids=str,
)
def test_no_wait_can_be_set_to_nothing_so_that_a_failing_sink_is_hammered(table: dict):
    with pytest.raises(ValidationError, match="greater than"):
        DeliveryOptions.model_validate(table)


def test_no_linger_is_fine():
    assert DeliveryOptions.model_validate({"batch": {"linger": "0s"}}).batch.linger.seconds == 0
