"""What a command tells the person who called it."""

import sys


def say(*lines: str) -> None:
    """Lines on standard output."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def say_bytes(text: bytes) -> None:
    """Text on standard output as it came, ended by one newline."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.rstrip(b"\n") + b"\n")


def complain(*lines: str) -> None:
    """Lines on standard error."""
    sys.stderr.writelines(f"{line}\n" for line in lines)


def shown(value: object) -> str:
    """The value without the control characters that would steer the terminal."""
    return "".join(char if char.isprintable() else " " for char in str(value))
