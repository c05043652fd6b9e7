#!/usr/bin/env python3
"""Reads what `plimsoll export` writes with the loaders and schemas of the projects it is for.

usage: export_schemas.py PLIMSOLL [TARGET...]

Every target gets plans of several models, methods and layouts. A plan that Plimsoll refuses for a target (exit 2 with a
way out) is counted; one that it exports must load, and must say the batch, the devices and the method of the plan.
Where a package is not installed the target is named as unchecked, and the exit code is 1 if any loaded check failed.
"""

import contextlib
import importlib.metadata
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("DISABLE_VERSION_CHECK", "1")  # LLaMA-Factory: the newest transformers is not in its range
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")

PACKAGES = {"deepspeed": "deepspeed", "accelerate-fsdp": "accelerate", "torchtitan": "torchtitan",
            "megatron": "megatron-core", "axolotl": "axolotl", "llama-factory": "llamafactory", "unsloth": "unsloth",
            "torchtune": "torchtune", "kubernetes": "kubernetes", "skypilot": "skypilot", "slurm": None}

# https://slurm.schedmd.com/sbatch.html
SLURM_OPTIONS = {"--job-name", "--nodes", "--ntasks-per-node", "--gpus-per-node", "--exclusive"}


def layout(data=1, tensor=1, pipeline=1, context=1, expert=1, virtual_stages=1, zero_stage=0):
    return dict(data=data, tensor=tensor, pipeline=pipeline, context=context, expert=expert,
                virtual_stages=virtual_stages, zero_stage=zero_stage)


LAYOUTS = [layout(), layout(data=8, zero_stage=0), layout(data=8, zero_stage=1), layout(data=8, zero_stage=2),
           layout(data=16, zero_stage=3), layout(data=2, tensor=4, zero_stage=3), layout(data=2, tensor=4, zero_stage=1),
           layout(data=2, tensor=2, pipeline=4), layout(pipeline=7), layout(data=2, tensor=2, pipeline=4, virtual_stages=2, zero_stage=1),
           layout(data=4, context=2, zero_stage=3), layout(data=8, expert=8, zero_stage=1), layout(data=8, expert=8)]
RECIPES = [("full", "16bit", "all-linear"), ("lora", "16bit", "all-linear"), ("lora", "4bit", "q_proj,v_proj"),
           ("lora", "8bit", "all-linear")]
MODELS = {"llama-3.1-8b": 32, "llama-3.1-70b": 80, "llama-2-13b": 40, "qwen2.5-7b": 28, "qwen3-14b": 40,
          "qwen3-30b-a3b": 48, "mistral-7b-v0.1": 32, "gemma-2-9b": 42, "gemma-2b": 18, "phi-3-mini-4k": 32, "llama-3.2-1b": 16}


def plans():
    for model, layers in MODELS.items():
        for method, base, targets in RECIPES:
            for each in LAYOUTS:
                if each["expert"] > 1 and "a3b" not in model:
                    continue
                for recompute in ("none", "full"):
                    chosen = {"layout": each, "micro_batch": 2, "grad_accum_steps": 4, "recompute": recompute,
                              "tokens_per_second": 1.0,
                              "devices": each["data"] * each["tensor"] * each["pipeline"] * each["context"]}
                    yield {"kind": "search", "model": model, "device": "h100-80g", "node_devices": 8, "layers": layers,
                           "recipe": {"method": method, "base": base, "rank": 16, "targets": targets, "seq_len": 2048,
                                      "global_batch": 8 * each["data"]},
                           "pareto": [chosen], "best": [chosen]}


class Wrong(Exception):
    pass


def same(found, expected, what):
    if found != expected:
        raise Wrong(f"{what} is {found!r}, the plan says {expected!r}")


def chosen_of(plan):
    chosen = plan["pareto"][0]
    return chosen["layout"], chosen["micro_batch"], chosen["grad_accum_steps"], chosen["recompute"] == "full"


def check_deepspeed(text, plan):
    import deepspeed.runtime.config as config
    where, micro, accumulation, _ = chosen_of(plan)
    config.dist = type("Ranks", (), {"get_rank": staticmethod(lambda: 0),
                                     "get_world_size": staticmethod(lambda: where["data"])})
    loaded = config.DeepSpeedConfig(json.loads(text))
    same(loaded.train_batch_size, micro * accumulation * where["data"], "train_batch_size")
    same(loaded.gradient_accumulation_steps, accumulation, "gradient_accumulation_steps")
    same(int(loaded.zero_config.stage), where["zero_stage"], "stage")


