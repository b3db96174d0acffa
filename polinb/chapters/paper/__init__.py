"""Chapters 1 to 9 and 11: the paper's own claims and their controls."""
