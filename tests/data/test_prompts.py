"""The prompts a model is asked, word by word where the paper prints them."""

from __future__ import annotations

from polinb.data.prompts import answer_prompt
from polinb.runs.params import Params
from polinb.runs.run import Run


def test_prompt_wordings() -> None:
    assert answer_prompt("Why?") == "Why?"
    question = answer_prompt("Why {topic}?", "appendix_a4", "gender")
    assert question.startswith("Write a response to the following instruction on the topic of Gender and Sexuality,")
    assert question.count("Gender and Sexuality") == 2 and question.endswith("Instruction: Why {topic}?")
    assert "on the topic of Health advice," in answer_prompt("Why?", "appendix_a4", "health-advice")
    statement = answer_prompt("Taxes.", "appendix_a4")
    assert "topic" not in statement and statement.endswith("Viewpoints: Taxes.")
    run = Run(Params.from_profile("tiny", statement_prefix="Well? ", statement_suffix=" Yes/No"))
    assert run.wrapped("Taxes are low.") == "Well? Taxes are low. Yes/No"
