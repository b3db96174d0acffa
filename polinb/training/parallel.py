"""Fine-tuning by several processes, one a GPU: FSDP through accelerate, started by torchrun.

Weights, gradients and optimiser state are split among them. The notebook's process stays light: it writes a job into a
folder, starts ``torchrun … -m polinb.training.parallel FOLDER`` and reads the trained weights back. The workers refuse
to train if they are not as many as was asked for: some launchers silently start one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polinb import errors
from polinb.errors import ParameterError, PolinbError, TrainingError
from polinb.lazy import torch
from polinb.masking.ablation import Passes
from polinb.masking.freezing import frozen_slices
from polinb.models.loading import load
from polinb.models.tokens import Ids
from polinb.training.supervised import Tuned, learn, training_rows
from polinb.training.trainer import Recipe, alone


@dataclass(frozen=True)
class Job:
    """One fine-tuning as the workers read it; ``model``: keyword arguments of ``polinb.models.loading.load``."""

    model: dict[str, Any]
    recipe: dict[str, Any]
    processes: int
    freeze: str = "neuron"
    stop: float = 1.0
    label: str = "fine-tuning"
    passes: Passes = "both"


def check_gpus(processes: int, device: str) -> None:
    """Refuse what cannot be started, before anything is.

    Raises:
        ParameterError: too few CUDA GPUs, or another device.
    """
    if device != "cuda":
        raise ParameterError("processes", processes, f"1 on {device}; several processes need a CUDA GPU each")
    if torch.cuda.device_count() < processes:
        raise ParameterError("processes", processes, f"at most the {torch.cuda.device_count()} CUDA GPUs seen")


def finetune_parallel(
    job: Job,
    prompts: Ids,
    responses: Ids,
    *,
    frozen: np.ndarray | None = None,
    ablate: Mapping[int, np.ndarray] | None = None,
) -> Tuned:
    """Like :func:`polinb.training.supervised.finetune`, by ``job.processes`` processes.

    Raises:
        ParameterError: see :func:`check_gpus`.
        TrainingError: a worker failed, a frozen weight moved, or another number of processes trained.
    """
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    check_gpus(job.processes, job.model["device"])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="polinb-parallel-") as name:
        folder = Path(name)  # JSON and safetensors only; read by the workers
        texts = {"prompts": [list(p) for p in prompts], "responses": [list(r) for r in responses]}
        whole = {"job": asdict(job), "launcher": os.getpid(), **texts}  # without the launcher the workers stop
        (folder / "job.json").write_text(json.dumps(whole), "utf-8")
        arrays = {str(block): basis for block, basis in (ablate or {}).items()}
        if frozen is not None:
            arrays["frozen"] = frozen
        save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, folder / "arrays.safetensors")
        _run(job, folder)
        told = json.loads((folder / "result.json").read_text("utf-8"))
        extra = {"frozen_state": told.pop("frozen_state")}
        seconds = time.perf_counter() - start
        return Tuned(load_file(folder / "weights.safetensors"), seconds=seconds, extra=extra, **told)


def command(processes: int, folder: Path) -> list[str]:
    """What starts the workers: torchrun on this machine alone, on a free port of its own."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*run, "-m", "polinb.training.parallel", str(folder)]


