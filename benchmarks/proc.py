"""What the kernel counts of a process."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Since the process began: CPU seconds, bytes handed to the disk; and its size now."""

    cpu: float
    written: int
    resident: int
    """Bytes of RAM that it holds."""
    peak: int
    """The most that it ever held."""

    def __add__(self, more: "Usage") -> "Usage":
        """Of two stretches; the sizes are those of the later one."""
        return Usage(self.cpu + more.cpu, self.written + more.written, more.resident, more.peak)

    def __sub__(self, before: "Usage") -> "Usage":
        """What was used between two looks; the sizes are those of the later one."""
        return Usage(self.cpu - before.cpu, self.written - before.written, self.resident, self.peak)


def usage(pid: int) -> Usage:
    """Look now. /proc counts CPU in ticks of 10 ms: look at long stretches."""
    process = Path(f"/proc/{pid}")
    times = process.joinpath("stat").read_text().rpartition(")")[2].split()[11:13]
    fields = dict(
        line.split(":", 1)
        for name in ("io", "status")
        for line in process.joinpath(name).read_text().splitlines()
    )
    return Usage(
        cpu=sum(map(int, times)) / _TICK,
        written=int(fields["write_bytes"]),
        resident=int(fields["VmRSS"].split()[0]) * 1024,
        peak=int(fields["VmHWM"].split()[0]) * 1024,
    )
