"""Starts the Power BI emulator and forebay on it, until Ctrl-C or SIGTERM. See demo.toml."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

CONFIG = Path(__file__).with_name("demo.toml")
FOREBAY = (sys.executable, "-m", "forebay.daemon")
START_SECONDS = 30.0

GUIDE = """
forebay takes events on http://127.0.0.1:4680 and delivers them to a Power BI emulator.

  post an event       curl --json '{"hello": "world"}' http://127.0.0.1:4680/v1/events/demo
  see it arrive (2 s) curl 'http://127.0.0.1:4690/_/rows?dataset=demo&table=RealTimeData'
  status              .venv/bin/forebay status -c examples/demo.toml
  metrics             curl http://127.0.0.1:4681/metrics

Ctrl-C stops both; what was not delivered waits in .run/buffer.db.
"""


def start(*arguments: str) -> subprocess.Popen[bytes]:
    # A session of its own keeps the terminal's Ctrl-C away: this script stops them, in order.
    return subprocess.Popen([*FOREBAY, *arguments], start_new_session=True)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def wait_for(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether `url` answers before the process ends or the time is over."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if answers(url):
            return True
        time.sleep(0.05)
    return False


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def serve(processes: list[subprocess.Popen[bytes]]) -> int:
    processes.append(start("emulate", "powerbi", "--listen", "127.0.0.1:4690"))
    if not wait_for("http://127.0.0.1:4690/_/tables", processes[-1]):
        return 1
    processes.insert(0, start("run", "-c", str(CONFIG)))
    if not wait_for("http://127.0.0.1:4681/readyz", processes[0]):
        return 1
    print(GUIDE, flush=True)
    return processes[0].wait()


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        return serve(processes)
    except KeyboardInterrupt:
        return 0
    finally:
        # forebay first, so that its last sends still find the emulator.
        stop(processes)


if __name__ == "__main__":
    sys.exit(main())
