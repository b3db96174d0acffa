"""The errors polinb raises on purpose. Each says what was given, what is allowed and what to do."""

from __future__ import annotations

_LONGEST = 1000  # characters of a wrong value that are shown


class PolinbError(Exception):
    """Base of every error that polinb raises on purpose."""


class ParameterError(PolinbError, ValueError):
    """A parameter has an unknown name or a value that is not allowed."""

    def __init__(self, name: str, given: object, allowed: str, hint: str = "") -> None:
        self.name, self.given = name, given
        text = f"parameter {name!r}: got {_shown(given)}; allowed: {allowed}"
        super().__init__(f"{text}. {hint}" if hint else text)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits; an object that fails to show itself
        return f"a value of type {type(value).__name__} that is too large to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def first_line(error: BaseException) -> str:
    """The beginning of an error's message, for use inside another one."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class DataError(PolinbError, ValueError):
    """A data file is missing, incomplete, changed or malformed; names file, row and column."""


class ModelError(PolinbError, RuntimeError):
    """A model cannot be found, loaded safely or taken apart into FFN neurons."""


class TrainingError(PolinbError, RuntimeError):
    """Fine-tuning went wrong (a loss that is not finite, a frozen weight that moved)."""


class JudgeError(PolinbError, RuntimeError):
    """A judge cannot be reached or set up."""


class BookError(PolinbError, RuntimeError):
    """A chapter failed or the pages could not be built; says which, where and why."""


class ArtifactError(PolinbError, RuntimeError):
    """An artifact cannot be written, or what is on disk is not what was written."""


class OutOfMemoryError(PolinbError, MemoryError):
    """There was not enough memory, of the machine or of its GPU, for a stage."""
