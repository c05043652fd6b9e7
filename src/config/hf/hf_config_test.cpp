#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/model_config.h"

namespace plimsoll {
namespace {

using nlohmann::json;

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string golden(const std::string& name) { return PLIMSOLL_TEST_DATA "/golden/models/" + name; }

json base_config(const std::string& model_type) { return json::parse(read_text(golden(model_type + "/config.json"))); }

ModelConfig parse(const json& object) { return parse_hf_config(object.dump(), "config.json"); }

std::string parse_error(const std::string& text) {
  try {
    parse_hf_config(text, "config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::caller);
    EXPECT_FALSE(error.way_out().empty());
    return error.what();
  }
  return "";
}

class GoldenConfig : public testing::TestWithParam<const char*> {};

TEST_P(GoldenConfig, NewLegacyAndWrittenAreEqual) {
  const std::string folder = golden(GetParam());
  const ModelConfig config = parse_hf_config(read_text(folder + "/config.json"), "config.json");
  EXPECT_EQ(config, parse_hf_config(read_text(folder + "/config_legacy.json"), "config_legacy.json"));
  EXPECT_EQ(config, parse_hf_config(write_hf_config(config, config.stored_dtype), "written"));
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenConfig,
                         testing::Values("llama", "llama_tied", "llama3_rope", "llama_linear_rope", "llama_yarn",
                                         "mistral", "qwen2", "qwen3", "gpt_neox", "gpt_neox_serial", "phi", "falcon",
                                         "falcon40b_style", "starcoder2", "granite", "olmo2", "gemma", "gemma2",
                                         "gemma3_text", "phi3", "mixtral", "qwen3_moe", "gpt_oss", "deepseek_v3",
                                         "deepseek_v3_noqlora", "deepseek_v2", "deepseek_v2_greedy", "phimoe"));

TEST(HfConfig, DeepseekV2ChoosesWithinGroupsOnlyWhereAskedTo) {
  json object = base_config("deepseek_v2");
  const ModelConfig grouped = parse(object);
  EXPECT_EQ(grouped.mixture.groups, 4);
  EXPECT_EQ(grouped.mixture.kept, 2);
  EXPECT_EQ(grouped.mixture.scale, 2.5);
  EXPECT_FALSE(grouped.mixture.normalize);
  object["topk_method"] = "greedy";
  EXPECT_EQ(parse(object).mixture.groups, 1);
  object["topk_method"] = "noaux_tc";
  EXPECT_NE(parse_error(object.dump()).find("noaux_tc"), std::string::npos);
  object["topk_method"] = "group_limited_greedy";
  object["n_group"] = nullptr;
  EXPECT_NE(parse_error(object.dump()).find("n_group"), std::string::npos);
  object = base_config("deepseek_v2");
  object["norm_topk_prob"] = true;
  EXPECT_NE(parse_error(object.dump()).find("norm_topk_prob"), std::string::npos);
}

TEST(HfConfig, GraniteKeepsItsBiases) {
  json object = base_config("granite");
  object["mlp_bias"] = true;
  const ModelConfig config = parse(object);
  ASSERT_TRUE(config.mlp_bias);
  EXPECT_EQ(parse_hf_config(write_hf_config(config, DType::f32), "written"), config);
}

TEST(HfConfig, PhimoeHasTwoExpertsAndItsOwnLongrope) {
  json object = base_config("phimoe");
  const ModelConfig config = parse(object);
  EXPECT_TRUE(config.head_bias);
  EXPECT_EQ(config.mixture.jitter, 0.4);
  EXPECT_EQ(config.rope.long_mscale, 1.25);
  object["rope_parameters"].erase("long_mscale");
  EXPECT_NE(parse_error(object.dump()).find("long_mscale"), std::string::npos);
  object["rope_parameters"] = {{"rope_type", "linear"}, {"factor", 2}};
  EXPECT_NE(parse_error(object.dump()).find("rope_type"), std::string::npos);
  object["rope_parameters"] = {{"rope_type", "default"}};
  EXPECT_EQ(parse(object).rope.theta, 1e6);
  object["num_experts_per_tok"] = 3;
  EXPECT_NE(parse_error(object.dump()).find("num_experts_per_tok"), std::string::npos);
}

TEST(HfConfig, WrittenIsEqualWithoutRope) {
  for (const char* model : {"gpt2", "opt", "opt_350m_style", "bloom"}) {
    const ModelConfig config = parse(base_config(model));
    EXPECT_EQ(config, parse_hf_config(write_hf_config(config, config.stored_dtype), "written")) << model;
  }
}

TEST(HfConfig, FamiliesWithLayerNormsDiffer) {
  const ModelConfig gpt2 = parse(base_config("gpt2"));
  EXPECT_EQ(gpt2.positions, PositionKind::learned);
  EXPECT_EQ(gpt2.intermediate_size, 4 * gpt2.hidden_size);
  EXPECT_TRUE(gpt2.tied_embeddings && gpt2.mlp_bias);
  EXPECT_EQ(parse(base_config("bloom")).positions, PositionKind::alibi);
  EXPECT_EQ(parse(base_config("opt_350m_style")).embedding_width, 32);
  EXPECT_FALSE(parse(base_config("opt_350m_style")).final_norm);
  EXPECT_TRUE(parse(base_config("opt")).final_norm);
  EXPECT_EQ(parse(base_config("falcon")).kv_heads, 1);
  EXPECT_EQ(parse(base_config("falcon40b_style")).kv_heads, 2);
  EXPECT_EQ(parse(base_config("falcon40b_style")).parallel_norms, 2);
  json neox = base_config("gpt_neox");
  neox.erase("rope_parameters");
  EXPECT_EQ(parse(neox).rope.partial_rotary_factor, 0.25) << "what transformers assumes";
  json phi = base_config("phi");
  phi.erase("rope_parameters");
  EXPECT_EQ(parse(phi).rope.partial_rotary_factor, 0.5);
  json falcon = base_config("falcon");
  falcon["alibi"] = true;
  EXPECT_EQ(parse(falcon).positions, PositionKind::alibi);

  json odd = base_config("gpt2");
  odd["scale_attn_by_inverse_layer_idx"] = true;
  EXPECT_NE(parse_error(odd.dump()).find("scale_attn_by_inverse_layer_idx"), std::string::npos);
  odd = base_config("gpt2");
  odd["n_head"] = 5;
  EXPECT_NE(parse_error(odd.dump()).find("does not divide"), std::string::npos);
  odd = base_config("falcon");
  odd["num_ln_in_parallel_attn"] = 2;
  EXPECT_NE(parse_error(odd.dump()).find("new_decoder_architecture"), std::string::npos);
}

TEST(HfConfig, ReadsEveryField) {
  const ModelConfig config = parse_hf_config(read_text(golden("llama3_rope/config.json")), "config.json");
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.vocab_size, 256);
  EXPECT_EQ(config.hidden_size, 48);
  EXPECT_EQ(config.intermediate_size, 40);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.heads, 4);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 12);
  EXPECT_EQ(config.context_length, 128);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_TRUE(config.tied_embeddings);
  EXPECT_EQ(config.rope.kind, RopeKind::llama3);
  EXPECT_EQ(config.rope.theta, 500000.0);
  EXPECT_EQ(config.rope.factor, 8.0);
  EXPECT_EQ(config.rope.original_context_length, 16);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(config.stored_dtype, DType::f32);
}

