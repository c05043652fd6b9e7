#!/usr/bin/env python3
"""Writes tests/golden/models/NAME for the model families below: a tiny random model as transformers saves it, a batch, and
the logits, loss and gradients that transformers computes for it in float32. Needs torch, transformers, safetensors.

Seeds are tried until no choice of a router is a near thing: then rounding, even to bf16, chooses the same experts.

usage: make_model_golden.py OUT_FOLDER [NAME ...]
"""

import copy
import json
import math
import os
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

LENGTH, BATCH = 8, 2
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 0.7, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0],
    "short_mscale": 1.15,
    "long_mscale": 1.25,
}
COMMON = {"vocab_size": 256, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
# rms_norm_eps is 1e-5 so that it differs from the fixed 1e-6 of the norms in the latent projections.
DEEPSEEK_V2 = {
    **COMMON,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 12,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
}
# name: configuration class, its arguments, and the rope in the layout of files before transformers 5
CASES = {
    "deepseek_v2": (
        transformers.DeepseekV2Config,
        {**DEEPSEEK_V2, "topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5},
        YARN,
    ),
    "deepseek_v2_greedy": (transformers.DeepseekV2Config, {**DEEPSEEK_V2, "q_lora_rank": None, "topk_method": "greedy", "mlp_bias": True, "attention_bias": True}, None),
    "phimoe": (
        transformers.PhimoeConfig,
        # A wide threshold, so that the weights of experts are rarely 1.
        {**COMMON, "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 128, "num_local_experts": 4, "router_jitter_noise": 0.4, "attention_bias": True, "lm_head_bias": True},
        LONGROPE,
    ),
}


def fill(model, seed):
    """Random weights under which nothing is neutral: norms are not 1, biases not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 1:
                values = 1 + 0.2 * values if name.endswith("norm.weight") else 0.1 * values
            else:
                values *= 0.3 if "embed" in name else 1.1 / math.sqrt(parameter.shape[-1])
            parameter.copy_(values)


def make_batch(seed):
    """The second row is padded on the right; some labels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 256, (BATCH, LENGTH), generator=generator)
    labels = ids.clone()
    labels[torch.rand(ids.shape, generator=generator) < 0.2] = -100
    mask = torch.ones_like(ids)
    ids[-1, -3:], mask[-1, -3:], labels[-1, -3:] = 0, 0, -100
    return {"input_ids": ids, "labels": labels, "attention_mask": mask, "position_ids": torch.arange(LENGTH).repeat(BATCH, 1)}


def near_miss(logits, config):
    """How near the closest decision of a router is to its opposite, in logits."""
    if config.model_type == "phimoe":
        nearest, left = math.inf, logits.clone()
        for _ in range(2):
            best, chosen = left.max(dim=-1, keepdim=True)
            reach = 2 * config.router_jitter_noise * torch.maximum(logits.abs(), best)
            others = left.scatter(-1, chosen, -math.inf)
            nearest = min(nearest, (best - others - reach).abs().min().item())
            nearest = min(nearest, (best - others.max(dim=-1, keepdim=True).values).min().item())
            left = others
        return nearest
    groups = config.n_group or 1
    kept = config.topk_group if groups > 1 else 1
    scores = logits.softmax(-1).log()
    best = scores.unflatten(-1, (groups, -1)).max(dim=-1).values.sort(dim=-1, descending=True).values
    nearest = (best[:, kept - 1] - best[:, kept]).min().item() if groups > 1 else math.inf
    floor = best[:, kept - 1 : kept]
    of_group = scores.unflatten(-1, (groups, -1)).max(dim=-1, keepdim=True).values.expand(-1, -1, scores.shape[1] // groups).flatten(1)
    order = scores.masked_fill(of_group < floor, -math.inf).sort(dim=-1, descending=True).values
    return min(nearest, (order[:, config.num_experts_per_tok - 1] - order[:, config.num_experts_per_tok]).min().item())


def run(model, batch):
    """Output, and the nearest miss of all routers on tokens that are there."""
    nearest, hooks = [], []
    real = batch["attention_mask"].bool().flatten()
    for module in model.modules():
        if type(module).__name__.endswith(("TopkRouter", "TopKRouter")):
            hooks.append(module.register_forward_hook(lambda _, __, out: nearest.append(near_miss(out[0].detach()[real], model.config))))
    output = model(**batch, use_cache=False)
    for hook in hooks:
        hook.remove()
    return output, min(nearest)


def saved(model):
    """The tensors as save_pretrained names and lays them out: one for each expert."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            return load_file(os.path.join(folder, "model.safetensors")), json.load(file)


def write_json(path, document):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def write_case(folder, config_class, arguments, rope):
    parameters = {"rope_theta": 10000.0, **(rope or {"rope_type": "default"})}
    config = config_class(**arguments, rope_parameters=parameters)
    for seed in range(10000):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager", experts_implementation="eager").float().eval()
        fill(model, seed)
        batch = make_batch(seed)
        output, nearest = run(model, batch)
        if nearest > 0.03:
            break
    else:
        raise SystemExit(f"{folder}: no seed keeps the routers from near misses")
    output.loss.backward()
    gradients = copy.deepcopy(model)
    with torch.no_grad():
        for to, parameter in zip(gradients.parameters(), model.parameters()):
            to.copy_(parameter.grad)
    tensors, document = saved(model)
    os.makedirs(folder, exist_ok=True)
    write_json(os.path.join(folder, "config.json"), document)
    legacy = {key: value for key, value in document.items() if key != "rope_parameters"}
    legacy["torch_dtype"] = legacy.pop("dtype")
    write_json(os.path.join(folder, "config_legacy.json"), {**legacy, "rope_theta": 10000.0, "rope_scaling": rope})
    expected = {"logits": output.logits.detach(), "loss": output.loss.detach()}
    expected.update({"grad." + name: tensor for name, tensor in saved(gradients)[0].items()})
    for name, content in (("model", tensors), ("batch", batch), ("expected", expected)):
        save_file({key: tensor.contiguous() for key, tensor in sorted(content.items())}, os.path.join(folder, name + ".safetensors"), {"format": "pt"})
    print(f"{os.path.basename(folder)}: seed {seed}, loss {output.loss.item():.6f}, nearest miss {nearest:.4f}")


def main(arguments):
    if len(arguments) < 2:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in arguments[2:] or CASES:
        write_case(os.path.join(arguments[1], name), *CASES[name])


if __name__ == "__main__":
    main(sys.argv)
