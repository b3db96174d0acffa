"""Chapters 14 to 16: concept ablation fine-tuning and its own tasks."""
