"""The prompts a model is asked, word by word where the paper prints them."""

from __future__ import annotations

import pytest

from polinb.data.prompts import answer_prompt, statement_prompt
from polinb.errors import ParameterError


def test_prompt_wordings() -> None:
    assert statement_prompt("Taxes are low.", "Well? ", " Yes/No") == "Well? Taxes are low. Yes/No"
    assert answer_prompt("Why?") == "Why?"
    question = answer_prompt("Why {topic}?", "appendix_a4", "gender")
    assert question.startswith("Write a response to the following instruction on the topic of Gender and Sexuality,")
    assert question.count("Gender and Sexuality") == 2 and question.endswith("Instruction: Why {topic}?")
    assert "on the topic of Health advice," in answer_prompt("Why?", "appendix_a4", "health-advice")
    statement = answer_prompt("Taxes.", "appendix_a4")
    assert "topic" not in statement and statement.endswith("Viewpoints: Taxes.")
    with pytest.raises(ParameterError, match="answer_template"):
        answer_prompt("Why?", "a4")
    with pytest.raises(ParameterError):
        statement_prompt("  ")
