"""Models that take turns on a card which is too small for all of them: the others wait in the computer's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from polinb.models.loading import LM

Bring = Callable[..., None]


def everywhere(*_: LM) -> None:
    """Bring nothing: all models are where they run."""


@contextmanager
def turns(first: LM, place: torch.device) -> Iterator[Bring]:
    """``bring(*models)``, which puts these models on ``place`` after all others that it knows have left it.

    It knows ``first`` and whatever it brought before; copies of a model begin where the model is. At first nobody is
    on ``place``, and at the end, come what may, ``first`` alone is there again. Weights are moved, never changed.
    """
    import torch

    known: dict[int, LM] = {}

    def bring(*models: LM) -> None:
        wanted = {id(each.model) for each in models}
        known.update({id(each.model): each for each in (*models, first)})
        for each in known.values():
            if id(each.model) not in wanted:
                _move(each, torch.device("cpu"))
        if place.type == "cuda":
            torch.cuda.empty_cache()
        for each in models:
            _move(each, place)

    bring()
    try:
        yield bring
    finally:
        bring(first)


def _move(lm: LM, place: torch.device) -> None:
    if lm.device != place:
        lm.model.to(place)  # type: ignore[arg-type]  # transformers' annotation is too narrow