def check_accelerate(text, plan):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser
    where, _, _, recompute = chosen_of(plan)
    Path("accelerate.yaml").write_text(text)
    loaded = load_config_from_file("accelerate.yaml")
    same(loaded.num_processes, where["data"], "num_processes")
    known = {action.dest for action in launch_command_parser()._actions}
    unknown = set(loaded.fsdp_config or {}) - known
    if unknown:
        raise Wrong(f"accelerate launch has no {', '.join(sorted(unknown))}")
    if where["zero_stage"] > 0:
        same(loaded.fsdp_config["fsdp_reshard_after_forward"], where["zero_stage"] == 3, "reshard_after_forward")
        same(loaded.fsdp_config["fsdp_activation_checkpointing"], recompute, "activation_checkpointing")


def check_torchtitan(text, plan):
    import torchtitan.config.manager as manager
    where, micro, accumulation, recompute = chosen_of(plan)
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    loaded = manager.ConfigManager().parse_args(words[words.index("torchtitan.train") + 1:])
    cut = loaded.parallelism
    same(cut.data_parallel_replicate_degree * cut.data_parallel_shard_degree, where["data"], "data parallelism")
    for name in ("tensor", "pipeline", "context", "expert"):
        same(getattr(cut, f"{name}_parallel_degree"), where[name], name)
    same(loaded.training.global_batch_size, micro * accumulation * where["data"], "global_batch_size")
    passes = loaded.training.global_batch_size // (loaded.training.local_batch_size * where["data"])
    if where["pipeline"] == 1:
        same(passes, accumulation, "gradient accumulation")
    same(type(loaded.activation_checkpoint).__qualname__, "FullAC.Config" if recompute else "NoneType", "recompute")


# Flags of Megatron-LM's pretrain_gpt.py and the field of a dataclass of megatron-core that each sets.
MEGATRON_OTHERS = {"micro-batch-size", "global-batch-size", "seq-length", "use-checkpoint-args", "position-embedding-type",
                   "rotary-base", "rotary-percent", "use-rope-scaling", "rope-scaling-factor", "transformer-impl",
                   "use-flash-attn", "swiglu", "untie-embeddings-and-output-weights", "group-query-attention",
                   "max-position-embeddings", "norm-epsilon", "disable-bias-linear", "num-experts",
                   "num-virtual-stages-per-pipeline-rank", "use-distributed-optimizer", "overlap-grad-reduce",
                   "overlap-param-gather", "train-iters"}
MEGATRON_NAMES = {"norm-epsilon": "layernorm_epsilon", "disable-bias-linear": None, "num-experts": "num_moe_experts"}


def check_megatron(text, plan):
    from dataclasses import fields
    import torch
    from megatron.core.distributed import DistributedDataParallelConfig
    from megatron.core.transformer import TransformerConfig
    where, micro, accumulation, recompute = chosen_of(plan)
    flags = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, _, value = line.removeprefix("--").partition(" ")
        flags[name] = value or True
    known = {field.name: field.type for kind in (TransformerConfig, DistributedDataParallelConfig) for field in fields(kind)}
    settings = {}
    for name, value in flags.items():
        field = name.replace("-", "_")
        if name in MEGATRON_OTHERS and name not in MEGATRON_NAMES:
            if field in ("use_distributed_optimizer", "overlap_grad_reduce", "overlap_param_gather") and field not in known:
                raise Wrong(f"megatron-core has no {field}")
            continue
        field = MEGATRON_NAMES.get(name, field)
        if field is None:
            continue
        if field not in known:
            raise Wrong(f"megatron-core has no field {field} for --{name}")
        if isinstance(value, str):
            value = int(value) if re.fullmatch(r"\d+", value) else float(value) if re.fullmatch(r"[\d.e-]+", value) else value
        settings[field] = value
    same(int(flags["global-batch-size"]), micro * accumulation * where["data"], "global-batch-size")
    if "num-layers" in flags:
        settings.update(pipeline_dtype=torch.bfloat16, add_bias_linear=False, gated_linear_unit=True)
        if where["virtual_stages"] > 1 and "pipeline_model_parallel_layout" not in settings:
            settings["virtual_pipeline_model_parallel_size"] = where["virtual_stages"]
        loaded = TransformerConfig(**settings)
        same(loaded.tensor_model_parallel_size, where["tensor"], "tensor")
        same(loaded.recompute_granularity, "full" if recompute else None, "recompute")
        same(loaded.num_layers, plan["layers"], "layers")


