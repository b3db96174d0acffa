"""Colours that stand together can be told apart with any common colour blindness, and no side by colour alone."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from chart_frames import MAKERS, made, marks

from polinb.display import charts

# Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency, IEEE TVCG
# 15(6), 2009, severity 1.0, for linear RGB. Rows: red, green, blue as seen.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
LEAST = 15.0  # CIE 1976 colour difference; 2.3 can just be noticed side by side


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    t = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(first: str, second: str, sight: str) -> float:
    seen = [lab(np.array(SIGHTS[sight]) @ linear(colour)) for colour in (first, second)]
    return float(np.linalg.norm(seen[0] - seen[1]))


def test_the_ruler_itself() -> None:
    assert lab(linear("#FFFFFF")) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    red, green = "#B03030", "#4F6F20"  # told apart by hue alone: the test must be able to fail
    assert apart(red, green, "normal") > 60 > 20 > apart(red, green, "deuteranopia")
    assert apart("#009E73", "#7F7F7F", "deuteranopia") < LEAST  # Okabe and Ito's green and a middle grey


def test_the_palette_can_be_told_apart() -> None:
    for sight in SIGHTS:
        close = {(a, b): apart(a, b, sight) for a, b in combinations(charts.style.PALETTE, 2)}
        assert min(close.values()) >= LEAST, (sight, min(close, key=close.__getitem__))
        assert apart(charts.style.LEFT, charts.style.RIGHT, sight) > 80


def test_colours_of_one_chart_can_be_told_apart() -> None:
    for name in MAKERS:
        for unit in marks(json.loads(made(name))):
            colour = unit.get("encoding", {}).get("color", {})
            if colour.get("type") == "nominal" and not name.endswith("unknown"):
                together = colour["scale"]["range"]
                assert len(set(together)) == len(together), name
                pairs = [(a, b, sight) for a, b in combinations(together, 2) for sight in SIGHTS]
                assert all(apart(*pair) >= LEAST for pair in pairs), (name, together)
