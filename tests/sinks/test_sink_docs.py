import re
import tomllib
from pathlib import Path

import pytest

from forebay.daemon.delivery.options import DeliveryOptions
from forebay.sinks.registry import SINKS

DOCS = Path(__file__).parents[2] / "docs" / "sinks"
COMMON = {"type", *DeliveryOptions.model_fields}


@pytest.mark.parametrize("name", SINKS)
def test_the_configurations_in_the_documents_work_as_they_stand(name: str):
    page = (DOCS / f"{name}.md").read_text()
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    assert blocks
    for settings in [sink for block in blocks for sink in block["sinks"].values()]:
        assert settings["type"] == name
        own = {key: value for key, value in settings.items() if key not in COMMON}
        SINKS[name].options.model_validate(own)
        given = {key: settings[key] for key in COMMON & set(settings) - {"type"}}
        DeliveryOptions.model_validate(given)


@pytest.mark.parametrize("name", SINKS)
def test_no_option_is_left_out_of_the_documents(name: str):
    page = (DOCS / f"{name}.md").read_text()
    options = SINKS[name].options.model_fields
    assert not {option for option in options if f"`{option}`" not in page}
