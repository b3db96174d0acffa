"""What a run is made of: chosen parameters, a store, and the model, data and judge that the parameters name.

Models and data are loaded on first use only: a run whose results are all there never loads a model.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polinb.data.loading import StanceData, StatementSet, load_data, load_statements
from polinb.errors import ParameterError
from polinb.models.lm import LM
from polinb.models.loading import identity_of, load, pick_device
from polinb.runs.artifacts import Artifact, Store, store_root
from polinb.runs.groups import Data, Group, Judge, Model

if TYPE_CHECKING:
    from polinb.stance.chat_judge import OpenAIJudge
    from polinb.stance.judges import HFJudge, LocalJudge

T = TypeVar("T")
GIVEN = {"lm": Model, "model": Model, "data": Data, "judge": Judge, "store": None, "once": None, "unload": None}
"""What a stage may use of a run beside parameters, and the group that it declares for that."""


class Declared:
    """What a stage may read of a run, or of its parameters: all else is an error, for it is in no key."""

    def __init__(self, of: Any, names: Iterable[str], **own: Any) -> None:
        self._of, self._names = of, frozenset(names)
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"{name!r} is not declared by this stage")
        return getattr(self._of, name)


class Base:
    """Parameters (a chapter's, or all), a store, and what both name; what is made once lasts as long as the run.

    If it is ``read_only``, a result that is not there raises :class:`polinb.runs.results.MissingError`.
    """

    def __init__(self, params: Any, store: Store | None = None, read_only: bool = False) -> None:
        self.params = params
        self.store = store or Store(store_root())
        self.read_only = read_only
        self.kept: dict[Path, Artifact] = {}
        self._memo: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once in this run: results on disk do not change while it lasts."""
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]  # type: ignore[no-any-return]

    def told(self, group: type[Group]) -> Any:
        """What a group determines, for keys: the vanilla model's identity, the judge's, else the parameters."""
        if group is Model:
            return self.identity
        if group is Judge:
            return self.judge_identity
        if group is Data:
            return self.data.digest()
        return {name: getattr(self.params, name) for name in group.model_fields}

    def view(self, groups: Sequence[type[Group]]) -> Any:
        """This run for a stage that declares these groups and no other."""
        params = Declared(self.params, (name for group in groups for name in group.model_fields))
        return Declared(self, (name for name, group in GIVEN.items() if group in (None, *groups)), params=params)

    # --- the vanilla model

    @cached_property
    def lm(self) -> LM:
        """The vanilla model."""
        return self._load()

    def _load(self) -> LM:
        p = self.params
        self.afford("load")
        return load(p.model, revision=p.revision, dtype=p.dtype, device=p.device, device_map=p.device_map)

    def unload(self) -> None:
        """Give the vanilla model's memory back; it is loaded again when it is asked for."""
        vars(self).pop("lm", None)
        gc.collect()

    def afford(self, stage: str) -> None:
        """Refuse a stage that cannot fit into memory, before it starts."""
        import torch

        from polinb.runs.memory import check, free_memory, peak

        p = self.params
        gpus = max(1, torch.cuda.device_count()) if p.device_map == "auto" else 1
        need = peak(p, stage, gpus)
        if need is None:
            return
        if "lm" in vars(self) and (stage != "train" or p.processes == 1):  # is taken already
            need -= sum(w.numel() * w.element_size() for w in self.lm.model.parameters()) // gpus
        check(stage, need, free_memory(pick_device(p.device).type))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the vanilla model."""
        p = self.params
        # other hardware, other roundings; a device that is named need not be on the machine that plans
        kind = pick_device(p.device).type if p.device == "auto" else p.device.partition(":")[0]
        spread = {"device_map": p.device_map} if p.device_map != "none" else {}
        identity = identity_of(p.model, p.revision, p.dtype)
        return {**identity, "system_prompt": p.system_prompt, "device": kind, **spread}

    # --- the data

    @cached_property
    def data(self) -> StanceData:
        """Prompts with left and right responses."""
        p = self.params
        data = load_data(p.data, label_filter=p.label_filter, revision=p.data_revision or None)
        if set(p.topics) - set(data.topics):
            raise ParameterError("topics", p.topics, f"topics of the data {data.name!r}: {', '.join(data.topics)}")
        for topic in p.topics:
            for split in ("train", "localise", "evaluate"):
                data.topic(topic, split, leaning="both")  # raises now, not after an hour, if a split is empty
        return data

    @cached_property
    def statement_sets(self) -> list[StatementSet]:
        """The statement lists."""
        return [load_statements(name) for name in self.params.statements]

    # --- the judge

    @cached_property
    def judge(self) -> LocalJudge | HFJudge | OpenAIJudge:
        """Who labels answers as left or right."""
        p = self.params
        if p.judge == "openai":
            from polinb.stance.chat_judge import OpenAIJudge

            return OpenAIJudge(
                p.judge_model,
                base_url=p.judge_url,
                cache=self.store.root / "judge" / "answers.jsonl",
                max_tokens=p.judge_tokens,
                topics=getattr(p, "topics", ()),
                sees_question=p.judge_sees == "question",
            )
        from polinb.stance.judges import HFJudge, LocalJudge

        if p.judge == "hf":
            labels = dict(each.rsplit(":", 1) for each in p.judge_labels) or None
            commit = self.judge_identity["model"].get("commit", "")
            return HFJudge(p.judge_model, labels=labels, margin=p.judge_margin, commit=commit, device=p.device)
        return LocalJudge(self.data, p.judge_margin)

    @cached_property
    def judge_identity(self) -> dict[str, Any]:
        """What determines the judge's labels."""
        p = self.params
        model: Any = p.judge_model
        if p.judge == "hf":
            from polinb.stance import classifiers

            model = classifiers.identity_of(model)
        data = self.data.digest() if p.judge == "local" else None
        known = {"judge": p.judge, "model": model, "url": p.judge_url, "labels": p.judge_labels, "data": data}
        more = {"margin": p.judge_margin, "sees": p.judge_sees}  # of the key where they are not the default
        return known | {name: value for name, value in more.items() if value not in (0.0, "answer")}
