"""The book's figures, one function each: a tidy frame in, an Altair chart out that draws with no network.

The columns a function needs stand in its docstring; further columns are ignored. A frame without rows, a column that is
missing and an interval upside down are a ``DataError``. A missing number is not drawn, and an interval is drawn only
where both of its ends are known. Left and right, and any two conditions, differ by position,
shape or a printed number as well as by colour. Titles of axes hold the unit.
"""

import sys

# Altair imports jsonschema, which compiles a grammar of addresses for two seconds, which nobody asks for.
if "jsonschema" not in sys.modules:
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    import altair as _  # noqa: F401

    del sys.modules["rfc3987_syntax"]

from polinb.display.charts.effects import bars, by_layer, card_effects, pareto
from polinb.display.charts.heat import coupling_heatmap, overlap_heatmap
from polinb.display.charts.lines import curve
from polinb.display.charts.neurons import gamma_slider, layer_distribution
from polinb.display.charts.stances import paper_vs_ours, stance_dots
from polinb.display.charts.style import VEGA_LITE, png

__all__ = [
    "VEGA_LITE", "bars", "by_layer", "card_effects", "coupling_heatmap", "curve", "gamma_slider", "layer_distribution",
    "overlap_heatmap", "paper_vs_ours", "pareto", "png", "stance_dots",
]  # fmt: skip
