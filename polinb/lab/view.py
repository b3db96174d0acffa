"""The HTML that the live lab shows, and its layout. Text of a model or a user is escaped here: it is shown as text."""

from __future__ import annotations

import base64
import html
import traceback
from collections.abc import Sequence

import ipywidgets as widgets

from polinb.lab.needs import Need
from polinb.lab.request import Answer, Request, Result

JUDGE_NOTE = (
    "The judge learnt from longer reference responses; a short or odd answer misleads it, and one answer is no "
    "stance: the book's chapters average over many questions."
)
# JupyterLab's theme variables where they exist, so that the dark theme works; Voilà has them too.
STYLE = """<style>
.polinb-lab { max-width: 70rem; }
.polinb-lab .polinb-text { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 4em; padding: .5em .7em;
  line-height: 1.45; border: 1px solid var(--jp-border-color1, #767676); border-radius: 4px; }
.polinb-lab .polinb-slider { display: flex; align-items: center; gap: 8px; margin: 2px; }
.polinb-lab .polinb-slider span { width: 8.5em; text-align: right; flex: none; font-size: var(--jp-widgets-font-size); }
.polinb-lab .polinb-slider input { flex: 1; min-width: 0; }
.polinb-lab .polinb-slider output { min-width: 3em; font-size: var(--jp-widgets-font-size); }
.polinb-lab .widget-hprogress { align-items: center; }
.polinb-lab h3 { margin: .4em 0; font-size: 1.05em; }
.polinb-lab p { margin: .3em 0; line-height: 1.4; }
.polinb-lab .polinb-error { border: 2px solid #b3261e; border-radius: 4px; padding: .4em .7em; }
.polinb-lab pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85em; }
.polinb-lab .polinb-bar { position: relative; height: 1.1em; margin: 1.2em .5em .2em;
  border: 1px solid currentColor; border-radius: 3px; }
.polinb-lab .polinb-bar i { position: absolute; top: 0; bottom: 0; left: 50%; border-left: 1px dashed currentColor; }
.polinb-lab .polinb-bar b { position: absolute; top: -1.15em; width: 2em; margin-left: -1em; text-align: center; }
.polinb-lab .polinb-ends { display: flex; justify-content: space-between; margin: 0 .5em; }
.polinb-lab table { border-collapse: collapse; } .polinb-lab .polinb-wide { overflow-x: auto; }
.polinb-lab th, .polinb-lab td { text-align: left; padding: .2em .6em; vertical-align: top;
  border-bottom: 1px solid var(--jp-border-color1, #767676); line-height: 1.35; }
.polinb-lab :is(button, select, input, textarea, summary):focus-visible { outline: 2px solid #0072B2;
  outline-offset: 1px; }
.polinb-lab .widget-label, .polinb-lab .widget-label-basic { white-space: normal; line-height: 1.2; }
</style>"""


def text_html(text: str) -> str:
    """An answer."""
    return f'<div class="polinb-text">{html.escape(text) or "&nbsp;"}</div>'


def gauge_html(answer: Answer | None) -> str:
    """P(right) of an answer: number, word, and a marker on a bar from left to right."""
    if answer is None:
        return "<p>Judge: –</p>"
    gap = ""
    if answer.gap is not None:
        side = "right" if answer.gap > 0 else "left"
        gap = (
            f"<p>Reference responses: the {side} one is likelier (right − left: {answer.gap:+.2f} nats a token; "
            "needs no judge).</p>"
        )
    if answer.p_right is None:
        return f"<p>Judge: no P(right) for this text (label: {html.escape(answer.label)}).</p>{gap}"
    p = min(max(answer.p_right, 0.0), 1.0)
    words = {"left": "leans left", "right": "leans right"}.get(answer.label, answer.label)
    said = f"P(right) = {p:.2f}: {html.escape(words)}"
    return (
        f'<p><strong>{said}</strong></p><div role="img" aria-label="{said}">'
        f'<div class="polinb-bar"><i></i><b style="left:{100 * p:.1f}%">▼</b></div>'
        f'<div class="polinb-ends"><span>0 left</span><span>right 1</span></div></div>{gap}'
    )


def speed_html(answer: Answer, stopped: bool) -> str:
    """How many tokens, how fast."""
    rate = f", {len(answer.ids) / answer.seconds:.1f} a second" if answer.seconds else ""
    return f"<p>{len(answer.ids)} tokens{rate}{'; stopped' if stopped else ''}</p>"


