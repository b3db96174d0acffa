"""What a launcher or accelerate leaves in the environment changes no number of a single process, and stays there."""

import os
import subprocess
import sys

LEFT = {
    "ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "3",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR", "ACCELERATE_DYNAMO_MODE": "max-autotune",
    "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3", "ACCELERATE_GRADIENT_CLIPPING": "0.01",
    "ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "ACCELERATE_USE_MEGATRON_LM": "true", "ACCELERATE_USE_PARALLELISM_CONFIG": "true", "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_USE_SAGEMAKER": "true", "ACCELERATE_TORCH_DEVICE": "meta", "ACCELERATE_DEBUG_MODE": "true",
    "ACCELERATE_CPU_AFFINITY": "true", "RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMI_SIZE": "2", "PMI_RANK": "1",
    "MV2_COMM_WORLD_SIZE": "2", "SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
}  # fmt: skip

PROGRAM = """
import hashlib, os
from polinb.models.loading import load
from polinb.training.preference import prefer
from polinb.training.recipe import Recipe
from polinb.training.supervised import finetune

lm = load("tiny:llama")
recipe = Recipe(epochs=1, batch_size=2, micro_batch=1, learning_rate=1e-2, weight_decay=0.1, warmup=0.3, train="body",
                lora_rank=2, seed=3)
prompts, chosen, rejected = [[5, 6], [7, 8, 9]], [[10, 11], [12]], [[13], [14, 15]]

def digest(tuned):
    found = hashlib.sha256(repr(tuned.losses).encode())
    for name, weight in sorted(tuned.weights.items()):
        found.update(name.encode() + weight.numpy().tobytes())
    return found.hexdigest()

before = dict(os.environ)
print(digest(finetune(lm, prompts, chosen, recipe)), digest(prefer(lm, prompts, chosen, rejected, recipe)))
assert dict(os.environ) == before
"""


def trained(environment):
    """Digests of a supervised and a preference training in a process of its own."""
    given = {"env": {**os.environ, **environment}, "capture_output": True, "text": True, "timeout": 500}
    done = subprocess.run([sys.executable, "-c", PROGRAM], **given, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()[-2:]


def test_the_environment_changes_nothing():
    """From the start: libraries read some of it while they are imported."""
    assert trained(LEFT) == trained({})
