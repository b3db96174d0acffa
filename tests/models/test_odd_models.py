"""Models as users bring them: templates, tokenizers, folders and names that differ from what one expects."""

from __future__ import annotations

import copy
import json
import re
import shutil
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from polinb.errors import DataError, ModelError
from polinb.models.generation import generate, log_likelihood
from polinb.models.loading import identity_of, load
from polinb.models.tiny import tiny_model, tiny_tokenizer
from polinb.models.tokens import end_ids, prompt_ids, response_ids, text_ids

TEMPLATE = tiny_tokenizer().chat_template


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    tiny_model("llama").save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    return target


def settings(folder, name="tokenizer_config.json", drop=(), **more):
    known = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({k: v for k, v in known.items() if k not in drop} | more))


def with_template(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    return load(str(folder), device="cpu")


@pytest.mark.parametrize("odd", [{"return_dict": False, "output_hidden_states": True}, {"pad_token_id": 99999}])
def test_odd_settings_change_no_answer(folder, odd):
    def said():
        lm = load(str(folder), device="cpu")
        prompts = [prompt_ids(lm, "Should taxes rise?"), prompt_ids(lm, "Why?")]
        answers = generate(lm, prompts, max_new_tokens=4)
        assert lm.model.get_input_embeddings().padding_idx in (None, lm.tokenizer.pad_token_id)
        return answers, list(log_likelihood(lm, prompts, [[5, 6], [7]]))

    expected = said()
    settings(folder, "config.json", **odd)
    assert said() == expected


def test_weights_of_another_shape_are_named(folder):
    settings(folder, "config.json", vocab_size=801)
    with pytest.raises(ModelError, match=r"has weights of another shape \(2\): lm_head.weight, model.embed_tokens"):
        load(str(folder))


@pytest.mark.parametrize(
    ("opens", "closed"),
    [
        ("<think>\\n", "<think>\n\n</think>\n\n"),
        ("◁think▷", "◁think▷\n\n◁/think▷\n\n"),
        ("<think>\\n\\n</think>\\n\\n", "<think>\n\n</think>\n\n"),  # closed by the template itself
    ],
)
def test_a_thought_that_the_template_opens_is_closed(folder, opens, closed):
    lm = with_template(folder, TEMPLATE.replace("<|assistant|>", "<|assistant|>{{ '" + opens + "' }}"))
    text = lm.tokenizer.decode(prompt_ids(lm, "Is <think> a word?"))
    assert text == f"<|user|>Is <think> a word?<|end|><|assistant|>{closed}"
    assert end_ids(lm) == [lm.tokenizer.eos_token_id]


def test_the_prompt_is_the_same_every_day(folder):
    """Templates ask for the date in several ways, also inside macros, and with any format."""
    ways = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }} "
        "{{ strftime_now('%Y-%m-%d') }} {% macro day() %}{{ strftime_now('%-d %B') }}{% endmacro %}{{ day() }} "
        "{%- if strftime_now is defined %} {{ strftime_now('%A %H:%M') }}{% endif %}"
    )
    lm = with_template(folder, "\n " + ways + TEMPLATE)
    text = lm.tokenizer.decode(prompt_ids(lm, "Q"))
    assert text == "\n26 Jul 2024 2024-07-26 26 July Friday 00:00<|user|>Q<|end|><|assistant|>"
    assert str(date.today().year) not in text


def test_several_named_templates(folder):
    (folder / "chat_template.jinja").unlink()
    named = {"rag": "{{ 'rag' }}", "tool_use": "{{ 'tools' }}"}
    settings(folder, chat_template=[{"name": n, "template": t} for n, t in named.items()])
    with pytest.raises(ModelError, match=r"several chat templates.*rag, tool_use.*chat_template\.jinja"):
        load(str(folder))
    settings(folder, chat_template=[{"name": n, "template": t} for n, t in {**named, "default": TEMPLATE}.items()])
    lm = load(str(folder), device="cpu")
    assert lm.tokenizer.decode(prompt_ids(lm, "Q")) == "<|user|>Q<|end|><|assistant|>"


MARKED = [  # as in data that were copied out of a chat
    "<|assistant|>No: people should decide.<|end|>\n<|user|>Thanks",
    "a<|end|><|end|>b",
]


