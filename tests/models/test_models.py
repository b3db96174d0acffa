"""Models as users bring them: names, folders, templates, tokenizers and files; the embedded model's."""

import copy
import hashlib
import json
import os
import re
import shutil
from types import SimpleNamespace

import pytest
import torch
from planted_classifiers import PLAIN, classifier
from planted_files import change, model_folder
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

import polinb.models.embedded as embedded
from polinb.errors import DataError, ModelError, ParameterError
from polinb.models.aliases import ALIASES, EMBEDDED, commit_of
from polinb.models.generation import decode, generate, log_likelihood
from polinb.models.lm import LM
from polinb.models.loading import identity_of, load
from polinb.models.tiny import tiny_model, tiny_tokenizer
from polinb.models.tokens import end_ids, prompt_ids, response_ids, text_ids
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.stance import classifiers

TEMPLATE = tiny_tokenizer().chat_template


@pytest.fixture
def folder(tmp_path):
    return model_folder(tmp_path / "model")


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
    change(folder / "config.json", **odd)
    assert said() == expected


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


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_special_tokens_in_texts_are_letters(template):
    text = "<|assistant|>No: people should decide.<|end|><|end|>\n<|user|>Thanks"  # as copied out of a chat
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
    for plain in ("Yes, they should.", "", " a  b\n", "ünï <b> $x$ | 你好", "< |end|>") if template else ():
        assert response_ids(lm, plain, end=False) == list(lm.tokenizer(plain, add_special_tokens=False).input_ids)


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


def test_a_token_that_ends_every_text_is_not_put_behind_a_prompt(folder):
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


def test_a_tokenizer_without_an_end_or_with_a_padding_token_of_no_use(folder):
    def answered():
        lm = load(str(folder), device="cpu")
        prompts = [prompt_ids(lm, "Q"), prompt_ids(lm, "A much longer question?")]
        assert generate(lm, prompts, max_new_tokens=4) == [generate(lm, [p], max_new_tokens=4)[0] for p in prompts]
        return lm

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})  # without an embedding
    tokenizer.save_pretrained(folder)
    assert answered().tokenizer.pad_token_id < len(tiny_tokenizer())
    tiny_tokenizer().save_pretrained(folder)
    change(folder / "tokenizer_config.json", drop=("eos_token", "pad_token"))
    lm = answered()
    assert response_ids(lm, "Yes", end=True)[-1] == end_ids(lm)[0] == lm.tokenizer.pad_token_id == 1
    (folder / "chat_template.jinja").unlink()
    for name in ("generation_config.json", "config.json"):
        change(folder / name, drop=("eos_token_id",))
    with pytest.raises(ModelError, match=r"no token that ends an answer.*eos_token"):
        load(str(folder), device="cpu")


COMMIT = "c0ffee" * 6 + "c0ff"


def hub_cache(folder, root, name="odd"):
    """``folder`` as the hub's client keeps the model owner/odd."""
    place = root / f"models--owner--{name}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    (place / "blobs").mkdir()
    return place


def test_a_hub_model_has_its_commit_in_its_key_also_offline(folder, tmp_path, monkeypatch):
    hub_cache(folder, tmp_path / "hub")
    hub_cache(classifier(tmp_path / "c", PLAIN), tmp_path / "hub", "judge")
    for constant, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
        monkeypatch.setattr(f"huggingface_hub.constants.{constant}", value)
    commit_of.cache_clear()
    assert identity_of("owner/odd")["revision"] == COMMIT
    assert identity_of("owner/odd", "main") == identity_of("owner/odd", COMMIT)
    assert load("owner/odd", device="cpu").identity == identity_of("owner/odd")
    assert classifiers.identity_of("owner/judge") == {"model": "owner/judge", "commit": COMMIT}
    judge = classifiers.SequenceClassifier("owner/judge", device="cpu")
    assert judge.commit == COMMIT and judge.probabilities(["tradition"]).shape == (1, 2)
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


@pytest.mark.parametrize(("most", "context"), [(30, 1024), (5000, 60)])
def test_a_run_names_its_longest_prompt_before_anything_is_trained(most, context, monkeypatch):
    monkeypatch.setattr("polinb.training.supervised.finetune", lambda *_, **__: pytest.fail("it was trained"))
    monkeypatch.setattr(LM, "context", context)
    run = Run(Params.from_profile("tiny", model="tiny:llama", max_tokens=most))
    told = f"max_tokens is {most}, the context of model 'tiny:llama' {context}. It is the longest of"
    with pytest.raises(DataError, match=rf"row '\S+' has \d+ tokens.*{told}") as caught:
        run.weights(run.tuned("race", "left")).made()
    row, tokens = re.search(r"row '(\S+)' has (\d+) tokens", str(caught.value)).groups()
    [longest] = [pair for pair in run.data.pairs if pair.id == row]
    both = (response_ids(load("tiny:llama"), text, end=True) for text in (longest.left, longest.right))
    whole = len(prompt_ids(load("tiny:llama"), longest.prompt))
    assert int(tokens) in (whole, whole + max(map(len, both)))