TEST(HfConfig, FamiliesDifferInBiasesAndHeadDim) {
  const ModelConfig qwen2 = parse(base_config("qwen2")), qwen3 = parse(base_config("qwen3"));
  EXPECT_TRUE(qwen2.attention_bias);
  EXPECT_FALSE(qwen2.attention_output_bias);
  EXPECT_EQ(qwen2.head_dim, 12);
  EXPECT_EQ(qwen3.head_dim, 16);
  EXPECT_FALSE(qwen3.attention_bias);
  json llama = base_config("llama");
  llama["attention_bias"] = true;
  EXPECT_TRUE(parse(llama).attention_output_bias);
}

TEST(HfConfig, EosMayBeAListAndIdsMayBeNull) {
  json object = base_config("llama");
  object["eos_token_id"] = {2, 7};
  object["bos_token_id"] = nullptr;
  object["pad_token_id"] = -1;
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{2, 7}));
  EXPECT_FALSE(config.bos_token_id);
  EXPECT_FALSE(config.pad_token_id);
  EXPECT_EQ(config, parse_hf_config(write_hf_config(config, DType::f32), "written"));
}

TEST(HfConfig, AbsentKeysMeanWhatTransformersTakesThemFor) {
  json object = base_config("llama");
  for (const char* key :
       {"num_key_value_heads", "head_dim", "rms_norm_eps", "bos_token_id", "rope_parameters", "dtype"}) {
    object.erase(key);
  }
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 12);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.rope.theta, 10000.0);
}

