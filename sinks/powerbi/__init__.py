"""Power BI push semantic models: the sink, its options, and an emulator to learn and test with."""

from forebay.sinks.powerbi.options import PowerBIOptions
from forebay.sinks.powerbi.sink import PowerBISink

__all__ = ["PowerBIOptions", "PowerBISink"]
