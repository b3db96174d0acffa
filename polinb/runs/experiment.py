"""The way of the data: parameters → variants → scores → sets → answers → stances. Each stage asks the store first.

A notebook, the command line and a workflow engine all call these methods, so they can never disagree.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from polinb.data.loading import StanceData, load_data
from polinb.data.prompts import answer_prompt, neutral, statement_prompt
from polinb.data.statements import StatementSet, load_statements
from polinb.errors import ModelError, TrainingError
from polinb.masking.random_sets import random_set
from polinb.models.loading import LM, identity_of, load, pick_device
from polinb.runs.artifacts import Artifact, Store, key_of, store_root
from polinb.runs.lengths import check_lengths
from polinb.runs.params import Params
from polinb.scoring.pnlac import NeuronSets, neuron_sets, normalised, top_share

if TYPE_CHECKING:
    from polinb.scoring.tracing import Contrast
    from polinb.stance.judging_base import Judge
    from polinb.training.recipe import Recipe
    from polinb.training.supervised import Tuned


_TRAINING = (
    "dtype", "train", "lora_rank", "micro_batch", "max_tokens", "gradient_checkpointing", "autocast", "processes",
)  # fmt: skip
_READING = ("eval_batch", "eval_tokens", "localise_tokens")


class _UnratedError(Exception):
    """Some answers could not be rated, so the table must not be kept as finished."""


@dataclass(frozen=True)
class Arm:
    """A model to be asked: the vanilla one, a fine-tuned variant, an InhibitFT or CAFT run, or a weaker fine-tune.

    Attributes:
        name: how tables call it.
        topic, leaning: what it was fine-tuned on; empty for the vanilla model.
        frozen: neurons held in place, (L, F) bool, or None.
        ablate: CAFT's directions, block → (d_model, k) orthonormal columns, or None.
        rate: factor on the learning rate.
        stop: share of the optimiser steps done (early stopping).
        blend: λ of the weights θ0 + λ(θ − θ0) between the vanilla and the fine-tuned model.
        run: number of the training seed, added to the run's seed.
        extra: also asked the statements and the likelihoods, not only the evaluation questions.
    """

    name: str
    topic: str = ""
    leaning: str = ""
    frozen: np.ndarray | None = None
    ablate: Mapping[int, np.ndarray] | None = None
    rate: float = 1.0
    stop: float = 1.0
    blend: float = 1.0
    run: int = 0
    extra: bool = True

    @property
    def plain(self) -> bool:
        """A fine-tuned variant whose weights are kept."""
        untouched = self.frozen is None and self.ablate is None
        return bool(self.topic) and untouched and (self.rate, self.stop, self.run) == (1.0, 1.0, 0)

    def frozen_digest(self) -> str | None:
        """Hash of the frozen set."""
        return None if self.frozen is None else hashlib.sha256(np.packbits(self.frozen).tobytes()).hexdigest()[:24]

    def ablate_digest(self) -> str | None:
        """Hash of the ablated directions."""
        if self.ablate is None:
            return None
        digest = hashlib.sha256()
        for block in sorted(self.ablate):
            basis = np.ascontiguousarray(self.ablate[block], dtype=np.float32)
            digest.update(f"{block} {basis.shape}".encode() + basis.tobytes())
        return digest.hexdigest()[:24]


VANILLA = Arm("vanilla")


class Experiment:
    """One run: parameters, an artifact store, and the stages as methods.

    Models and data are loaded on first use only, so a run whose artifacts are all there never loads a model.
    """

    def __init__(self, params: Params, store: Store | None = None) -> None:
        self.params = params
        self.store = store or Store(store_root())
        self._sums: dict[str, Contrast] = {}
        self._rated: dict[str, pd.DataFrame] = {}
        self._memo: dict[tuple[Any, ...], Any] = {}

    # --- what a run is made of

    @cached_property
    def lm(self) -> LM:
        """The vanilla model."""
        self.afford("load")
        return check_lengths(self, load(**self._source()))

    def _source(self) -> dict[str, str]:
        p = self.params
        names = ("revision", "dtype", "device", "device_map")
        return {"name": p.model, **{name: getattr(p, name) for name in names}}

    def peak(self, stage: str, gpus: int = 1) -> int | None:
        """Bytes that a stage takes at its peak (:mod:`polinb.runs.memory`); None without the model's configuration."""
        from polinb.runs.memory import reading, shape_of, training

        p = self.params
        shape = shape_of(p.model, p.revision)
        if shape is None:
            return None
        if stage == "train":
            return training(shape, **{name: getattr(p, name) for name in _TRAINING})
        # A chapter that asks or scores nothing has no such length.
        return reading(shape, stage, gpus=gpus, **{name: getattr(p, name, 0) for name in _READING}, dtype=p.dtype)

    def afford(self, stage: str) -> None:
        """Refuse a stage that cannot fit into memory, before it starts."""
        from polinb.runs.memory import check, free_memory

        p = self.params
        gpus = 1
        if p.device_map == "auto":
            import torch

            gpus = max(1, torch.cuda.device_count())
        need = self.peak(stage, gpus)
        if need is None:
            return
        if "lm" in self.__dict__ and (stage != "train" or p.processes == 1):  # is taken already
            need -= sum(w.numel() * w.element_size() for w in self.lm.model.parameters()) // gpus
        check(stage, need, free_memory(pick_device(p.device).type))

    @cached_property
    def data(self) -> StanceData:
        """Prompts with left and right responses."""
        p = self.params
        data = load_data(p.data, label_filter=p.label_filter, revision=p.data_revision or None)
        for topic in p.topics:
            for split in ("train", "localise", "evaluate"):
                data.topic(topic, split, leaning="both")  # raises now, not after an hour, if a split is empty
        return data

    @cached_property
    def statement_sets(self) -> list[StatementSet]:
        """The statement lists."""
        return [load_statements(name) for name in self.params.statements]

    @cached_property
    def judge(self) -> Judge:
        """Who labels answers as left or right."""
        p = self.params
        if p.judge == "openai":
            from polinb.stance.chat_judge import DEFAULT_MODEL, DEFAULT_URL, OpenAIJudge

            cache = self.store.root / "judge" / "answers.jsonl"
            return OpenAIJudge(
                p.judge_model or DEFAULT_MODEL,
                base_url=p.judge_url or DEFAULT_URL,
                cache=cache,
                max_tokens=p.judge_tokens,
            )
        from polinb.stance.judges import HFJudge, LocalJudge

        if p.judge == "hf":
            labels = dict(each.rsplit(":", 1) for each in p.judge_labels) or None
            commit = self.judge_identity["model"].get("commit", "")
            return HFJudge(p.judge_model, labels=labels, commit=commit, device=p.device)
        return LocalJudge(self.data)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the vanilla model."""
        p = self.params
        kind = pick_device(p.device).type  # other hardware, other roundings
        spread = {"device_map": p.device_map} if p.device_map != "none" else {}
        identity = identity_of(p.model, p.revision, p.dtype)
        return {**identity, "system_prompt": p.system_prompt, "device": kind, **spread}

    # --- fine-tuned variants

    def recipe(self, arm: Arm = VANILLA) -> Recipe:
        """Hyperparameters of supervised fine-tuning, with what ``arm`` changes in them."""
        from polinb.training.recipe import Recipe

        p = self.params
        names = (
            "epochs",
            "batch_size",
            "micro_batch",
            "learning_rate",
            "weight_decay",
            "warmup",
            "train",
            "lora_rank",
            "gradient_checkpointing",
            "autocast",
        )
        values = {name: getattr(p, name) for name in names}
        values["learning_rate"] = p.learning_rate * arm.rate
        return Recipe(**values, seed=p.seed + arm.run)

    def arm_inputs(self, arm: Arm) -> dict[str, Any]:
        """Everything that determines the weights of an arm."""
        if not arm.topic:
            return {"model": self.identity, "arm": "vanilla"}
        p = self.params
        return {
            "model": self.identity,
            "arm": "finetune" if arm.frozen is None else "inhibit",
            "ablate": arm.ablate_digest(),
            "stop": arm.stop,
            "blend": arm.blend,
            "data": self.data.digest(),
            "topic": arm.topic,
            "leaning": arm.leaning,
            "examples": p.train_examples,
            "max_tokens": p.max_tokens,
            "recipe": asdict(self.recipe(arm)),
            "frozen": arm.frozen_digest(),
            "freeze": p.freeze if arm.frozen is not None else None,
            "code": 1,
            **self._parallel_inputs(),
        }

    def _parallel_inputs(self) -> dict[str, Any]:
        p = self.params
        if p.processes == 1:
            return {}
        return {"parallel": {"processes": p.processes, "code": 1}}

    def variant(self, topic: str, leaning: str) -> Artifact:
        """Fine-tuned weights M_leaning^topic (paper 3.2), as safetensors of the trained parameters only."""
        arm = finetuned(topic, leaning)

        def make(folder: Path) -> Mapping[str, Any]:
            from safetensors.torch import save_file

            tuned = self.train(arm)
            save_file(tuned.weights, folder / "weights.safetensors")
            return _training_facts(tuned)

        return self.store.get("variant", self.arm_inputs(arm), make)

    def train(self, arm: Arm) -> Tuned:
        """Fine-tune the vanilla model for ``arm``, by one process or several."""
        from polinb.models.tokens import fit, prompt_ids, response_ids
        from polinb.training.supervised import finetune

        self.afford("train")
        p, lm = self.params, self.lm
        # leaning="both": under label_filter=agree the left and right variants still train on the same prompts.
        pairs = self.data.topic(arm.topic, "train", p.train_examples, leaning="both")
        texts = [
            fit(
                prompt_ids(lm, pair.prompt, p.system_prompt),
                response_ids(lm, pair.response(arm.leaning), end=True),
                p.max_tokens,
            )
            for pair in pairs
        ]
        prompts, responses = zip(*texts, strict=True)
        label = f"{arm.name} {arm.topic} {arm.leaning}"
        if p.processes > 1:
            del lm
            return self._train_parallel(arm, prompts, responses, label)
        return finetune(
            lm,
            prompts,
            responses,
            self.recipe(arm),
            frozen=arm.frozen,
            freeze=self._freeze(arm),
            ablate=arm.ablate,
            stop=arm.stop,
            label=label,
        )

    def _freeze(self, arm: Arm) -> str:
        return "neuron" if arm.frozen is None else self.params.freeze

    def _train_parallel(self, arm: Arm, prompts: Any, responses: Any, label: str) -> Tuned:
        import torch

        from polinb.training.parallel import Job, finetune_parallel

        p = self.params
        source = {**self._source(), "device": pick_device(p.device).type, "device_map": "none"}
        recipe = asdict(self.recipe(arm))
        job = Job(source, recipe, p.processes, self._freeze(arm), arm.stop, label)
        del self.lm  # the workers need its memory; it is loaded again when it is asked for
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return finetune_parallel(job, prompts, responses, frozen=arm.frozen, ablate=arm.ablate)

    def tuned(self, weights: Mapping[str, Any], name: str) -> LM:
        """A copy of the vanilla model with some weights replaced."""
        import torch

        model = copy.deepcopy(self.lm.model)
        own = dict(model.named_parameters())
        stray = sorted(set(weights) - set(own))
        if stray:
            raise ModelError(f"weights of {name} do not belong to this model, e.g. {stray[0]!r}")
        with torch.no_grad():
            for key, value in weights.items():
                own[key].copy_(value)
        return LM(model.eval(), self.lm.tokenizer, name, self.lm.identity)

    def load_variant(self, topic: str, leaning: str) -> LM:
        """M_leaning^topic, ready to run."""
        from safetensors.torch import load_file

        artifact = self.variant(topic, leaning)
        return self.tuned(load_file(artifact.path / "weights.safetensors"), f"{leaning} {topic}")

    def blended(self, arm: Arm) -> LM:
        """θ0 + λ(θ − θ0) of a plain variant, computed in float32."""
        from safetensors.torch import load_file

        artifact = self.variant(arm.topic, arm.leaning)
        start = dict(self.lm.model.named_parameters())
        mixed = {}
        for name, value in load_file(artifact.path / "weights.safetensors").items():
            origin = start[name].detach().cpu().float()
            mixed[name] = (origin + arm.blend * (value.float() - origin)).to(value.dtype)
        return self.tuned(mixed, arm.name)

    def ready(self, arm: Arm) -> tuple[LM, dict[str, Any]]:
        """The arm's model and facts about its training. Only weights of plain variants are kept: the rest train here.

        Raises:
            TrainingError: a blend of anything but a plain variant.
        """
        if not arm.topic:
            return self.lm, {}
        if arm.blend != 1.0 and not arm.plain:
            raise TrainingError(f"{arm.name}: only the weights of a plain fine-tune can be interpolated")
        if arm.plain:
            artifact = self.variant(arm.topic, arm.leaning)
            lm = self.load_variant(arm.topic, arm.leaning) if arm.blend == 1.0 else self.blended(arm)
            return lm, artifact.summary
        tuned = self.train(arm)
        return self.tuned(tuned.weights, arm.name), _training_facts(tuned)

    # --- PNLAC

    def score_sums(self, topic: str) -> Contrast:
        """Streamed sums of one topic's left and right variants (eq. 1)."""
        from polinb.scoring.tracing import Contrast

        if topic not in self._sums:
            artifact = self.scores(topic)
            arrays = artifact.arrays("sums")
            self._sums[topic] = Contrast(**arrays, tokens=int(artifact.summary["tokens"]))
        return self._sums[topic]

    def scores(self, topic: str) -> Artifact:
        """Artifact behind :meth:`score_sums`; also holds the responses that were read."""
        p = self.params
        inputs = {
            "left": key_of(self.arm_inputs(finetuned(topic, "left"))),
            "right": key_of(self.arm_inputs(finetuned(topic, "right"))),
            "topic": topic,
            "prompts": p.localise_prompts,
            "tokens": p.localise_tokens,
            "source": p.response_source,
            "max_tokens": p.max_tokens,
            "batch": p.eval_batch,
            "code": 2,  # token ids are kept
        }

        def make(folder: Path) -> Mapping[str, Any]:
            from safetensors.numpy import save_file

            from polinb.models.generation import decode
            from polinb.scoring.tracing import contrast

            self.afford("score")
            for side in ("left", "right"):
                self.variant(topic, side)
            left, right = self.load_variant(topic, "left"), self.load_variant(topic, "right")
            prompts, responses, whose = self._responses(topic, left, right)
            sums = contrast(left, right, self.lm, prompts, responses)
            del left, right
            names = ("squared_difference", "difference", "vanilla", "vanilla_squared")
            save_file(
                {name: np.ascontiguousarray(getattr(sums, name)) for name in names},
                folder / "sums.safetensors",
            )
            texts = [decode(self.lm, ids) for ids in responses]
            read = {"source": whose, "response": texts, "prompt_ids": prompts, "response_ids": responses}
            pd.DataFrame(read).to_parquet(folder / "responses.parquet")
            return {"tokens": sums.tokens, "texts": len(texts)}

        return self.store.get("scores", inputs, make)

    def _responses(self, topic: str, left: LM, right: LM) -> tuple[list[list[int]], list[list[int]], list[str]]:
        """Prompts, responses w_1 to read the two models on, and whose response each is (**P** response_source)."""
        from polinb.models.generation import generate
        from polinb.models.tokens import fit, prompt_ids, response_ids

        p = self.params
        pairs = self.data.topic(topic, "localise", p.localise_prompts, leaning="both")
        asked = [prompt_ids(self.lm, pair.prompt, p.system_prompt) for pair in pairs]
        prompts: list[list[int]] = []
        responses: list[list[int]] = []
        whose: list[str] = []
        sources = ("left", "right") if p.response_source in ("both", "dataset") else (p.response_source,)
        models = {"left": left, "right": right, "vanilla": self.lm}
        for source in sources:
            if p.response_source == "dataset":
                made = [response_ids(self.lm, pair.response(source), end=False)[: p.localise_tokens] for pair in pairs]
            else:
                made = generate(models[source], asked, max_new_tokens=p.localise_tokens, batch=p.eval_batch)
            fitted = [fit(a, m, p.max_tokens) for a, m in zip(asked, made, strict=True)]
            prompts += [f[0] for f in fitted]
            responses += [f[1] for f in fitted]
            whose += [source] * len(made)
        return prompts, responses, whose

    def topic_scores(self, normalise: str | None = None) -> dict[str, np.ndarray]:
        """Topic → PNLAC score (L, F), raw or normalised."""
        kind = normalise or self.params.normalise
        out: dict[str, np.ndarray] = {}
        for topic in self.params.topics:
            sums = self.score_sums(topic)
            out[topic] = sums.score if kind == "none" else normalised(sums.score, sums.vanilla_std)
        return out

    def sets(self, gamma: float | None = None, normalise: str | None = None) -> NeuronSets:
        """N_t, G and S_t at ``gamma`` per cent."""
        p = self.params
        return self._once(
            ("sets", p.gamma if gamma is None else gamma, normalise or p.normalise),
            lambda: neuron_sets(self.topic_scores(normalise), p.gamma if gamma is None else gamma, p.pool),
        )

    def scale(self) -> np.ndarray:
        """Plain activation scale (L, F): root mean square of vanilla activations on the texts that PNLAC read."""
        sums = [self.score_sums(topic) for topic in self.params.topics]
        return np.sqrt(sum(s.vanilla_squared for s in sums) / sum(s.tokens for s in sums))

    def scale_set(self, gamma: float | None = None) -> np.ndarray:
        """The top γ % neurons by plain activation scale alone."""
        return top_share(self.scale(), self.params.gamma if gamma is None else gamma, self.params.pool)

    def neutral(self) -> Artifact:
        """Arrays of ``rms``: ``scale`` (L, F), root mean square of vanilla activations on everyday answers."""
        texts = neutral()
        told = {"texts": key_of({"texts": texts}), "max_tokens": self.params.max_tokens}
        inputs = {"model": self.identity, **told, "code": 1}

        def make(folder: Path) -> Mapping[str, Any]:
            from safetensors.numpy import save_file

            from polinb.models.tokens import fit, prompt_ids, response_ids
            from polinb.scoring.tracing import activation_scale

            p, lm = self.params, self.lm
            read = [
                fit(prompt_ids(lm, asked, p.system_prompt), response_ids(lm, said, end=False), p.max_tokens)
                for asked, said in texts
            ]
            scale = activation_scale(lm, [r[0] for r in read], [r[1] for r in read])
            save_file({"scale": scale}, folder / "rms.safetensors")
            return {"texts": len(texts)}

        return self.store.get("neutral-scale", inputs, make)

    def neutral_set(self, gamma: float | None = None) -> np.ndarray | None:
        """The top γ % neurons by activation scale on neutral texts; None where a kept run did not measure it."""
        scale = self.neutral().arrays("rms")["scale"]
        return top_share(scale, self.params.gamma if gamma is None else gamma, self.params.pool)

    # --- answers and stances

    def questions(self, limit: int | None = None, topics: Sequence[str] | None = None) -> pd.DataFrame:
        """Evaluation questions: topic, id, prompt (as asked), left, right."""
        p = self.params
        rows = [
            (topic, pair.id, answer_prompt(pair.prompt, p.answer_template, topic), pair.left, pair.right)
            for topic in topics or p.topics
            for pair in self.data.topic(topic, "evaluate", limit or p.eval_questions, leaning="both")
        ]
        return pd.DataFrame(rows, columns=["topic", "id", "prompt", "left", "right"])

    def wrapped(self, statement: str) -> str:
        """A statement with the run's prefix and suffix."""
        return statement_prompt(statement, self.params.statement_prefix, self.params.statement_suffix)

    def statements(self) -> pd.DataFrame:
        """Statements as prompts: topic (the set's name), id, prompt."""
        p = self.params
        rows = [
            (each.name, item.id, answer_prompt(self.wrapped(item.text), p.answer_template))
            for each in self.statement_sets
            for item in each.statements[: p.statement_limit]
        ]
        return pd.DataFrame(rows, columns=["topic", "id", "prompt"])

    def _ask_inputs(self) -> dict[str, Any]:
        p = self.params
        return {
            "data": self.data.digest(),
            "topics": p.topics,
            "questions": p.eval_questions,
            "statements": hashlib.sha256(self.statements().to_json().encode()).hexdigest(),
            "likelihood": p.likelihood_questions,
            "tokens": p.eval_tokens,
            "max_tokens": p.max_tokens,
            "batch": p.eval_batch,
            "template": p.answer_template,
            "code": 1,
        }

    def answers(self, arm: Arm = VANILLA) -> Artifact:
        """Everything one model says: answers, statement answers, and the likelihoods of the reference responses.

        Tables: ``answers`` and ``statements`` (topic, id, prompt, response, n_tokens, vanilla_logp), ``likelihood``
        (topic, id, logp_left, logp_right; mean natural log-probability a token). Only the first one is there for an
        arm that is not asked the ``extra``.
        """
        weights, ask = self.arm_inputs(arm), self._ask_inputs()
        if not arm.extra:  # the same model may have been asked everything already
            known = self.store.find("answers", {"weights": weights, "ask": ask})
            if known is not None:
                return known
            ask["extra"] = False
        inputs = {"weights": weights, "ask": ask}

        def make(folder: Path) -> Mapping[str, Any]:
            self.afford("ask" if arm.topic else "load")
            lm, facts = self.ready(arm)
            self._answer(lm, self.questions()).to_parquet(folder / "answers.parquet")
            if not arm.extra:
                return {"training": facts}
            if self.statement_sets:
                self._answer(lm, self.statements()).to_parquet(folder / "statements.parquet")
            self._likelihoods(lm).to_parquet(folder / "likelihood.parquet")
            return {"training": facts}

        return self.store.get("answers", inputs, make)

    def _answer(self, lm: LM, asked: pd.DataFrame) -> pd.DataFrame:
        from polinb.models.generation import decode, generate, log_likelihood
        from polinb.models.tokens import prompt_ids

        p = self.params
        prompts = [prompt_ids(lm, text, p.system_prompt) for text in asked["prompt"]]
        limit: dict[str, Any] = {"max_new_tokens": p.eval_tokens, "batch": p.eval_batch}
        made = generate(lm, prompts, **limit, label=f"{lm.name} answers")
        out = asked[["topic", "id", "prompt"]].copy()
        out["response"] = [decode(lm, ids) for ids in made]
        out["n_tokens"] = [len(ids) for ids in made]
        # Fluency under the vanilla model costs a forward pass: the first questions of each topic are enough for it.
        some = np.flatnonzero(asked.groupby("topic", sort=False).cumcount() < p.likelihood_questions)
        out["vanilla_logp"] = np.nan
        logp = log_likelihood(self.lm, [prompts[k] for k in some], [made[k] for k in some])
        out.loc[out.index[some], "vanilla_logp"] = logp
        return out

    def _likelihoods(self, lm: LM) -> pd.DataFrame:
        from polinb.models.generation import log_likelihood
        from polinb.models.tokens import fit, prompt_ids, response_ids

        p = self.params
        asked = self.questions(p.likelihood_questions)
        out = asked[["topic", "id"]].copy()
        for side in ("left", "right"):
            texts = [
                fit(prompt_ids(lm, q, p.system_prompt), response_ids(lm, r, end=False), p.max_tokens)
                for q, r in zip(asked["prompt"], asked[side], strict=True)
            ]
            out[f"logp_{side}"] = log_likelihood(lm, [t[0] for t in texts], [t[1] for t in texts])
        return out

    def rated(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Judge labels of a table of answers: adds label, score (−1, 0, +1) and p_right."""
        rows = frame[["topic", "id", "prompt", "response"]]
        text = rows.to_json(orient="records", force_ascii=False)
        identity = {"judge": self.params.judge, **self.judge_identity}
        unrated: list[pd.DataFrame] = []
        inputs = {"answers": hashlib.sha256(text.encode()).hexdigest(), "judge": identity}

        def make(folder: Path) -> Mapping[str, Any]:
            table = self.judge.rate(rows)
            missing = (table["label"] == "unrated") & (frame["response"].str.strip() != "").to_numpy()
            if missing.any():
                unrated.append(table)
                raise _UnratedError(_outage(table[missing], len(table)))
            table.to_parquet(folder / "rated.parquet")
            # of a chat model: the share of its replies that were no rating
            return {"judge": self.judge.name, **table.attrs}

        try:
            return self.store.get("rated", inputs, make).frame("rated")
        except _UnratedError:  # an outage: report what there is, ask again next time
            return unrated[0]

    @cached_property
    def judge_identity(self) -> dict[str, Any]:
        """What determines the judge's labels."""
        p = self.params
        data = self.data.digest() if p.judge == "local" else None
        model: Any = p.judge_model
        if p.judge == "hf":
            from polinb.stance import classifiers

            model = classifiers.identity_of(model)
        return {"model": model, "url": p.judge_url, "labels": p.judge_labels, "data": data, "code": 1}

    def stances(self, arm: Arm = VANILLA) -> pd.DataFrame:
        """Judged answers of an arm to the evaluation questions."""
        key = key_of(self.arm_inputs(arm))
        if key not in self._rated:
            self._rated[key] = self.rated(self.answers(arm).frame("answers"))
        return self._rated[key].copy()

    # --- patching

    def patched(self, name: str, chosen: np.ndarray, donors: Mapping[str, str]) -> pd.DataFrame:
        """Judged answers of the vanilla model with ``chosen`` neurons patched from right-leaning donors.

        Args:
            chosen: (L, F) bool.
            donors: evaluated topic → topic of the right-leaning donor M_right.
        """
        p = self.params
        inputs = {
            "chosen": hashlib.sha256(np.packbits(chosen).tobytes()).hexdigest()[:24],
            "donors": {t: [d, key_of(self.arm_inputs(finetuned(d, "right")))] for t, d in donors.items()},
            "mode": p.patch,
            "questions": p.patch_questions,
            "data": self.data.digest(),
            "tokens": p.eval_tokens,
            "template": p.answer_template,
            "batch": p.eval_batch,
            "code": 1,
        }

        def make(folder: Path) -> Mapping[str, Any]:
            from polinb.masking.patching import patched_answers
            from polinb.models.generation import decode
            from polinb.models.tokens import prompt_ids

            self.afford("patch")
            parts = []
            for donor in dict.fromkeys(donors.values()):
                topics = [t for t, d in donors.items() if d == donor]
                asked = self.questions(p.patch_questions, topics)
                prompts = [prompt_ids(self.lm, text, p.system_prompt) for text in asked["prompt"]]
                made = patched_answers(
                    self.lm,
                    self.load_variant(donor, "right"),
                    chosen,
                    prompts,
                    max_new_tokens=p.eval_tokens,
                    mode=p.patch,
                    batch=p.eval_batch,
                    label=f"patching {name} from {donor}",
                )
                part = asked[["topic", "id", "prompt"]].copy()
                part["response"] = [decode(self.lm, ids) for ids in made]
                part["n_tokens"] = [len(ids) for ids in made]
                parts.append(part)
            pd.concat(parts, ignore_index=True).to_parquet(folder / "answers.parquet")
            return {"set": name, "neurons": int(chosen.sum())}

        key = key_of(inputs)
        if key not in self._rated:
            self._rated[key] = self.rated(self.store.get("patched", inputs, make).frame("answers"))
        return self._rated[key].copy()

    # --- arms of InhibitFT

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made once in this run: scores on disk do not change while it lasts."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def general(self, gamma: float | None = None) -> np.ndarray:
        """G, which must not be empty.

        Raises:
            TrainingError: no neuron is among the top γ % of every topic.
        """
        general = self.sets(gamma).general
        if not general.any():
            value = self.params.gamma if gamma is None else gamma
            raise TrainingError(
                f"no neuron is among the top {value} % of every topic: there is nothing to freeze or patch; raise gamma"
            )
        return general

    def control_set(self, kind: str, number: int, gamma: float | None = None) -> np.ndarray:
        """Random set ``number`` of a kind, of the size of G."""
        general = self.sets(gamma).general
        drawn = self._once(
            ("control", kind, number, self.params.gamma if gamma is None else gamma),
            lambda: random_set(kind, general, self.scale(), seed=self.params.seed + number),
        )
        return drawn.copy()

    def inhibit_arms(self, topic: str, gamma: float | None = None, kinds: Sequence[str] | None = None) -> list[Arm]:
        """InhibitFT(G) and its random controls for one training topic; right-leaning data."""
        arms = [Arm("inhibitft", topic, "right", self.general(gamma))]
        for kind in self.params.controls if kinds is None else kinds:
            if kind == "heldout":
                arms.append(Arm("inhibitft-heldout", topic, "right", self.sets(gamma).general_without(topic)))
                continue
            for number in range(self.params.control_seeds):
                arms.append(Arm(f"random-{kind}", topic, "right", self.control_set(kind, number, gamma)))
        return arms


def finetuned(topic: str, leaning: str) -> Arm:
    """The plain fine-tuned arm of a topic and leaning."""
    return Arm("fine-tune", topic, leaning)


def _outage(unrated: pd.DataFrame, total: int) -> str:
    """What to tell of answers that a judge could not rate."""
    reasons = unrated["reason"].value_counts() if "reason" in unrated.columns else pd.Series(dtype=int)
    why = "; ".join(f"{reason}: {count}" for reason, count in reasons.items())
    told = f"{len(unrated)} of {total} answers were not rated{f' ({why})' if why else ''}"
    return f"{told}. The other ratings are kept; run again when the judge answers"


def _training_facts(tuned: Tuned) -> dict[str, Any]:
    return {
        "losses": [round(x, 6) for x in tuned.losses],
        "steps": tuned.steps,
        "tokens": tuned.tokens,
        "seconds": round(tuned.seconds, 2),
        "frozen_entries": tuned.frozen_entries,
        "frozen_change": tuned.frozen_change,
        "world_size": tuned.world_size,
        **(tuned.extra if tuned.world_size > 1 else {}),
    }
