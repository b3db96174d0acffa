"""A worker of ``polinb.training.parallel`` on the CPU, started by ``tests/training/test_parallel.py``.

Accelerate shards on accelerators only and, on CPUs, silently falls back to replicas: here it is told again.
"""

import sys

from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import Trainer

from polinb.training import parallel

made = Trainer.create_accelerator_and_postprocess


def shard(trainer):
    made(trainer)
    if trainer.accelerator.num_processes > 1:
        state = trainer.accelerator.state
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
        trainer.is_fsdp_enabled = True


Trainer.create_accelerator_and_postprocess = shard
sys.exit(parallel.main())