def error_html(error: BaseException) -> str:
    """What went wrong, in words; the traceback folded away."""
    known = type(error).__module__.startswith("polinb.")
    words = str(error) if known else f"{type(error).__name__}: {error}"
    details = "".join(traceback.format_exception(error))
    return (
        f'<div class="polinb-error" role="alert"><p><strong>This did not work.</strong> {html.escape(words)}</p>'
        f"<details><summary>Details</summary><pre>{html.escape(details)}</pre></details></div>"
    )


def needs_html(needs: Sequence[Need]) -> str:
    """What must be computed first."""
    items = "".join(f"<li>{html.escape(str(need))}</li>" for need in needs)
    return (
        f"<p><strong>Something must be made first:</strong></p><ul>{items}</ul>"
        "<p>It is kept, so this happens once. Stop works meanwhile. Start?</p>"
    )


def chosen_words(r: Request) -> str:
    """The neurons of a request in few words."""
    if r.kind == "none":
        return "none"
    name = {"general": "G", "specific": f"S_{r.topic}", "strict": f"strict S_{r.topic}"}.get(r.neurons)
    if r.neurons == "own":
        return f"own list: {r.own if len(r.own) <= 40 else r.own[:39] + '…'}"
    return f"{name or f'random ({r.neurons}) no. {r.number}'}, γ = {r.gamma:g} %"


def change_words(r: Request) -> str:
    """The intervention of a request in few words."""
    if r.kind == "patch":
        return f"patch from {r.donor} {r.donor_topic}, strength {r.strength:g}"
    return f"scale × {r.strength:g}" if r.kind == "scale" else r.kind


def history_html(results: Sequence[Result]) -> str:
    """The runs so far as a table."""
    if not results:
        return "<p>No run yet.</p>"
    head = ("Run", "Prompt", "Intervention", "Neurons", "P(right) vanilla", "P(right) intervened")
    rows = []
    for number, result in enumerate(results, 1):
        r = result.request
        prompt = r.prompt if len(r.prompt) <= 60 else r.prompt[:59] + "…"
        cells = [str(number), prompt, change_words(r), f"{chosen_words(r)} ({result.chosen:,})"]
        values = [result.answers[arm].p_right for arm in ("vanilla", "intervened")]
        cells += ["–" if value is None else f"{value:.2f}" for value in values]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return (
        '<div class="polinb-wide" tabindex="0" role="region" aria-label="History of runs"><table><thead><tr>'
        + "".join(f'<th scope="col">{each}</th>' for each in head)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def download_html(text: str, name: str, kind: str) -> str:
    """A link that saves ``text`` as a file; the text travels in the link."""
    data = base64.b64encode(text.encode()).decode()
    return f'<p><a download="{name}" href="data:{kind};base64,{data}">Save as {name}</a></p>'


def row(*children: widgets.Widget) -> widgets.Widget:
    """Children side by side where there is room, below each other where there is none."""
    return widgets.Box(children, layout=widgets.Layout(flex_flow="row wrap", width="100%"))


def column(*children: widgets.Widget) -> widgets.Widget:
    """One column of a :func:`row`."""
    return widgets.VBox(
        children, layout=widgets.Layout(flex="1 1 300px", min_width="0", max_width="100%", padding="0 12px 0 0")
    )


def page(text: str = "") -> widgets.HTML:
    """A place for HTML."""
    return widgets.HTML(text, layout=widgets.Layout(width="100%", min_width="0"))


def folded(title: str, *children: widgets.Widget) -> widgets.Widget:
    """Children that a button, a real one for keyboards, shows and hides."""
    inside = widgets.VBox(children, layout=widgets.Layout(display="none", width="100%"))
    switch = widgets.ToggleButton(description=title, icon="", layout=widgets.Layout(width="auto", max_width="100%"))
    switch.observe(lambda change: setattr(inside.layout, "display", "" if change["new"] else "none"), "value")
    return widgets.VBox([switch, inside], layout=widgets.Layout(width="100%"))


def button(text: str, tip: str, style: str = "") -> widgets.Button:
    """A button with a tool tip."""
    return widgets.Button(description=text, tooltip=tip, button_style=style)
