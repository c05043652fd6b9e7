#include "formats/gguf/gguf_names.h"

#include <gtest/gtest.h>

#include "config/hf/hf_families.h"

namespace plimsoll {
namespace {

ModelConfig of_family(std::string_view family) {
  ModelConfig config;
  config.architecture = family;
  config.mixture.experts = 4;
  return config;
}

TEST(GgufNames, FamiliesAreFoundBothWays) {
  for (const HfFamily& family : hf_families()) {
    const std::string_view gguf = gguf_architecture(family.model_type);
    if (family.model_type == "opt" || family.model_type == "phimoe") {
      EXPECT_EQ(gguf, "") << family.model_type;
      continue;
    }
    ASSERT_NE(gguf, "") << family.model_type;
    EXPECT_NE(gguf_architecture_names().find(gguf), std::string::npos) << gguf;
    if (family.model_type == "mistral" || family.model_type == "deepseek_v3") continue;  // told apart by other keys
    const bool mixture = expert_matrix(of_family(family.model_type), "model.layers.0.mlp.experts.1.up_proj.weight") ||
                         family.model_type == "mixtral" || family.model_type == "gpt_oss";
    EXPECT_EQ(architecture_of_gguf(gguf, mixture ? 4 : 0), family.model_type);
  }
  EXPECT_EQ(architecture_of_gguf("llama", 8), "mixtral");
  EXPECT_EQ(architecture_of_gguf("none", 0), "");
}

TEST(GgufNames, OfTensors) {
  struct Pair {
    const char *family, *gguf, *hf;
  };
  for (const Pair& pair : std::initializer_list<Pair>{
           {"gemma2", "blk.3.ffn_norm.weight", "model.layers.3.pre_feedforward_layernorm.weight"},
           {"gemma2", "blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"},
           {"gpt_oss", "blk.0.attn_sinks.weight", "model.layers.0.self_attn.sinks"},
           {"gpt_oss", "blk.12.ffn_gate_inp.bias", "model.layers.12.mlp.router.bias"},
           {"deepseek_v3", "blk.1.exp_probs_b.bias", "model.layers.1.mlp.gate.e_score_correction_bias"},
           {"gpt2", "blk.7.attn_qkv.bias", "transformer.h.7.attn.c_attn.bias"},
           {"gpt_neox", "output.weight", "embed_out.weight"},
           {"bloom", "token_embd_norm.bias", "transformer.word_embeddings_layernorm.bias"}}) {
    EXPECT_EQ(hf_name_of_gguf(of_family(pair.family), pair.gguf), pair.hf);
    EXPECT_EQ(gguf_name_of_hf(of_family(pair.family), pair.hf), pair.gguf);
  }
  EXPECT_EQ(hf_name_of_gguf(of_family("llama"), "blk.0.attn_sinks.weight"), "");
  EXPECT_EQ(hf_name_of_gguf(of_family("gpt2"), "blk.0.ffn_gate.weight"), "");
}

TEST(GgufNames, OfExperts) {
  const ModelConfig mixtral = of_family("mixtral"), oss = of_family("gpt_oss");
  const auto matrix = expert_matrix(mixtral, "model.layers.2.block_sparse_moe.experts.3.w2.weight");
  ASSERT_TRUE(matrix);
  EXPECT_EQ(matrix->gguf_name, "blk.2.ffn_down_exps.weight");
  EXPECT_EQ(matrix->expert, 3);
  EXPECT_EQ(expert_hf_name(mixtral, "blk.2.ffn_down_exps.weight", 3),
            "model.layers.2.block_sparse_moe.experts.3.w2.weight");
  for (const char* none :
       {"model.layers.2.block_sparse_moe.experts.x.w2.weight", "model.layers.2.block_sparse_moe.experts",
        "model.layers.2.block_sparse_moe.experts.99999999999999999999.w2.weight", "lm_head.weight"})
    EXPECT_FALSE(expert_matrix(mixtral, none)) << none;

  const auto up = expert_part_of_gguf(oss, "blk.5.ffn_up_exps.bias");
  ASSERT_TRUE(up);
  EXPECT_EQ(up->name, "model.layers.5.mlp.experts.gate_up_proj_bias");
  EXPECT_EQ(up->part, 1);
  EXPECT_EQ(up->parts, 2);
  EXPECT_EQ(expert_part_of_hf(oss, "model.layers.5.mlp.experts.down_proj", 0)->name, "blk.5.ffn_down_exps.weight");
  EXPECT_FALSE(expert_part_of_hf(oss, "model.layers.5.mlp.experts.down_proj", 1));
  EXPECT_FALSE(expert_part_of_gguf(mixtral, "blk.5.ffn_up_exps.weight"));
}

}  // namespace
}  // namespace plimsoll
