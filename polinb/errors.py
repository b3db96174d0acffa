"""The errors polinb raises on purpose. Each says what was given, what is allowed and what to do."""

from __future__ import annotations


class PolinbError(Exception):
    """Base of every error that polinb raises on purpose."""


class ParameterError(PolinbError, ValueError):
    """A parameter has an unknown name or a value that is not allowed."""

    def __init__(self, name: str, given: object, allowed: str, hint: str = "") -> None:
        self.name, self.given, self.allowed = name, given, allowed
        text = f"parameter {name!r}: got {given!r}; allowed: {allowed}"
        super().__init__(f"{text}. {hint}" if hint else text)


class DataError(PolinbError, ValueError):
    """A data file is missing, incomplete, changed or malformed; names file, row and column."""


class ModelError(PolinbError, RuntimeError):
    """A model cannot be found, loaded safely or taken apart into FFN neurons."""


class TrainingError(PolinbError, RuntimeError):
    """Fine-tuning went wrong (a loss that is not finite, a frozen weight that moved)."""


class JudgeError(PolinbError, RuntimeError):
    """A judge cannot be reached or set up."""


class ArtifactError(PolinbError, RuntimeError):
    """An artifact cannot be written, or what is on disk is not what was written."""


class OutOfMemoryError(PolinbError, MemoryError):
    """There was not enough memory, of the machine or of its graphics card, for a stage."""