TEST(HfConfig, MistralSlidesInAllLayers) {
  json object = base_config("mistral");
  ModelConfig config = parse(object);
  EXPECT_EQ(config.sliding_window, 8);
  EXPECT_EQ(config.window_of_layer(0), 8);
  EXPECT_EQ(config.window_of_layer(1), 8);
  object["sliding_window"] = nullptr;
  EXPECT_EQ(parse(object).window_of_layer(0), 0);
  object.erase("sliding_window");
  EXPECT_EQ(parse(object).window_of_layer(0), 4096);
}

TEST(HfConfig, QwenSlidesOnlyWhereAskedTo) {
  json object = base_config("qwen3");
  object["sliding_window"] = 16;
  object["max_window_layers"] = 1;
  object.erase("layer_types");
  EXPECT_EQ(parse(object).window_of_layer(1), 0) << "use_sliding_window is false";
  object["use_sliding_window"] = true;
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.window_of_layer(0), 0);
  EXPECT_EQ(config.window_of_layer(1), 16);
  EXPECT_EQ(config, parse_hf_config(write_hf_config(config, DType::f32), "written"));
  object["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(parse(object).window_of_layer(0), 16);
  EXPECT_EQ(parse(object).window_of_layer(1), 0);
  object["use_sliding_window"] = false;
  EXPECT_NE(parse_error(object.dump()).find("layer_types"), std::string::npos);
}

TEST(HfConfig, ReadsLongrope) {
  json object = base_config("llama");
  object["rope_parameters"] = {{"rope_type", "longrope"},
                               {"rope_theta", 10000.0},
                               {"original_max_position_embeddings", 32},
                               {"short_factor", {1, 1, 1, 1, 1, 1}},
                               {"long_factor", {1, 1.5, 2, 3, 4, 5}}};
  const ModelConfig config = parse(object);
  EXPECT_EQ(config.rope.kind, RopeKind::longrope);
  EXPECT_EQ(config.rope.factor, 4.0) << "context_length / original";
  EXPECT_EQ(config.rope.long_factor[1], 1.5);
  EXPECT_EQ(config, parse_hf_config(write_hf_config(config, DType::f32), "written"));
  object["rope_parameters"]["long_factor"].push_back(6);
  EXPECT_NE(parse_error(object.dump()).find("long_factor"), std::string::npos);
}

// As transformers 5.23 reads them; models with such files were computed beside it.
TEST(HfConfig, KeysCountWhereTransformersReadsThem) {
  json neox = base_config("gpt_neox");
  neox.erase("rope_parameters");
  neox["rope_theta"] = 500.0;
  neox["partial_rotary_factor"] = 0.5;
  EXPECT_EQ(parse(neox).rope.theta, 10000.0);
  EXPECT_EQ(parse(neox).rope.partial_rotary_factor, 0.25);
  neox["rotary_emb_base"] = 700.0;
  neox["rotary_pct"] = 1.0;
  EXPECT_EQ(parse(neox).rope.theta, 700.0);
  EXPECT_EQ(parse(neox).rope.partial_rotary_factor, 1.0);

  json gemma3 = base_config("gemma3_text");
  gemma3.erase("layer_types");
  gemma3["_sliding_window_pattern"] = 2;
  gemma3["attn_logit_softcapping"] = 5.0;
  EXPECT_EQ(parse(gemma3).attention_softcap, 0.0);
  EXPECT_EQ(parse(gemma3).layer_slides, std::vector<bool>(3, true));
  gemma3["sliding_window_pattern"] = 2;
  EXPECT_EQ(parse(gemma3).layer_slides, (std::vector<bool>{true, false, true}));

  json phi3 = base_config("phi3");
  phi3.erase("rope_parameters");
  const json divisors = std::vector<double>(6, 2.0);
  phi3["rope_scaling"] = {{"type", "yarn"}, {"short_factor", divisors}, {"long_factor", divisors}};
  EXPECT_EQ(parse(phi3).rope.kind, RopeKind::longrope);
  phi3["rope_scaling"]["type"] = "su";
  EXPECT_EQ(parse(phi3).rope.kind, RopeKind::longrope);
}

