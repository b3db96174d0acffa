"""The HTML that the live lab shows, and its layout. Text of a model or a user is escaped here: it is shown as text."""

from __future__ import annotations

import base64
import html
import traceback
from collections.abc import Sequence
from importlib import resources

import ipywidgets as widgets
import numpy as np
import pandas as pd

from polinb.lab.request import DONATED, RANGES, Answer, Request, Result
from polinb.secrets import hide

JUDGE_NOTE = (
    "The judge learnt from longer reference responses; a short or odd answer misleads it, and one answer is no "
    "stance: the book's chapters average over many questions. Colours show the activation of the chosen neurons on "
    "each token: their root mean square, or with its sign (blue: positive) that of a single neuron."
)
STYLE = f"<style>{(resources.files('polinb') / 'resources' / 'lab' / 'lab.css').read_text('utf-8')}</style>"
_PLUS, _MINUS = "0, 114, 178", "213, 94, 0"  # blue and vermilion, told apart by the colour-blind


def short(text: str, length: int) -> str:
    """``text``, cut to ``length`` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def text_html(text: str) -> str:
    """An answer while it is written."""
    return f'<div class="polinb-text">{html.escape(text) or "&nbsp;"}</div>'


def answer_html(answer: Answer, most: float) -> str:
    """A finished answer, each token coloured by its activation; ``most`` has the fullest colour."""
    if not answer.ids:
        return text_html("")
    spans = []
    for piece, value in zip(answer.pieces, answer.activation, strict=True):
        colour = f"rgba({_PLUS if value >= 0 else _MINUS}, {0.5 * abs(value) / (most or 1):.2f})"
        spans.append(f'<span title="{value:.3g}" style="background: {colour}">{html.escape(piece)}</span>')
    peak = int(np.argmax(np.abs(answer.activation)))
    strongest = f"strongest on “{html.escape(answer.pieces[peak].strip())}” ({answer.activation[peak]:.3g})"
    mean = f"<p>Activation: mean {np.mean(answer.activation):.3g}, {strongest}.</p>"
    return f'<div class="polinb-text">{"".join(spans)}</div>{mean}'


def gauge_html(answer: Answer, stopped: bool) -> str:
    """P(right) of an answer: number, word, and a marker on a bar from left to right; then likelihoods and speed."""
    rate = f", {len(answer.ids) / answer.seconds:.1f} a second" if answer.seconds else ""
    rest = f"<p>{len(answer.ids)} tokens{rate}{'; stopped' if stopped else ''}</p>"
    if answer.gap is not None:
        side, gap = "right" if answer.gap > 0 else "left", f"right − left: {answer.gap:+.2f} nats a token"
        rest = f"<p>Reference responses: the {side} one is likelier ({gap}; needs no judge).</p>{rest}"
    if answer.p_right is None:
        return f"<p>Judge: no P(right) for this text (label: {html.escape(answer.label)}).</p>{rest}"
    words = {"left": "leans left", "right": "leans right"}.get(answer.label, answer.label)
    name = f"P(right) = {answer.p_right:.2f}: {html.escape(words)}"
    return (
        f'<p><strong>{name}</strong></p><div role="img" aria-label="{name}">'
        f'<div class="polinb-bar"><i></i><b style="left:{100 * answer.p_right:.1f}%">▼</b></div>'
        f'<div class="polinb-ends"><span>0 left</span><span>right 1</span></div></div>{rest}'
    )


def error_html(error: BaseException) -> str:
    """What went wrong, in words; the traceback folded away. Keys and passwords are taken out."""
    known = type(error).__module__.startswith("polinb.")
    words = html.escape(hide(str(error) if known else f"{type(error).__name__}: {error}"))
    details = html.escape(hide("".join(traceback.format_exception(error))))
    return (
        f'<div class="polinb-error" role="alert"><p><strong>This did not work.</strong> {words}</p>'
        f"<details><summary>Details</summary><pre>{details}</pre></details></div>"
    )


def missing_html(missing: Sequence[str]) -> str:
    """What must be made first."""
    items = "".join(f"<li>{html.escape(each)}</li>" for each in missing)
    return (
        f"<p><strong>Not there yet, so it is made first:</strong></p><ul>{items}</ul>"
        "<p>It is kept, so this happens once; with a real model it can take long. Stop works meanwhile. Start?</p>"
    )


def change_words(r: Request) -> str:
    """The intervention of a request in few words."""
    donor = f" from {r.donor} {r.donor_topic}" if r.kind in DONATED else ""
    return r.kind + donor + (f", strength {r.strength:g}" if r.kind in RANGES else "")


def chosen_words(r: Request) -> str:
    """The neurons of a request in few words."""
    if r.neurons == "own":
        return f"own list: {short(r.own, 40)}"
    name = {"general": "G", "specific": f"S_{r.topic}", "strict": f"strict S_{r.topic}"}.get(r.neurons)
    return f"{name or f'random ({r.neurons}) no. {r.number}'}, γ = {r.gamma:g} %"


def history_html(results: Sequence[Result]) -> str:
    """The runs so far as a table."""
    if not results:
        return "<p>No run yet.</p>"
    rows = []
    for number, result in enumerate(results, 1):
        r = result.request
        row = {"Run": number, "Prompt": short(r.prompt, 60), "Intervention": change_words(r)}
        row["Neurons"] = f"{chosen_words(r)} ({result.chosen:,})"
        rows.append(row | {f"P(right) {name}": answer.p_right for name, answer in result.answers.items()})
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame(rows).to_html(index=False, border=0, float_format="{:.2f}".format, na_rep="–")
    return f'<div class="polinb-wide" tabindex="0" role="region" aria-label="History of runs">{table}</div>'


def saved_html(title: str, text: str, name: str, kind: str) -> str:
    """``text``, folded away, to copy, and a link that saves it as a file; the text travels in the link."""
    data = base64.b64encode(text.encode()).decode()
    return (
        f'<details><summary>{title}</summary><textarea rows="14" aria-label="{name}">{html.escape(text)}</textarea>'
        f'<p><a download="{name}" href="data:{kind};base64,{data}">Save as {name}</a></p></details>'
    )


def box(name: str, *children: widgets.Widget) -> widgets.Widget:
    """A ``row``, side by side where there is room, or a ``column`` of one: as lab.css says."""
    made = widgets.Box(children)
    made.add_class(f"polinb-{name}")
    return made
