"""A chapter's answer: kept in its executed notebook, for the chapter's first cell and the opening page."""

from __future__ import annotations

from polinb.runs.run import Run
from polinb.wording import Answer, Prose, flowing, label, placeless, typeset

KEY = "answer"  # by which the pages find it in an output


def show(run: Run, answer: Answer) -> None:
    """Print a chapter's answer and keep it in the output, for the page's first cell and the opening page."""
    from IPython.display import display

    note = label(run.params.profile)
    first, rest = (typeset(flowing(part)) for part in answer)
    text = f"{first} {rest}".strip()
    model = placeless(getattr(run.params, "model", "planted"))
    display(
        Prose(f"*{note}* {text}" if note else text, answer=KEY, profile=run.params.profile, model=model, first=first)
    )
