#include "train/probe.h"

#include <fmt/format.h>

#include <memory>

#include "base/error.h"
#include "base/text.h"
#include "cli/arguments/common_arguments.h"
#include "cli/commands.h"
#include "cli/text/output.h"

namespace plimsoll::cli {
namespace {

struct ProbeCommandOptions {
  ProbeOptions probe;
  std::string precision = "fp32";
  bool json = false;
};

int run_probe_command(ProbeCommandOptions options) {
  if (options.precision != "fp32" && options.precision != "bf16")
    throw caller_error("--precision", fmt::format("'{}' is not fp32 or bf16", one_line(options.precision, 40)),
                       "give --precision fp32 or --precision bf16");
  options.probe.precision = options.precision == "fp32" ? DType::f32 : DType::bf16;
  const ProbeReport report = run_probe(options.probe);
  if (options.json) {
    write_json(Json{{"loss", report.loss ? Json(*report.loss) : Json()}, {"output", options.probe.out}});
  } else {
    write_result((report.loss ? fmt::format("loss {:.6f}\n", *report.loss) : std::string()) + options.probe.out + "\n");
  }
  return 0;
}

}  // namespace

Command probe_command() {
  auto options = std::make_shared<ProbeCommandOptions>();
  ProbeOptions& probe = options->probe;
  return {.name = "probe",
          .summary = "one forward and backward on given tensors, to compare with other engines",
          .examples = {"plimsoll probe model/ --batch batch.safetensors --out out.safetensors",
                       "plimsoll probe model/ --batch batch.safetensors --out out.safetensors --gradients --adapter "
                       "run/adapter --precision bf16"},
          .arguments = {model_argument(probe.model),
                        {.name = "--batch",
                         .value_name = "FILE",
                         .help = "safetensors with input_ids, and perhaps labels, attention_mask, position_ids",
                         .target = &probe.batch,
                         .required = true},
                        {.name = "--out",
                         .value_name = "FILE",
                         .help = "safetensors to write: logits, loss, and grad.NAME",
                         .target = &probe.out,
                         .required = true},
                        {.name = "--gradients",
                         .value_name = "",
                         .help = "backward too; with an adapter, its gradients",
                         .target = &probe.gradients},
                        adapter_argument(probe.adapter),
                        {.name = "--precision",
                         .value_name = "fp32|bf16",
                         .help = "compute in [fp32]",
                         .target = &options->precision},
                        quant_argument(probe.quant)},
          .json = &options->json,
          .run = [options] { return run_probe_command(*options); }};
}

}  // namespace plimsoll::cli