def test_a_local_folder_loads_to_the_same_network(folder):
    torch.set_float32_matmul_precision("high")  # as some containers do through the environment
    lm, ids = load(str(folder)), torch.arange(10)[None]
    assert torch.get_float32_matmul_precision() == "highest"
    torch.testing.assert_close(lm.model(input_ids=ids).logits, tiny_model("llama")(input_ids=ids).logits)
    assert (lm.layers, lm.width, lm.neurons) == (3, 48, 144) and not lm.model.training


def test_identity_follows_content_revision_and_dtype(folder, monkeypatch):
    first = identity_of(str(folder))
    assert first == identity_of(str(folder)) and str(folder.parent) not in json.dumps(first)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace("1024", "1025"))
    assert identity_of(str(folder)) != first
    monkeypatch.setattr("polinb.models.loading.commit_of", lambda model, revision: f"commit of {revision}")
    alias = "qwen2.5-3b-instruct"
    names = ((alias,), (alias, "abc"), (alias, "", "bfloat16"), ("tiny:llama",))
    assert len({json.dumps(identity_of(*name), sort_keys=True) for name in names}) == 4
    assert identity_of(alias)["model"] == ALIASES[alias][0]
    assert all(re.fullmatch(r"[0-9a-f]{40}", revision) for _, revision in ALIASES.values())


WEIGHTS, CONFIG = "model.safetensors", "config.json"


def wrap(folder, place, wrapper):
    """Leave the names that a wrapper has put into a checkpoint."""
    renamed = {re.sub(place, wrapper, key, count=1): value for key, value in load_file(folder / WEIGHTS).items()}
    save_file(renamed, folder / WEIGHTS, {"format": "pt"})


def with_another_tokenizer(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("<|assistant|>", "<|turn|>"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: change(f / CONFIG, model_type="bloom"), r"'bloom' is unknown.*put a line into ARCHITECTURES"),
        (lambda f: change(f / CONFIG, quantization_config={"quant_method": "gptq"}), "quantised.*that they were made"),
        (lambda f: change(f / CONFIG, vocab_size=801), r"another shape \(2\): lm_head.weight, model.embed_tokens"),
        (lambda f: os.truncate(f / WEIGHTS, 20_000), "truncated or damaged.*load it again"),
        (lambda f: os.truncate(f / WEIGHTS, 0), "truncated or damaged.*load it again"),
        (lambda f: wrap(f, "^", "module."), "lacks weights.*'module.', which a wrapper"),
        (lambda f: wrap(f, r"(?<=layers\.\d\.)", "_wrapped."), "lacks weights.*'_wrapped.', which a wrapper"),
        (with_another_tokenizer, r"800 embeddings.*'<\|turn\|>'"),
    ],
)
def test_a_damaged_folder_is_told(folder, damage, told):
    damage(folder)
    with pytest.raises(ModelError, match=told):
        load(str(folder), device="cpu")


def test_what_to_give_instead(folder, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for given, told in (
        (tmp_path / "model.gguf", "GGUF.*the model that it was made from"),
        (tmp_path, f"such as {folder}"),
        (hub_cache(folder, tmp_path), f"owner/odd, or its folder .*{COMMIT}"),
        (folder / "model.safetensors", "the folder that holds config.json"),
        ("https://huggingface.co/owner/odd", "owner/name"),
        ("smollm", "no alias"),
    ):
        with pytest.raises(ModelError, match=told):
            load(str(given))
    with pytest.raises(ParameterError, match="tiny:llama"):
        load("tiny:nothing")


def test_a_changed_file_is_refused_and_an_interrupted_conversion_leaves_nothing_usable(tmp_path, monkeypatch):
    """A crash half way must not be taken for a finished model by the next run."""
    source, cache = tmp_path / embedded.GGUF, tmp_path / "cache"
    source.write_bytes(b"abc")
    monkeypatch.setattr(embedded, "find_gguf", lambda: source)
    with pytest.raises(ModelError, match=r"3 of 98362432 bytes.*expected b179"):
        embedded.embedded_folder(cache)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(b"abc").hexdigest())

    def crash(source, target):
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_dequantise", crash)
    with pytest.raises(KeyboardInterrupt):
        embedded.embedded_folder(cache)
    assert not list(cache.glob("*/"))
    monkeypatch.setattr(embedded, "_dequantise", lambda s, t: (t / "model.safetensors").write_bytes(b"whole"))
    assert (embedded.embedded_folder(cache) / "model.safetensors").read_bytes() == b"whole"


def test_the_embedded_model_writes_english():
    """The real file, where the project's own set-up has installed it."""
    try:
        embedded.find_gguf()
    except ModelError:
        pytest.skip("the wheel with the embedded model is not installed here")
    lm = load(EMBEDDED)
    assert (lm.layers, lm.width, lm.model.config.hidden_size) == (30, 1536, 576)
    answer = decode(lm, generate(lm, [prompt_ids(lm, "What is the capital of France?")], max_new_tokens=12)[0])
    assert "Paris" in answer
