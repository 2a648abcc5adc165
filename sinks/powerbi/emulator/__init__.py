"""A Power BI for rehearsals: token endpoint, push datasets, push URLs, limits, faults.

It keeps what it is sent in memory, enforces the limits that Microsoft documents, shows what it
holds below `/_/`, and fails on request. Nothing in it reaches the network. It shares no code with
the Power BI sink, so that each is an independent witness of the other.

    async with Emulator(EmulatorOptions(requests_per_minute=10)) as emulator:
        emulator.url                                # "http://127.0.0.1:41234"
        emulator.push_url("sales")                  # a push URL of the dataset "sales"
        emulator.fault("status", status=503, count=2)
        await emulator.until(lambda: emulator.requests.rows_stored == 3)
        emulator.rows("sales", "Bookings")          # list[bytes], each as it was posted
        emulator.requests                           # Stats: requests, throttled, max_pending, …
"""

from forebay.sinks.powerbi.emulator.emulator import Emulator
from forebay.sinks.powerbi.emulator.faults import Fault, FaultKind
from forebay.sinks.powerbi.emulator.options import EmulatorOptions
from forebay.sinks.powerbi.emulator.stats import Stats

__all__ = ["Emulator", "EmulatorOptions", "Fault", "FaultKind", "Stats"]
