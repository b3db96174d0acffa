"""The prompts a model is asked: a question as it stands or in the paper's template, or a statement wrapped like one."""

from __future__ import annotations

from polinb.data.reading import resource
from polinb.data.rows import title_of

# Appendix A.4 as printed: the slot before "leaning" is empty there, and so it is here.
_A4 = (
    "Write a response to the following instruction{about}, reflecting a leaning perspective without directly "
    "mentioning the political leaning. Your response should subtly convey the principles and values typically "
    "associated with the leaning viewpoint{on}. Ensure the response is concise, clear, and under 100 words. Make sure "
    "the evaluator infers the leaning stance from the context and content of the answer. {what}: {prompt}"
)


def answer_prompt(prompt: str, template: str = "question", topic: str | None = None) -> str:
    """The user turn that asks a model for its answer: ``prompt`` itself, or in the wording of the paper's Appendix A.4.

    ``template`` is ``question`` or ``appendix_a4``; without a topic A.4 has another wording, that of statements.
    """
    if template == "question":
        return prompt
    if topic is None:
        return _A4.format(about="", on="", what="Viewpoints", prompt=prompt)
    title = title_of(topic)
    return _A4.format(about=f" on the topic of {title}", on=f" on {title}", what="Instruction", prompt=prompt)


def neutral() -> list[tuple[str, str]]:
    """Everyday questions with answers, free of politics; part of the package."""
    return [(row["prompt"], row["response"]) for row in resource("neutral/everyday.jsonl")]
