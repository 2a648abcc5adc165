from typing import Any

import pytest
from pydantic import ValidationError

from forebay.sinks import Context, Unit
from forebay.sinks.powerbi import PowerBIOptions, PowerBISink

PUSH = "https://api.powerbi.com/beta/t/datasets/d/rows?key=s3cret%2Bkey%3D%3D"
AUTH = {"tenant_id": "contoso.com", "client_id": "c1", "client_secret": "s3cret-of-ours"}
BY_ID = {"dataset_id": "d-1", "table": "Sales", "auth": AUTH}


def test_a_push_url_is_not_changed_by_a_byte():
    assert str(PowerBIOptions(push_url=PUSH + "\n").url()) == PUSH


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({}, "/v1.0/myorg/datasets/d-1/tables/Sales/rows"),
        ({"workspace_id": "w-1"}, "/v1.0/myorg/groups/w-1/datasets/d-1/tables/Sales/rows"),
        ({"table": "a/b c?ä'#"}, "/v1.0/myorg/datasets/d-1/tables/a%2Fb%20c%3F%C3%A4%27%23/rows"),
        ({"table": "../../x"}, "/v1.0/myorg/datasets/d-1/tables/..%2F..%2Fx/rows"),
    ],
)
def test_the_name_of_a_table_cannot_lead_elsewhere(more: dict[str, str], path: str):
    options = PowerBIOptions(**{**BY_ID, **more}, api_url="https://api.powerbi.cn/")
    assert str(options.url()) == "https://api.powerbi.cn" + path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set `push_url`, or `dataset_id`, `table` and `auth`"),
        ({"dataset_id": "d"}, "set table and auth too, beside dataset_id"),
        ({"dataset_id": "d", "auth": AUTH}, "set table too, beside dataset_id and auth"),
        ({"push_url": PUSH, **BY_ID}, "set either `push_url`, or"),
        ({"push_url": PUSH, "workspace_id": "w"}, "set either `push_url`, or"),
        ({"push_url": "api.powerbi.com/s3cret"}, "begins with https://"),
        ({**BY_ID, "dataset_id": "../s3cret"}, "dataset_id"),
        ({**BY_ID, "auth": {**AUTH, "client_secret": ""}}, "auth.client_secret"),
        ({**BY_ID, "auth": {"client_secret": "s3cret"}}, "auth.tenant_id"),
        ({**BY_ID, "api_url": "https://user:s3cret@host"}, "without credentials"),
        ({**BY_ID, "limits": {"pending": 0}}, "limits.pending"),
        ({"push_url": PUSH, "retention": "s3cret"}, "retention"),
        ({"push_url": PUSH, "columns": {}}, "columns"),
        ({"push_url": PUSH, "columns": {f"c{n}": "x" for n in range(76)}}, "at most 75"),
        ({"push_url": PUSH, "columns": {"A": {"from": "a", "type": "Int"}}}, "Int64"),
        ({"push_url": PUSH, "columns": {"A": {"type": "Int64"}}}, "from"),
        ({"push_url": PUSH, "columns": {"A": ""}}, "cannot be empty"),
        ({"push_url": PUSH, "columns": {"A": []}}, "the path is empty"),
        ({"push_url": PUSH, "columns": {"A": "a..b"}}, "cannot be empty"),
        ({"push_url": PUSH, "columns": {'A"': "a"}}, "cannot be empty, nor hold"),
        ({"push_url": PUSH, "columns": {"A": "@timestamp"}}, "write the path as a list"),
        ({"push_url": PUSH, "long_string": "x"}, "long_string"),
    ],
)
def test_bad_options_are_told_clearly_and_without_secrets(options: dict[str, Any], message: str):
    with pytest.raises(ValidationError, match=message) as raised:
        PowerBIOptions.model_validate(options)
    assert "s3cret" not in str(raised.value)


def test_no_secret_is_in_the_options_own_text():
    for options in (PowerBIOptions(push_url=PUSH), PowerBIOptions(**BY_ID)):
        shown = f"{options!r} {options} {options.model_dump_json()}"
        assert "s3cret" not in shown


def test_options_are_dumped_the_way_they_are_written():
    columns = {"A": "a.b", "B": {"from": "c", "type": "Int64"}, "C": ["@t"]}
    dumped = PowerBIOptions(push_url=PUSH, columns=columns).model_dump(mode="json")
    assert dumped["columns"] == {
        "A": {"from": "a.b", "type": None},
        "B": {"from": "c", "type": "Int64"},
        "C": {"from": ["@t"], "type": None},
    }
    assert PowerBIOptions.model_validate({**dumped, "push_url": PUSH}).columns is not None


def limits(context: Context, **options: Any):
    return PowerBISink(PowerBIOptions(push_url=PUSH, **options), context).limits


def test_the_documented_limits_hold_unless_lowered(context: Context):
    found = limits(context)
    assert (found.events, found.pending) == (10_000, 5)
    assert found.nbytes is not None
    assert found.nbytes + len(b'{"rows":[]}') <= 16_000_000
    assert [(q.name, q.unit, q.amount, q.per, q.from_delivered) for q in found.quotas] == [
        ("requests_per_minute", Unit.REQUESTS, 120, 60, 0),
        ("rows_per_hour", Unit.EVENTS, 1_000_000, 3600, 0),
        ("requests_per_hour_large", Unit.REQUESTS, 120, 3600, 250_000),
    ]
    lowered = limits(context, limits={"requests_per_minute": 6, "pending": 1})
    assert (lowered.quotas[0].amount, lowered.pending) == (6, 1)


def test_a_table_that_drops_old_rows_never_slows_down(context: Context):
    names = [quota.name for quota in limits(context, retention="fifo").quotas]
    assert names == ["requests_per_minute", "rows_per_hour"]
