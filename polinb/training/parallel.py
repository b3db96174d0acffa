"""Fine-tuning by several processes, one a GPU: FSDP through accelerate, started by torchrun.

Weights, gradients and optimiser state are split among them. The notebook's process stays light: it writes a job into a
folder, starts ``torchrun … -m polinb.training.worker`` and reads the trained weights back. The workers refuse to train
if they are not as many as was asked for: some launchers silently start one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polinb import errors
from polinb.errors import ParameterError, TrainingError
from polinb.masking.ablation import Passes
from polinb.models.tokens import Ids
from polinb.training.supervised import Tuned
from polinb.training.trainer import alone


@dataclass(frozen=True)
class Job:
    """One fine-tuning as the workers read it. Texts and masks lie beside it in the job's folder.

    Attributes:
        model: keyword arguments of ``polinb.models.loading.load``; ``device`` is cpu or cuda.
        processes: how many must train together.
        passes: what loses the ablated directions.
    """

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
    import torch

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
        arrays |= {} if frozen is None else {"frozen": frozen}
        save_file({name: np.ascontiguousarray(each) for name, each in arrays.items()}, folder / "arrays.safetensors")
        _run(job, folder)
        seconds = time.perf_counter() - start
        told = json.loads((folder / "result.json").read_text("utf-8"))
        extra = {"frozen_state": told.pop("frozen_state")}
        return Tuned(load_file(folder / "weights.safetensors"), seconds=seconds, extra=extra, **told)


def command(processes: int, folder: Path) -> list[str]:
    """What starts the workers: torchrun on this machine alone, on a free port of its own."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*run, "-m", "polinb.training.worker", str(folder)]


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
        # A group of its own: whatever ends this process early must not leave workers on the cards.
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
        raise TrainingError(
            f"{job.label}: a training process ended with status {code}; nothing was saved. It said:\n{last}"
        )
