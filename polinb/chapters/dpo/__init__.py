"""Chapters 12 and 13: what DPO changes, on stance and on toxicity."""