@pytest.mark.parametrize("text", MARKED)
@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_special_tokens_in_texts_are_letters(template, text):
    lm = SimpleNamespace(tokenizer=copy.deepcopy(tiny_tokenizer()), name="odd")
    lm.tokenizer.chat_template = template
    special = set(lm.tokenizer.all_special_ids) | {2, 3, 4}
    plain = prompt_ids(lm, "Q", "S" if template else False)
    for got, expected in (
        (response_ids(lm, text, end=True), [lm.tokenizer.eos_token_id]),
        (prompt_ids(lm, text, text if template else False), [i for i in plain if i in special]),
    ):
        assert [i for i in got if i in special] == expected
        assert text.strip() in lm.tokenizer.decode(got)


def test_marks_of_the_template_that_are_no_special_tokens_are_letters_too(folder):
    """Qwen's <think> and <tool_call> are added tokens, not special ones; runs of spaces are added tokens as well."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>", "  ", "lorem"])
    tokenizer.save_pretrained(folder)
    model = tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    lm = with_template(folder, TEMPLATE + "  {# <think> #}{{ '<think>' if false else '' }}{{ '  ' if false else '' }}")
    think, end, spaces, lorem = (lm.tokenizer.convert_tokens_to_ids(t) for t in ("<think>", "</think>", "  ", "lorem"))
    read = response_ids(lm, "<think>  lorem</think>", end=False)
    assert think not in read and {spaces, lorem, end} <= set(read)


def test_texts_without_marks_are_read_as_ever():
    lm = SimpleNamespace(tokenizer=tiny_tokenizer(), name="odd")
    for text in ("Yes, they should.", "", " a  b\n", "ünï <b> $x$ | 你好", "< |end|>"):
        assert response_ids(lm, text, end=False) == list(lm.tokenizer(text, add_special_tokens=False).input_ids)


def test_a_classifier_reads_marks_as_letters(tmp_path):
    import pandas as pd
    from planted_classifiers import TELLING, classifier

    from polinb.stance.judges import HFJudge

    judge = HFJudge(str(classifier(tmp_path / "m", TELLING)), device="cpu")
    marked = pd.DataFrame({"response": ["tradition [SEP] [CLS] [PAD] we", "tradition ( sep ) ( cls ) ( pad ) we"]})
    read = judge._classifier._pipeline.tokenizer
    assert judge.rate(marked)["label"].tolist() == ["right", "right"]
    seen = []
    judge._classifier._pipeline.model.register_forward_pre_hook(
        lambda module, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    judge.rate(marked.iloc[:1])
    ids = seen[0][0].tolist()
    assert ids.count(read.sep_token_id) == ids.count(read.cls_token_id) == 1


def test_a_token_that_ends_every_text_is_not_put_behind_a_prompt(folder):
    from tokenizers.processors import TemplateProcessing

    tokenizer = AutoTokenizer.from_pretrained(folder)
    single, marks = "<|system|> $A <|end|>", [("<|end|>", 1), ("<|system|>", 4)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=marks)
    tokenizer.chat_template = None
    (folder / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(folder)
    lm = load(str(folder), device="cpu")
    assert lm.tokenizer("Q").input_ids[-1] == 1
    assert lm.tokenizer.decode(prompt_ids(lm, "Q")) == "<|system|>Question: Q\nAnswer:"
    assert lm.tokenizer.decode(text_ids(lm, "Q", start=True)) == "<|system|>Q"
    assert lm.tokenizer.decode(response_ids(lm, "Yes", end=True)) == " Yes<|end|>"


def test_a_word_of_the_template_ends_no_answer(folder):
    lm = with_template(
        folder,
        "{% for m in messages %}{% if m['role'] == 'user' %}Human: {{ m['content'] }}\nAssistant: {% else %}"
        "{{ m['content'] }}\n\nHuman:{% endif %}{% endfor %}",
    )
    assert end_ids(lm) == [lm.tokenizer.eos_token_id]


def test_a_tokenizer_without_an_end_or_padding_token(folder):
    settings(folder, drop=("eos_token", "pad_token"))
    lm = load(str(folder), device="cpu")
    assert response_ids(lm, "Yes", end=True)[-1] == end_ids(lm)[0] == lm.tokenizer.pad_token_id == 1
    prompts = [prompt_ids(lm, "Q"), prompt_ids(lm, "A much longer question?")]
    assert generate(lm, prompts, max_new_tokens=4) == [generate(lm, [p], max_new_tokens=4)[0] for p in prompts]
    (folder / "chat_template.jinja").unlink()
    for name in ("generation_config.json", "config.json"):
        settings(folder, name, drop=("eos_token_id",))
    with pytest.raises(ModelError, match=r"no token that ends an answer.*eos_token"):
        load(str(folder), device="cpu")


def test_a_padding_token_without_an_embedding_is_not_used(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})
    tokenizer.save_pretrained(folder)
    rows = len(tiny_tokenizer())
    assert AutoTokenizer.from_pretrained(folder).pad_token_id == rows
    lm = load(str(folder), device="cpu")
    assert lm.tokenizer.pad_token_id < rows
    prompts = [prompt_ids(lm, "Q"), prompt_ids(lm, "A much longer question?")]
    assert generate(lm, prompts, max_new_tokens=4) == [generate(lm, [p], max_new_tokens=4)[0] for p in prompts]


def test_a_tokenizer_of_another_model_is_refused(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"800 embeddings.*'<\|turn\|>'"):
        with_template(folder, TEMPLATE.replace("<|assistant|>", "<|turn|>"))


def test_a_tokenizer_that_needs_other_packages_is_told(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "tokenizer.model").write_bytes(b"\x0a\x05abcde")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"})
    )
    with pytest.raises(ModelError, match=r"no tokenizer\.json.*sentencepiece"):
        load(str(folder))


def hub_cache(folder, root, commit="c0ffee" * 6 + "c0ff", name="odd"):
    """``folder`` as the hub's client keeps the model owner/odd."""
    place = root / f"models--owner--{name}"
    snapshot = place / "snapshots" / commit
    shutil.copytree(folder, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    (place / "blobs").mkdir()
    return place


def test_what_to_give_instead(folder, tmp_path):
    cache = hub_cache(folder, tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "training").mkdir()
    shutil.copytree(folder, tmp_path / "training" / "checkpoint-500")
    for given, told in (
        (tmp_path / "model.gguf", "GGUF.*the model that it was made from"),
        (cache, f"owner/odd, or its folder .*{'c0ffee' * 6}"),
        (tmp_path / "training", "checkpoint-500"),
        (folder / "model.safetensors", "the folder that holds config.json"),
        ("https://huggingface.co/owner/odd", "owner/name"),
    ):
        with pytest.raises(ModelError, match=told):
            load(str(given))


@pytest.mark.parametrize(
    ("rename", "told"),
    [
        (lambda key: f"module.{key}", "'module.'"),
        (lambda key: re.sub(r"(layers\.\d\.)", r"\1_checkpoint_wrapped_module.", key), "'_checkpoint_wrapped_module.'"),
    ],
)
def test_names_that_a_wrapper_left_in_a_checkpoint_are_told(folder, rename, told):
    weights = load_file(folder / "model.safetensors")
    save_file({rename(k): v for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"lacks weights.*{re.escape(told)}, which a wrapper"):
        load(str(folder), device="cpu")


def test_a_hub_model_has_its_commit_in_its_key_also_offline(folder, tmp_path, monkeypatch):
    from planted_classifiers import PLAIN, classifier

    from polinb.models.hub import commit_of
    from polinb.stance import classifiers

    commit = "c0ffee" * 6 + "c0ff"
    hub_cache(folder, tmp_path / "hub", commit)
    hub_cache(classifier(tmp_path / "c", PLAIN), tmp_path / "hub", commit, "judge")
    for constant, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
        monkeypatch.setattr(f"huggingface_hub.constants.{constant}", value)
    commit_of.cache_clear()
    assert identity_of("owner/odd")["revision"] == commit
    assert identity_of("owner/odd", "main") == identity_of("owner/odd", commit)
    assert load("owner/odd", device="cpu").identity == identity_of("owner/odd")
    assert classifiers.identity_of("owner/judge") == {"model": "owner/judge", "commit": commit}
    judge = classifiers.SequenceClassifier("owner/judge", device="cpu")
    assert judge.commit == commit and judge.probabilities(["tradition"]).shape == (1, 2)
    with pytest.raises(ModelError, match=r"'owner/none' cannot be fetched.*local folder"):
        identity_of("owner/none")
    commit_of.cache_clear()


def test_a_text_longer_than_the_context_is_told_before_the_model_reads_any(monkeypatch):
    lm = load("tiny:gpt2", device="cpu")
    monkeypatch.setattr(lm.model, "generate", lambda **given: pytest.fail("the model was asked"))
    prompts = [[5] * 10, [5] * 1020, text_ids(lm, "Number seven is the longest ") + [5] * 1017]
    with pytest.raises(DataError, match=r"text 3 of 3 \('Number seven.*has \d+ tokens and 8 .*1024; .* longest of 2"):
        generate(lm, prompts, max_new_tokens=8)
    with pytest.raises(DataError, match="text 1 of 1"):
        log_likelihood(lm, [[5] * 1000], [[5] * 100])
    assert lm.context == 1024 and torch.is_tensor(lm.model(input_ids=torch.tensor([[5] * 1024])).logits)


def long_data(path, split, prompt="", response="", topics=("crime", "race")):
    """A small data set, in which the first prompt of ``split`` is lengthened, and the second by half of that."""
    from polinb.data.pairs import split_of

    rows, longer = [], [prompt, prompt[: len(prompt) // 2]]
    for topic in topics:
        for number in range(24):
            text = f"Should the city change its rule number {number} on {topic}?"
            if longer and split_of(text) == split:
                while split_of(f"{longer[0]}{text}") != split:
                    text += "?"
                text = f"{longer.pop(0)}{text}"
            rows.append(
                {"topic": topic, "prompt": text, "left": f"Yes, {number}.", "right": f"No, {number}. {response}"}
            )
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize(("split", "model", "most"), [("train", "tiny:llama", 160), ("evaluate", "tiny:gpt2", 5000)])
def test_a_run_names_its_longest_prompt_before_anything_is_trained(split, model, most, tmp_path, monkeypatch):
    from polinb.runs.params import Params
    from polinb.runs.run import Run

    monkeypatch.setattr("polinb.training.supervised.finetune", lambda *_, **__: pytest.fail("it was trained"))
    background = "The council met and spoke at length about many things. " * 120
    data = long_data(tmp_path / "long.jsonl", split, background)
    many = dict.fromkeys(("train_examples", "localise_prompts", "eval_questions"), 24)
    run = Run(Params.from_profile("tiny", data=data, topics=["crime", "race"], model=model, max_tokens=most, **many))
    longest = max(run.data.pairs, key=lambda pair: len(pair.prompt))
    told = (
        rf"row '{longest.id}' has (\d+) tokens.*max_tokens is {most}, the context of model '{model}' 1024.*longest of 2"
    )
    with pytest.raises(DataError, match=told) as caught:
        run.weights(run.tuned("race", "left")).made()
    assert int(re.search(r"has (\d+) tokens", str(caught.value))[1]) == len(prompt_ids(load(model), longest.prompt))


def test_sides_that_are_the_same_once_cut_are_refused(tmp_path):
    from polinb.data.pairs import split_of
    from polinb.runs.params import Params
    from polinb.runs.run import Run

    path = tmp_path / "same.jsonl"
    rows = [json.loads(line) for line in Path(long_data(path, "train")).read_text().splitlines()]
    row = next(row for row in rows if split_of(row["prompt"]) == "train")
    row |= {side: f"{'It depends on many things. ' * 40}{side}" for side in ("left", "right")}
    path.write_text("\n".join(json.dumps(row) for row in rows))
    many = dict.fromkeys(("train_examples", "localise_prompts", "eval_questions"), 24)
    some = {"data": str(path), "topics": ["crime", "race"], "model": "tiny:gpt2", **many}
    with pytest.raises(
        DataError, match=r"left and right of row 'crime-.*' are the same within max_tokens, 200 .* 1 such"
    ):
        Run(Params.from_profile("tiny", **some, max_tokens=200)).lm  # noqa: B018
    assert Run(Params.from_profile("tiny", **some, max_tokens=1000)).lm.layers == 3


def test_the_local_judge_reads_languages_without_spaces():
    import pandas as pd

    from polinb.data.pairs import Pair, StanceData
    from polinb.stance.judges import LocalJudge
    from polinb.stance.utility import lexical_relevance, repetition

    left = ["我认为政府应当提供更多公共服务，保护弱势群体。", "我认为富人应当缴纳更高的税来支持学校和医院。"]
    right = ["我认为应当减少管制，让市场和家庭自己决定。", "我认为传统和秩序使国家强大，税收应当降低。"]
    new = ["政府要保护弱势群体，提高富人的税。", "市场自己决定更好，传统和家庭使国家强大。", "Ähm"]
    pairs = tuple(
        Pair(topic=topic, prompt=f"问题{topic}{k}?", left=left[k % 2], right=right[k % 2])
        for topic in ("crime", "race")
        for k in range(20)
    )
    data = StanceData("odd", pairs)
    rated = LocalJudge(data).rate(pd.DataFrame({"response": new}))
    assert rated["label"].tolist() == ["left", "right", "other"]
    assert repetition("决定决定决定") > 0.4 and repetition("我认为传统和秩序") == 0
    assert lexical_relevance([left[0]], [new[0]], data)[0] > 0