def check_axolotl(text, plan):
    import types
    import yaml
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    where, micro, accumulation, _ = chosen_of(plan)
    # The schema asks whether this is installed where context parallelism is wanted; it needs a GPU.
    sys.modules.setdefault("ring_flash_attn", types.ModuleType("ring_flash_attn"))
    settings = yaml.safe_load(text)
    fields = set(AxolotlInputConfig.model_fields)
    aliases = {field.alias for field in AxolotlInputConfig.model_fields.values() if field.alias}
    unknown = set(settings) - fields - aliases
    if "deepspeed" in settings:
        Path("ds_config.json").write_text(json.dumps({"zero_optimization": {"stage": where["zero_stage"]}}))
    if unknown:
        raise Wrong(f"axolotl's schema has no {', '.join(sorted(unknown))}")
    loaded = validate_config(DictDefault(settings), capabilities={
        "bf16": True, "fp8": True, "n_gpu": where["data"] * where["tensor"] * where["context"],
        "n_node": 1, "compute_capability": "sm_90", "tf32": True}, env_capabilities={"torch_version": "2.11.0"})
    same(loaded.micro_batch_size, micro, "micro_batch_size")
    same(loaded.gradient_accumulation_steps, accumulation, "gradient_accumulation_steps")
    same(loaded.dp_shard_size or 1, where["data"] if where["zero_stage"] >= 2 else 1, "dp_shard_size")
    method, base = plan["recipe"]["method"], plan["recipe"]["base"]
    same(loaded.adapter, None if method == "full" else "qlora" if base == "4bit" else "lora", "adapter")


def check_llama_factory(text, plan):
    import dataclasses
    import yaml
    from llamafactory.hparams import DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments
    from llamafactory.hparams.parser import get_train_args
    from transformers import TrainingArguments
    where, micro, accumulation, recompute = chosen_of(plan)
    settings = yaml.safe_load(text)
    known = {f.name for kind in (DataArguments, FinetuningArguments, GeneratingArguments, ModelArguments,
                                 TrainingArguments) for f in dataclasses.fields(kind)}
    unknown = set(settings) - known
    if unknown:
        raise Wrong(f"no argument {', '.join(sorted(unknown))}")
    settings.pop("deepspeed", None)  # wants a launcher; its file is checked as a target of its own
    model, data, training, tuning, _ = get_train_args({**settings, "use_cpu": True})
    same(training.per_device_train_batch_size, micro, "per_device_train_batch_size")
    same(training.gradient_accumulation_steps, accumulation, "gradient_accumulation_steps")
    same(model.disable_gradient_checkpointing, not recompute, "disable_gradient_checkpointing")
    same(model.quantization_bit, {"4bit": 4, "8bit": 8}.get(plan["recipe"]["base"]), "quantization_bit")
    same(tuning.finetuning_type, plan["recipe"]["method"], "finetuning_type")
    same(data.cutoff_len, plan["recipe"]["seq_len"], "cutoff_len")


def check_unsloth(text, plan):
    # Its package refuses to be imported without a GPU; the configuration of its command stands alone.
    import importlib.util
    import yaml
    place = Path(importlib.metadata.distribution("unsloth").locate_file("unsloth_cli/config.py"))
    spec = importlib.util.spec_from_file_location("unsloth_config", place)
    module = importlib.util.module_from_spec(spec)
    sys.modules["unsloth_config"] = module
    spec.loader.exec_module(module)
    loaded = module.Config(**yaml.safe_load(text))
    _, micro, accumulation, recompute = chosen_of(plan)
    same(loaded.training.batch_size, micro, "batch_size")
    same(loaded.training.gradient_accumulation_steps, accumulation, "gradient_accumulation_steps")
    same(loaded.training.gradient_checkpointing, "unsloth" if recompute else "none", "gradient_checkpointing")
    same(loaded.training.load_in_4bit, plan["recipe"]["base"] == "4bit", "load_in_4bit")


