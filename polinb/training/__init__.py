"""Supervised and preference fine-tuning, with neurons frozen or directions ablated."""
