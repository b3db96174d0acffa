"""Shared by all tests: one thread a process (tiny models lose time to more), no progress bars, a store of their own."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("POLINB_STORE", str(tmp_path / "store"))


class Pair:
    """Two random models of one architecture, with prompts and responses as token ids."""

    QUESTIONS = (
        "Should taxes be raised?",
        "What do you think about the police and the courts in this country, all in all?",
        "Is growth good?",
        "Should every family get help from the state?",
    )
    ANSWERS = (
        "Yes, they should.",
        "I do not know that.",
        "It is, for the country and the people in it.",
        "No.",
    )

    def __init__(self, architecture):
        from polinb.models import LM, load
        from polinb.text import prompt_ids, response_ids
        from polinb.tiny import tiny_model

        self.left = load(f"tiny:{architecture}")
        self.right = LM(tiny_model(architecture, 1), self.left.tokenizer, "right", {})
        self.vanilla = LM(tiny_model(architecture, 2), self.left.tokenizer, "vanilla", {})
        self.prompts = [prompt_ids(self.left, q) for q in self.QUESTIONS]
        self.responses = [response_ids(self.left, a, end=False) for a in self.ANSWERS]


@pytest.fixture
def pair():
    """Factory: architecture → :class:`Pair`."""
    return Pair
