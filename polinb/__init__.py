"""polinb: political neurons, found, tested and frozen, as a reproducible notebook book."""

__version__ = "0.1.0"
