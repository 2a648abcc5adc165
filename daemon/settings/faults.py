"""Faults that a check of ours finds, in the form in which pydantic reports its own."""

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Path = tuple[str | int, ...]
"""Where a value stands: table names, keys, and the places in lists."""


def fault(path: Path, message: str) -> InitErrorDetails:
    """`message` about the value at `path`, relative to the value that is being checked."""
    # The message goes in as a value, because a template would stumble over its braces.
    error = PydanticCustomError("setting", "{message}", {"message": message})
    return InitErrorDetails(type=error, loc=path, input=None)


def moved(error: ValidationError, prefix: Path) -> list[InitErrorDetails]:
    """The faults of `error`, as seen from a table further up."""
    return [
        InitErrorDetails(
            type=PydanticCustomError("setting", "{message}", found["ctx"])
            if found["type"] == "setting"
            else found["type"],
            loc=(*prefix, *found["loc"]),
            input=None,
            ctx=found.get("ctx", {}),
        )
        for found in error.errors(include_url=False, include_input=False)
    ]


def refusal(title: str, faults: list[InitErrorDetails]) -> ValidationError:
    """All of `faults`, of which there is at least one, as one error to raise."""
    return ValidationError.from_exception_data(title, faults, hide_input=True)
