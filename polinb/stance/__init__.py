"""Judges, stance and coupling: each statistic defined once."""
