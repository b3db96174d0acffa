"""One of several processes that fine-tune together: ``torchrun … -m polinb.training.worker FOLDER``.

Started by ``polinb.training.parallel``, which also writes FOLDER and reads what the first process leaves in it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from polinb.errors import PolinbError, TrainingError
from polinb.models.tokens import Ids
from polinb.training.parallel import Job


def main() -> int:
    """Train; 0 if it worked, else 1 with the error in ``error-<rank>.json``."""
    folder = Path(sys.argv[1])
    rank = int(os.environ.get("RANK", "0"))
    if rank:
        os.environ["TQDM_DISABLE"] = "1"
    try:
        _work(folder, rank)
    except Exception as error:
        ours = isinstance(error, PolinbError)
        text = str(error) if ours else f"training process {rank}: {type(error).__name__}: {error}"
        if not ours:
            traceback.print_exc()
        told = {"kind": type(error).__name__ if ours else "TrainingError", "text": text}
        (folder / f"error-{rank}.json").write_text(json.dumps(told), "utf-8")
        return 1
    return 0


def _work(folder: Path, rank: int) -> None:
    import torch.distributed as dist
    from safetensors.numpy import load_file
    from safetensors.torch import save_file

    told, arrays = json.loads((folder / "job.json").read_text("utf-8")), load_file(folder / "arrays.safetensors")
    job, frozen = Job(**told["job"]), arrays.pop("frozen", None)
    ablate = {int(block): basis for block, basis in arrays.items()} or None
    threading.Thread(target=_leave_with, args=(told["launcher"],), daemon=True).start()
    try:
        weights, result = train(job, told["prompts"], told["responses"], frozen, ablate)
        if rank == 0:
            save_file(weights, folder / "weights.safetensors")
            (folder / "result.json").write_text(json.dumps(result), "utf-8")
        dist.barrier()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _leave_with(launcher: int, every: float = 2.0) -> None:
    """End this process when the one that started the training is gone, even killed: nobody would read the result."""
    while True:
        try:
            os.kill(launcher, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(every)


def train(
    job: Job, prompts: Ids, responses: Ids, frozen: np.ndarray | None, ablate: dict[int, np.ndarray] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """This process's share of a fine-tuning.

    Returns:
        The whole trained weights, and facts: world_size, losses, tokens, frozen_entries, frozen_change and frozen_state
        (largest moment of the optimiser on frozen entries).

    Raises:
        TrainingError: another world size, weights that are not sharded, or a frozen entry that moved.
    """
    from datasets import Dataset

    from polinb.masking.ablation import ablated
    from polinb.masking.freezing import check_frozen, frozen_slices
    from polinb.models.loading import load
    from polinb.training.supervised import trainable, trained_weights, training_rows
    from polinb.training.trainer import Recipe, make_trainer

    recipe = Recipe(**job.recipe)
    lm = load(**{**job.model, "device": "cpu"})  # each GPU then receives its shard only
    rows = training_rows(prompts, responses)
    slices = frozen_slices(lm.model, frozen, job.freeze) if frozen is not None else []
    kept = [] if recipe.train == "lora" else slices  # adapters start at a change of 0
    # A row without a counted token fills the last step up where the rows do not divide.
    ids = min((row["input_ids"] for row in rows), key=len)
    blank = {"input_ids": list(ids), "labels": [-100] * len(ids)}
    before = {part.name: lm.model.get_parameter(part.name).detach().cpu().clone() for part in kept}
    ablation = ablated(lm.model, ablate, job.passes) if ablate is not None else nullcontext()
    model, names = trainable(lm.model, recipe)
    with tempfile.TemporaryDirectory(prefix="polinb-train-") as folder, ablation:
        trainer = make_trainer(
            model,
            lm,
            Dataset.from_list([*rows, blank]),
            recipe,
            folder,
            slices,
            job.label,
            job.stop,
            examples=len(rows),
            processes=job.processes,
            sampler=_order(rows, recipe, job.processes),
            use_cpu=job.model["device"] == "cpu",
            fsdp=True,
            fsdp_config={"version": 2},
        )
        world = trainer.accelerator.num_processes
        if world != job.processes:
            raise TrainingError(
                f"{job.label}: {job.processes} processes were asked for, but {world} trained together (world size "
                f"{world}); nothing was saved. Start it through polinb (torchrun), not by another launcher"
            )
        trainer.train()
    held = trainer.freezer
    if not any(hasattr(p, "to_local") for p in trainer.model.parameters()):
        raise TrainingError(f"{job.label}: the processes did not share the weights (no FSDP); nothing was saved")
    change, state = (float(_of_all(value).max()) for value in (held.max_change(), held.max_state(trainer.optimizer)))
    if change or state:
        raise TrainingError(
            f"{job.label}: a frozen weight moved by {change:g} or has a moment of {state:g} in the optimiser; the "
            "freeze guarantee is broken, nothing was saved"
        )
    weights = trained_weights(trainer.model, names, job.label, recipe)
    change = check_frozen(before, weights, slices)
    result = {
        "world_size": world,
        "losses": [float(x) for x in _of_all(trainer.losses).mean(axis=0)],
        "tokens": int(sum(len(row["input_ids"]) for row in rows) * recipe.epochs * job.stop),
        "frozen_entries": held.entries,
        "frozen_change": change,
        "frozen_state": state,
    }
    return weights, result


def _order(rows: Sequence[dict[str, list[int]]], recipe: Any, processes: int) -> Any:
    """The rows as one process would take them, filled up with the blank row to whole global micro-batches."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class Order(LengthGroupedSampler):  # type: ignore[misc, no-any-unimported]
        def __iter__(self) -> Iterator[int]:
            order = list(super().__iter__())
            yield from order + [len(rows)] * (len(self) - len(order))

        def __len__(self) -> int:
            share = recipe.micro_batch * processes
            return -(-len(rows) // share) * share

    return Order(recipe.batch_size, lengths=[len(row["input_ids"]) for row in rows])


def _of_all(value: Any) -> np.ndarray:
    """The values of all processes, one row each."""
    import torch.distributed as dist

    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return np.array(found, dtype=float)


if __name__ == "__main__":
    sys.exit(main())
