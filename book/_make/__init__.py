"""Runs the notebooks, builds the pages, makes and checks the reference run: ``python -m book._make``, in a checkout."""

import sys
from pathlib import Path

EXTENSION = str(Path(__file__).resolve().parents[1] / "_ext")
if EXTENSION not in sys.path:  # what the pages' extension reads, the builder reads with the same code
    sys.path.append(EXTENSION)
