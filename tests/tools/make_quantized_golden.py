#!/usr/bin/env python3
"""Makes tests/golden/quantized_folders: a tiny llama as transformers, bitsandbytes and compressed-tensors store it
quantized, and the logits it has with the weights that these libraries restore, computed in float32.

Every matrix has rows of whole blocks: the CPU kernels of bitsandbytes 0.50 restore others wrongly (they take the absmax
of row · (columns // block) instead of counting blocks through the whole matrix, as its quantizer and its GPU kernels do).

usage: make_quantized_golden.py OUT_DIR
"""

import shutil
import sys
from pathlib import Path

import bitsandbytes as bnb
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

IDS = torch.arange(0, 24).reshape(2, 12) * 5 % 48


def base(folder):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=48, hidden_size=64, intermediate_size=128, num_hidden_layers=1, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.2)
    LlamaForCausalLM(config).save_pretrained(folder)


def bitsandbytes(source, folder, **options):
    config = BitsAndBytesConfig(bnb_4bit_compute_dtype=torch.float32, **options)
    AutoModelForCausalLM.from_pretrained(source, quantization_config=config, dtype=torch.float32).save_pretrained(folder)


def compressed(source, folder, form, **arguments):
    """Quantized by the rule of each strategy; packed by the library."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**arguments))
    config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"], format=form)
    apply_quantization_config(model, config)
    bits = arguments["num_bits"]
    for module in model.modules():
        if not hasattr(module, "weight_scale"):
            continue
        if arguments["strategy"] == "tensor":
            module.weight_scale.data.copy_(module.weight.abs().max() / 448)
            continue
        groups = module.weight.data.unflatten(1, (-1, arguments["group_size"]))
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        if arguments["symmetric"]:
            module.weight_scale.data.copy_(torch.maximum(-low, high) / ((1 << (bits - 1)) - 1))
            continue
        module.weight_scale.data.copy_((high - low) / ((1 << bits) - 1))
        zero = torch.round(-low / module.weight_scale) - (1 << (bits - 1))
        module.weight_zero_point.data.copy_(zero.to(module.weight_zero_point.dtype))
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)


def restored(model):
    """The model with plain linears of the weights that bitsandbytes restores."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, bnb.nn.Linear4bit):
                weight = bnb.functional.dequantize_4bit(child.weight.data, child.weight.quant_state)
            elif isinstance(child, bnb.nn.Linear8bitLt):
                weight = bnb.functional.int8_vectorwise_dequant(child.weight.data, child.weight.SCB)
            else:
                continue
            plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            plain.weight.data = weight.float()
            setattr(module, name, plain)
    return model


def main():
    out = Path(sys.argv[1])
    shutil.rmtree(out, ignore_errors=True)
    source = out / "base"
    base(source)
    bitsandbytes(source, out / "nf4_double", load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    bitsandbytes(source, out / "fp4", load_in_4bit=True, bnb_4bit_quant_type="fp4")
    bitsandbytes(source, out / "llm_int8", load_in_8bit=True)
    integers = {"type": "int", "strategy": "group", "group_size": 32}
    compressed(source, out / "int4", "pack-quantized", num_bits=4, symmetric=True, **integers)
    compressed(source, out / "int3_zeros", "pack-quantized", num_bits=3, symmetric=False, **integers)
    compressed(source, out / "fp8", "naive-quantized", num_bits=8, symmetric=True, type="float", strategy="tensor")
    for folder in sorted(path for path in out.iterdir() if path != source):
        if folder.name == "int3_zeros":  # transformers 5.23 loads zero points only so
            config = (folder / "config.json").read_text()
            (folder / "config.json").write_text(config.replace('"quant_method": "compressed-tensors"',
                                                              '"dequantize": true, "quant_method": "compressed-tensors"'))
        model = restored(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)).eval()
        with torch.no_grad():
            logits = model(IDS).logits
        save_file({"input_ids": IDS, "logits": logits}, folder / "expected.safetensors")
    shutil.rmtree(source)
    for extra in out.glob("*/generation_config.json"):
        extra.unlink()


if __name__ == "__main__":
    main()