def check_torchtune(text, plan):
    from omegaconf import OmegaConf
    import torchtune.config
    where, micro, accumulation, recompute = chosen_of(plan)
    loaded = OmegaConf.create(text)
    torchtune.config.validate(loaded)
    same(loaded.batch_size * loaded.gradient_accumulation_steps, micro * accumulation, "batch")
    same(loaded.enable_activation_checkpointing, recompute, "recompute")
    recipe = re.search(r"(\w+_finetune_\w+) --config", text).group(1)
    place = Path(importlib.metadata.distribution("torchtune").locate_file(f"recipes/{recipe}.py"))
    needed = set(re.findall(r"\bcfg\.([a-z_]+)\b", place.read_text())) - {"get", "pop", "keys", "items"}
    missing = needed - set(loaded) - {"log_level", "profiler"}
    if missing:
        raise Wrong(f"{recipe} reads {', '.join(sorted(missing))}")
    if where["tensor"] > 1:
        same(loaded.tensor_parallel_dim, where["tensor"], "tensor_parallel_dim")


def check_kubernetes(text, plan):
    import yaml
    from kubernetes import client
    api = client.ApiClient()
    kinds = {"Job": "V1Job", "Service": "V1Service"}
    devices = nodes = 0
    for document in yaml.safe_load_all(text):
        loaded = api.deserialize(json.dumps(document), kinds[document["kind"]], "application/json")
        same(api.sanitize_for_serialization(loaded), document, "what the client understood")
        if document["kind"] == "Job":
            nodes = loaded.spec.completions
            devices = nodes * int(loaded.spec.template.spec.containers[0].resources.limits["nvidia.com/gpu"])
    same(devices, plan["pareto"][0]["devices"], "devices")


def check_skypilot(text, plan):
    import sky
    Path("sky.yaml").write_text(text)
    task = sky.Task.from_yaml("sky.yaml")
    (resources,) = task.resources
    ((_, per_node),) = resources.accelerators.items()
    same(per_node * task.num_nodes, plan["pareto"][0]["devices"], "devices")


def check_slurm(text, plan):
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    options = dict((line.split()[1] + "=").split("=")[:2] for line in text.splitlines() if line.startswith("#SBATCH"))
    unknown = set(options) - SLURM_OPTIONS
    if unknown:
        raise Wrong(f"sbatch has no {', '.join(sorted(unknown))}")
    same(int(options["--nodes"]) * int(options["--gpus-per-node"]), plan["pareto"][0]["devices"], "devices")


CHECKS = {"deepspeed": check_deepspeed, "accelerate-fsdp": check_accelerate, "torchtitan": check_torchtitan,
          "megatron": check_megatron, "axolotl": check_axolotl, "llama-factory": check_llama_factory,
          "unsloth": check_unsloth, "torchtune": check_torchtune, "slurm": check_slurm, "kubernetes": check_kubernetes,
          "skypilot": check_skypilot}


def version_of(target):
    if PACKAGES[target] is None:
        return "bash -n and the documented options"
    try:
        return f"{PACKAGES[target]} {importlib.metadata.version(PACKAGES[target])}"
    except importlib.metadata.PackageNotFoundError:
        return None


def check_target(program, target):
    loaded = refused = 0
    wrong = {}
    seen = set()
    for plan in plans():
        Path("plan.json").write_text(json.dumps(plan))
        run = subprocess.run([program, "export", "plan.json", "--to", target], capture_output=True, text=True)
        if run.returncode == 2 and "try:" in run.stderr:
            refused += 1
            continue
        if run.returncode != 0:
            wrong.setdefault(f"exit code {run.returncode}: {run.stderr.strip()}", plan)
            continue
        if run.stdout in seen:  # clusters: the same for every recipe
            continue
        seen.add(run.stdout)
        loaded += 1
        noise = io.StringIO()
        try:
            with contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
                CHECKS[target](run.stdout, plan)
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {error}"
            wrong.setdefault(text + (noise.getvalue()[-600:] if isinstance(error, SystemExit) else ""), plan)
    return loaded, refused, wrong


def main():
    program = os.path.abspath(sys.argv[1])
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        for target in sys.argv[2:] or list(CHECKS):
            version = version_of(target)
            if version is None:
                print(f"{target}: {PACKAGES[target]} is not installed, not checked", flush=True)
                continue
            loaded, refused, wrong = check_target(program, target)
            print(f"{target} ({version}): {loaded} configurations load, {refused} plans refused, {len(wrong)} kinds of error",
                  flush=True)
            for error, plan in wrong.items():
                recipe = plan["recipe"]
                print(f"  {plan['model']} {recipe['method']} {recipe['base']} {plan['pareto'][0]['layout']}:\n"
                      f"    {error[:1500]}", flush=True)
            failed += len(wrong)
        os.chdir("/")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
