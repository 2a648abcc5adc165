"""What can be set, read from the file, the credentials and the environment.

file ──────────┐
credentials ───┼─► tree of values, with origins ──► Settings, or every mistake, a line each
environment ───┘
"""

from forebay.daemon.settings.addresses import parse_address
from forebay.daemon.settings.load import Loaded, find, load
from forebay.daemon.settings.model import Settings
from forebay.daemon.settings.origins import SettingsError
from forebay.daemon.settings.secret import secrets
from forebay.daemon.settings.sinks import SinkSettings

__all__ = [
    "Loaded",
    "Settings",
    "SettingsError",
    "SinkSettings",
    "find",
    "load",
    "parse_address",
    "secrets",
]