def _run(job: Job, folder: Path) -> None:
    """Start the workers and wait for them; what went wrong in one is raised here."""
    threads = max(1, (os.cpu_count() or 1) // job.processes)
    with alone():
        environment = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"} | os.environ
    # The same polinb as this process, wherever the kernel was started.
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as out:
        # A group of its own: whatever ends this process early must not leave workers on the GPUs.
        process = subprocess.Popen(
            command(job.processes, folder), stdout=out, stderr=out, env=environment, start_new_session=True
        )
        try:
            code = process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            raise
    for path in sorted(folder.glob("error*.json")):
        told = json.loads(path.read_text("utf-8"))
        kind = getattr(errors, told["kind"], TrainingError)
        raise (TrainingError if kind is ParameterError else kind)(told["text"])
    if code:
        last = "\n".join(log.read_text("utf-8", "replace").strip().splitlines()[-15:])
        told = f"{job.label}: a training process ended with status {code}; nothing was saved"
        raise TrainingError(f"{told}. It said:\n{last}")


# --- one of the processes


def main() -> int:
    """Train; 0 if it worked, else 1 with the error in ``error-<rank>.json``."""
    import torch.distributed as dist
    from safetensors.numpy import load_file
    from safetensors.torch import save_file

    folder, rank = Path(sys.argv[1]), int(os.environ.get("RANK", "0"))
    try:
        told, arrays = json.loads((folder / "job.json").read_text("utf-8")), load_file(folder / "arrays.safetensors")
        threading.Thread(target=_leave_with, args=(told["launcher"],), daemon=True).start()
        job, frozen = Job(**told["job"]), arrays.pop("frozen", None)
        ablate = {int(block): basis for block, basis in arrays.items()} or None
        weights, result = train(job, told["prompts"], told["responses"], frozen, ablate)
        if rank == 0:
            save_file(weights, folder / "weights.safetensors")
            (folder / "result.json").write_text(json.dumps(result), "utf-8")
        dist.barrier()
    except Exception as error:
        kind, text = type(error).__name__, str(error)
        if not isinstance(error, PolinbError):
            traceback.print_exc()
            kind, text = "TrainingError", f"training process {rank}: {kind}: {error}"
        (folder / f"error-{rank}.json").write_text(json.dumps({"kind": kind, "text": text}), "utf-8")
        return 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


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
        The whole trained weights, and facts as of ``Tuned``, with frozen_state: the largest moment of the optimiser on
        frozen entries.

    Raises:
        TrainingError: another world size, weights that are not sharded, or a frozen entry that moved.
    """
    recipe = Recipe(**job.recipe)
    lm = load(**{**job.model, "device": "cpu"})  # each GPU then receives its shard only
    rows = training_rows(prompts, responses)
    slices = frozen_slices(lm.model, frozen, job.freeze) if frozen is not None else []
    kept = [] if recipe.train == "lora" else slices  # adapters start at a change of 0
    before = {part.name: lm.model.get_parameter(part.name).detach().cpu().clone() for part in kept}
    # A row without a counted token fills the last step up where the rows do not divide.
    ids = min((row["input_ids"] for row in rows), key=len)
    blank = {"input_ids": list(ids), "labels": [-100] * len(ids)}
    how: dict[str, Any] = {"ablate": ablate, "passes": job.passes, "stop": job.stop, "label": job.label}
    how |= {"examples": len(rows), "processes": job.processes, "sampler": _order(rows, recipe, job.processes)}
    how |= {"use_cpu": job.model["device"] == "cpu", "fsdp": True, "fsdp_config": {"version": 2}}
    tuned, trainer = learn(lm.model, lm, [*rows, blank], recipe, slices, before, **how)
    if not any(hasattr(p, "to_local") for p in trainer.model.parameters()):
        raise TrainingError(f"{job.label}: the processes did not share the weights (no FSDP); nothing was saved")
    moments = trainer.freezer.max_state(trainer.optimizer)
    change, state = (float(_of_all(value).max()) for value in (tuned.frozen_change, moments))
    if change or state:
        raise TrainingError(
            f"{job.label}: a frozen weight moved by {change:g} or has a moment of {state:g} in the optimiser; the "
            "freeze guarantee is broken, nothing was saved"
        )
    facts = {"world_size": job.processes, "tokens": tuned.tokens, "frozen_entries": tuned.frozen_entries}
    losses = _of_all(tuned.losses).mean(axis=0).tolist()
    return tuned.weights, {**facts, "losses": losses, "frozen_change": change, "frozen_state": state}


def _order(rows: Sequence[dict[str, list[int]]], recipe: Recipe, processes: int) -> Any:
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
