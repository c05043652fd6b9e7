#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/arguments/result_target.h"
#include "cli/commands.h"
#include "cli/inspect/inspect_report.h"
#include "cli/text/output.h"
#include "cli/text/progress.h"
#include "config/model_catalog.h"
#include "data/chat_template.h"
#include "data/model_text.h"
#include "formats/output_file.h"
#include "formats/text_file.h"
#include "hub/model_source.h"
#include "models/model_folder.h"
#include "models/new_model.h"

namespace plimsoll::cli {
namespace {

struct NewOptions {
  std::string arch, like, tokenizer, chat_template, out, tied, type = "f32";
  int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, intermediate = 0, vocab = 0, context = 0;
  int64_t seed = 0;
  bool json = false;
};

std::optional<int64_t> given(int64_t value) { return value > 0 ? std::optional(value) : std::nullopt; }

// The smallest model of a family in the catalogue, whose settings other than sizes are the family's usual ones.
const CatalogModel& smallest_of(const std::string& family) {
  const CatalogModel* smallest = nullptr;
  int64_t least = 0;
  const std::string type = "\"model_type\": \"" + family + "\"";
  for (const CatalogModel& model : catalog_models()) {
    if (model.config.find(type) == std::string_view::npos) continue;  // before it is parsed: there are many
    const int64_t total = count_parameters(list_parameters(parse_hf_config(model.config, model.name))).total;
    if (smallest == nullptr || total < least) smallest = &model, least = total;
  }
  if (smallest == nullptr)
    throw caller_error("--arch", "'" + one_line(family, 40) + "' is no family of the catalogue",
                       fmt::format("give one of: {}", fmt::join(known_architectures(), ", ")));
  return *smallest;
}

struct Base {
  std::string name, config;
};

Base base_of(const NewOptions& options) {
  if (options.arch.empty() == options.like.empty())
    throw caller_error("plimsoll new", "takes one of --arch and --like", "for example --arch llama");
  if (!options.arch.empty()) {
    const CatalogModel& model = smallest_of(options.arch);
    return {std::string(model.name), std::string(model.config)};
  }
  if (const CatalogModel* model = find_catalog_model(options.like); model != nullptr && !folder_exists(options.like))
    return {std::string(model->name), std::string(model->config)};
  const ModelFiles files = open_model_source(options.like, ModelNeed::config);
  return {options.like, write_hf_config(files.config, files.config.stored_dtype)};
}

ModelConfig new_config(const NewOptions& options, const Base& base, const Tokenizer* tokenizer) {
  ModelSizes sizes = {given(options.layers),   given(options.hidden),   given(options.heads),
                      given(options.kv_heads), given(options.head_dim), given(options.intermediate),
                      given(options.vocab),    given(options.context),  std::nullopt};
  if (!options.tied.empty()) {
    if (options.tied != "on" && options.tied != "off")
      throw caller_error("--tied", "'" + one_line(options.tied, 40) + "' is not on or off", "for example --tied on");
    sizes.tied = options.tied == "on";
  }
  if (tokenizer != nullptr) {
    if (sizes.vocab && *sizes.vocab < tokenizer->vocab_size())
      throw caller_error(
          "--vocab", fmt::format("{} is less than the tokenizer's {} tokens", *sizes.vocab, tokenizer->vocab_size()),
          "leave it out to take the tokenizer's");
    if (!sizes.vocab) sizes.vocab = tokenizer->vocab_size();
  }
  ModelConfig config = parse_hf_config(resize_config(base.config, base.name, sizes), "the new model's config.json");
  if (tokenizer != nullptr) {
    const auto id = [](int32_t value) { return value < 0 ? std::nullopt : std::optional<int64_t>(value); };
    const SpecialIds& special = tokenizer->special_ids();
    config.bos_token_id = id(special.bos);
    config.pad_token_id = id(special.pad);
    config.eos_token_ids.clear();
    if (special.eos >= 0) config.eos_token_ids.push_back(special.eos);
  }
  return config;
}

// ChatML: every turn between two tokens of its own, its role in the first line. What the assistant says is marked.
constexpr std::string_view kChatMl =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

std::string chat_template_of(const NewOptions& options, const Tokenizer* tokenizer) {
  if (options.chat_template.empty()) return "";
  const bool chatml = options.chat_template == "chatml";
  std::string text = chatml ? std::string(kChatMl) : read_text_file(options.chat_template);
  (void)ChatTemplate(text);  // a caller Error for what is no template
  if (chatml && tokenizer != nullptr && tokenizer->encode("<|im_start|>", false).size() != 1)
    log_note("the tokenizer has no token <|im_start|>: train it with --special '<|im_start|>' --special '<|im_end|>'");
  return text;
}

std::string summary(const ModelConfig& config, const Base& base, const ParameterCounts& counts, DType type) {
  return fmt::format(
      "{}, {} layers, hidden {}, {} heads ({} of keys and values), MLP {}, vocabulary {}; the rest as {}\n"
      "{} parameters: embedding {}, attention {}, MLP {}, norms {}, head {}\n{} bytes in {}\n",
      config.architecture, config.layers, config.hidden_size, config.heads, config.kv_heads, config.intermediate_size,
      format_thousands(config.vocab_size), base.name, format_thousands(counts.total),
      format_thousands(counts.embedding), format_thousands(counts.attention), format_thousands(counts.mlp),
      format_thousands(counts.norm), format_thousands(counts.head), format_thousands(dtype_bytes(type, counts.total)),
      dtype_name(type));
}

int run_new(const NewOptions& options) {
  const DType type = options.type == "bf16" ? DType::bf16 : options.type == "f16" ? DType::f16 : DType::f32;
  if (options.type != dtype_name(type))
    throw caller_error("--type", "'" + one_line(options.type, 40) + "' is not f32, bf16 or f16",
                       "for example --type bf16");
  require_no_result(options.out, {"config.json", "model.safetensors"});
  require_folder_place(options.out);
  const Base base = base_of(options);
  std::optional<Tokenizer> tokenizer;
  TextFiles texts;
  if (!options.tokenizer.empty()) {
    texts = find_text_files(options.tokenizer);
    tokenizer = load_model_tokenizer(texts);
    if (texts.gguf)
      throw caller_error("--tokenizer", options.tokenizer + " is a GGUF file",
                         "give a folder that has a tokenizer.json");
  }
  const std::string chat_template = chat_template_of(options, tokenizer ? &*tokenizer : nullptr);
  const ModelConfig config = new_config(options, base, tokenizer ? &*tokenizer : nullptr);
  const ParameterCounts counts = count_parameters(list_parameters(config));
  if (!options.json) write_page(summary(config, base, counts, type));

  NewFolder folder(options.out);
  write_random_weights(config, type, static_cast<uint64_t>(options.seed), options.out, [](int64_t) {});
  if (!chat_template.empty()) write_file_atomically(options.out + "/chat_template.jinja", chat_template);
  for (const std::string& path : {texts.tokenizer_file, texts.tokenizer_config_json, texts.chat_template_jinja})
    if (!path.empty() && (chat_template.empty() || path != texts.chat_template_jinja))
      write_file_atomically(options.out + "/" + std::filesystem::path(path).filename().string(), read_text_file(path));
  write_file_atomically(options.out + "/config.json", write_hf_config(config, type));  // last: now it is a model
  folder.keep();
  if (options.json)
    write_json({{"output", options.out},
                {"architecture", config.architecture},
                {"like", base.name},
                {"parameters", counts.total},
                {"bytes", dtype_bytes(type, counts.total)},
                {"seed", options.seed}});
  else write_result(options.out + "\n");
  return 0;
}

}  // namespace

Command new_command() {
  auto options = std::make_shared<NewOptions>();
  // As far as a config.json may go.
  const auto size = [](std::string_view name, std::string_view help, int64_t& target, double most = 1 << 22) {
    return Argument{.name = name, .value_name = "N", .help = help, .target = &target, .min = 1, .max = most};
  };
  return {
      .name = "new",
      .summary = "a model of random weights, to be trained from scratch",
      .examples = {"plimsoll new --arch llama --layers 6 --hidden 256 --heads 8 --tokenizer tokenizer/ --out model/",
                   "plimsoll new --like smollm2-135m --layers 12 --vocab 8192 --type bf16 --seed 7 --out model/"},
      .arguments =
          {{.name = "--arch",
            .value_name = "NAME",
            .help = "family: llama, qwen3, gpt2, …; what is not said is as in its smallest model of the catalogue",
            .target = &options->arch},
           {.name = "--like",
            .value_name = "MODEL",
            .help = "instead: a model, or a name of the catalogue, whose settings are kept",
            .target = &options->like},
           size("--layers", "decoder layers", options->layers, 4096),
           size("--hidden", "width of the residual", options->hidden),
           size("--heads", "attention heads", options->heads),
           size("--kv-heads", "heads of keys and values", options->kv_heads),
           size("--head-dim", "width of a head [hidden / heads]", options->head_dim),
           size("--intermediate", "width of the MLP [in proportion to hidden]", options->intermediate),
           size("--vocab", "tokens [the tokenizer's]", options->vocab, 1 << 28),
           size("--context", "longest text in tokens", options->context, 1 << 30),
           {.name = "--tied",
            .value_name = "on|off",
            .help = "does the head use the embedding's weights",
            .target = &options->tied},
           {.name = "--tokenizer",
            .value_name = "DIR",
            .help = "a tokenizer to go with the model",
            .target = &options->tokenizer},
           {.name = "--chat-template",
            .value_name = "chatml|FILE",
            .help = "how a chat becomes text: ChatML, or a Jinja template [the tokenizer's]",
            .target = &options->chat_template},
           {.name = "--type", .value_name = "TYPE", .help = "f32, bf16 or f16 [f32]", .target = &options->type},
           {.name = "--seed", .value_name = "N", .help = "of the weights [0]", .target = &options->seed, .min = 0},
           {.name = "--out",
            .value_name = "DIR",
            .help = "the model's folder; must not hold a model yet",
            .target = &options->out,
            .required = true}},
      .json = &options->json,
      .run = [options] { return run_new(*options); }};
}

}  // namespace plimsoll::cli