TEST(HfConfig, RefusesSwitchesThatWouldBePassedOver) {
  const auto refusal = [](const char* model, const json& changes) {
    json object = base_config(model);
    object.erase("rope_parameters");
    object.update(changes);
    return parse_error(object.dump());
  };
  EXPECT_NE(refusal("llama", {{"partial_rotary_factor", 0.5}}).find("partial_rotary_factor is 0.5"), std::string::npos);
  EXPECT_EQ(refusal("llama", {{"partial_rotary_factor", 1.0}}), "");
  EXPECT_NE(refusal("phi", {{"partial_rotary_factor", 0.45}}).find("partial_rotary_factor"), std::string::npos);
  EXPECT_NE(refusal("mistral", {{"layer_types", {"full_attention", "sliding_attention"}}}).find("layer_types"),
            std::string::npos);
  EXPECT_NE(refusal("starcoder2", {{"head_dim", 8}}).find("head_dim"), std::string::npos);
  EXPECT_NE(refusal("bloom", {{"slow_but_exact", true}, {"pretraining_tp", 2}}).find("slow_but_exact"),
            std::string::npos);
  EXPECT_EQ(refusal("bloom", {{"slow_but_exact", true}}), "");
  // Only the part of a head that rotates must be even.
  EXPECT_EQ(refusal("deepseek_v3", {{"qk_nope_head_dim", 11}}), "");
}

TEST(HfConfig, FrequencyDivisorsOfLlama3AreRecognised) {
  ModelConfig config = parse(base_config("llama"));
  config.head_dim = 64;
  config.context_length = 131072;
  RopeConfig llama3;
  llama3.kind = RopeKind::llama3;
  llama3.theta = 5e5;
  llama3.factor = 32.0;
  llama3.original_context_length = 8192;
  config.rope.theta = 5e5;
  config.rope.frequency_divisors = llama3_frequency_divisors(llama3, 64);
  EXPECT_EQ(config.rope.frequency_divisors.front(), 1.0);
  EXPECT_EQ(config.rope.frequency_divisors.back(), 32.0);
  EXPECT_EQ(parse_hf_config(write_hf_config(config, DType::f32), "written").rope, llama3);

  config.rope.frequency_divisors[3] = 1.25;
  const RopeConfig other = parse_hf_config(write_hf_config(config, DType::f32), "written").rope;
  EXPECT_EQ(other.kind, RopeKind::longrope);
  EXPECT_EQ(other.short_factor, config.rope.frequency_divisors);
  EXPECT_EQ(other.long_factor, config.rope.frequency_divisors);
  EXPECT_EQ(other.attention_factor, 1.0);
}

TEST(HfConfig, NamesTheKnownArchitectures) {
  const std::string message = parse_error(R"({"model_type": "mamba"})");
  EXPECT_NE(message.find("mamba"), std::string::npos);
  try {
    parse_hf_config(R"({"model_type": "mamba"})", "config.json");
    FAIL();
  } catch (const Error& error) {
    for (const char* known : {"llama", "mistral", "qwen2", "qwen3"}) {
      EXPECT_NE(error.way_out().find(known), std::string::npos);
    }
  }
}

TEST(HfConfig, RefusesBrokenValues) {
  EXPECT_NE(parse_error("{"), "");
  EXPECT_NE(parse_error("[1]"), "");
  EXPECT_NE(parse_error(std::string(100000, '[')), "");
  const auto broken = [](const char* key, const json& value) {
    json object = base_config("qwen3");
    object[key] = value;
    return parse_error(object.dump());
  };
  EXPECT_NE(broken("hidden_size", 0).find("hidden_size"), std::string::npos);
  EXPECT_NE(broken("hidden_size", "48").find("hidden_size"), std::string::npos);
  EXPECT_NE(broken("hidden_size", 1e30).find("hidden_size"), std::string::npos);
  EXPECT_NE(broken("num_hidden_layers", int64_t{1} << 40).find("num_hidden_layers"), std::string::npos);
  EXPECT_NE(broken("num_key_value_heads", 3).find("num_key_value_heads"), std::string::npos);
  EXPECT_NE(broken("head_dim", 15).find("head_dim"), std::string::npos);
  EXPECT_NE(broken("rms_norm_eps", nullptr), "nothing") << "null is absent";
  EXPECT_NE(broken("rope_parameters", {{"rope_type", "spiral"}}).find("spiral"), std::string::npos);
  EXPECT_NE(broken("rope_parameters", {{"rope_type", "linear"}}).find("factor"), std::string::npos);
  EXPECT_NE(broken("rope_parameters", 3).find("rope_parameters"), std::string::npos);
  EXPECT_NE(broken("dtype", "float4").find("float4"), std::string::npos);
  EXPECT_NE(broken("eos_token_id", {1, "x"}).find("eos_token_id"), std::string::npos);
  EXPECT_NE(broken("quantization_config", {{"quant_method", "gptq"}}).find("quantization_config"), std::string::npos);
  EXPECT_NE(broken("layer_types", {"full_attention"}).find("layer_types"), std::string::npos);
}

}  // namespace
}  // namespace plimsoll
