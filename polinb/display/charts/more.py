"""Figures of the chapters beyond the paper: error curves, trade-offs, shares of an effect, principal angles.

As in ``charts``: one function a figure, each takes a tidy frame and returns an Altair chart that draws with no
network. The columns stand in the docstring; further columns are ignored, a missing one is an error. A missing
number is not drawn, and an interval is drawn only where both of its ends are known.
"""

from __future__ import annotations

from polinb.display.charts.bars import SUM, bars, by_layer
from polinb.display.charts.lines import CORNERS, MARKED, angles, curve, roc
from polinb.display.charts.trade import pareto

__all__ = ["CORNERS", "MARKED", "SUM", "angles", "bars", "by_layer", "curve", "pareto", "roc"]
