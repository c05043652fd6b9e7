// What starts a run on a cluster: Slurm, Kubernetes, SkyPilot. They start torchrun; what it runs is the user's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "handover/handover_text.h"

namespace plimsoll::handover {
namespace {

// With a quarter more than predicted, in whole hours; Slurm ends the job then.
std::string time_limit(const HandoverPlan& plan) {
  if (plan.hours <= 0) return "";
  return fmt::format("# predicted: {:.1f} h\n#SBATCH --time={}:00:00\n", plan.hours,
                     static_cast<int64_t>(std::ceil(1.25 * plan.hours)));
}

// SkyPilot's names (common/accelerators.csv of its catalogue).
constexpr std::pair<std::string_view, std::string_view> kAccelerators[] = {
    {"t4", "T4"},
    {"v100-16g", "V100"},
    {"v100-32g", "V100-32GB"},
    {"a10", "A10"},
    {"a10g", "A10G"},
    {"a100-40g", "A100"},
    {"a100-80g", "A100-80GB"},
    {"a6000", "RTXA6000"},
    {"l4", "L4"},
    {"l40s", "L40S"},
    {"rtx3090", "RTX3090"},
    {"rtx4090", "RTX4090"},
    {"rtx5090", "RTX5090"},
    {"rtx6000-ada", "RTX6000-Ada"},
    {"rtx-pro-6000", "RTXPRO6000"},
    {"h100-80g", "H100"},
    {"h100-80g-pcie", "H100"},
    {"h200", "H200"},
    {"b200", "B200"},
    {"gb200", "GB200"},
    {"mi300x", "MI300X"},
};

}  // namespace

std::string slurm(const HandoverPlan& plan) {
  require_even_nodes(plan, "slurm");
  return fmt::format(
      "#!/bin/bash\n# sbatch this train.py …\n#SBATCH --job-name=plimsoll\n#SBATCH --nodes={0}\n"
      "#SBATCH --ntasks-per-node=1\n#SBATCH --gpus-per-node={1}\n#SBATCH --exclusive\n{2}set -euo pipefail\n"
      "head=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1)\n"
      "srun torchrun --nnodes={0} --nproc-per-node={1} --rdzv-id=\"$SLURM_JOB_ID\" --rdzv-backend=c10d \\\n"
      "  --rdzv-endpoint=\"$head:29500\" \"$@\"\n",
      plan.nodes(), plan.per_node(), time_limit(plan));
}

std::string kubernetes(const HandoverPlan& plan) {
  require_even_nodes(plan, "kubernetes");
  const bool several = plan.nodes() > 1;
  std::string text;
  if (several)  // gives the pods of the job names that the others find
    text +=
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: plimsoll\nspec:\n  clusterIP: None\n"
        "  selector:\n    batch.kubernetes.io/job-name: plimsoll\n---\n";
  text += fmt::format(
      "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: plimsoll\nspec:\n  completions: {0}\n  parallelism: {0}\n"
      "  completionMode: Indexed\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n{1}"
      "      containers:\n        - name: train\n          image: your-image  # yours\n",
      plan.nodes(), several ? "      subdomain: plimsoll\n" : "");
  text += several ? fmt::format(
                        "          command: [\"torchrun\", \"--nnodes={}\", \"--nproc-per-node={}\", "
                        "\"--node-rank=$(JOB_COMPLETION_INDEX)\", \"--master-addr=plimsoll-0.plimsoll\", "
                        "\"--master-port=29500\", \"train.py\"]\n          env:\n            - name: "
                        "JOB_COMPLETION_INDEX\n              valueFrom:\n                fieldRef:\n                  "
                        "fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']\n",
                        plan.nodes(), plan.per_node())
                  : fmt::format(
                        "          command: [\"torchrun\", \"--standalone\", \"--nproc-per-node={}\", \"train.py\"]\n",
                        plan.per_node());
  // Processes of a node talk through shared memory, of which a pod has 64 MiB unless it asks for more.
  return text + fmt::format(
                    "          resources:\n            limits:\n              {}: \"{}\"\n          volumeMounts:\n"
                    "            - name: shared-memory\n              mountPath: /dev/shm\n      volumes:\n"
                    "        - name: shared-memory\n          emptyDir:\n            medium: Memory\n",
                    plan.device.starts_with("mi") ? "amd.com/gpu" : "nvidia.com/gpu", plan.per_node());
}

std::string skypilot(const HandoverPlan& plan) {
  require_even_nodes(plan, "skypilot");
  const auto* const accelerator = std::find_if(std::begin(kAccelerators), std::end(kAccelerators),
                                               [&](const auto& each) { return each.first == plan.device; });
  if (accelerator == std::end(kAccelerators))
    refuse("skypilot", "its clouds have no accelerator for " + plan.device, "--to slurm or kubernetes");
  return fmt::format(
      "name: plimsoll\nnum_nodes: {0}\nresources:\n  accelerators: {1}:{2}\nrun: |\n"
      "  head=$(echo \"$SKYPILOT_NODE_IPS\" | head -n 1)\n"
      "  torchrun --nnodes={0} --nproc-per-node={2} --node-rank=$SKYPILOT_NODE_RANK \\\n"
      "    --master-addr=$head --master-port=29500 train.py\n",
      plan.nodes(), accelerator->second, plan.per_node());
}

}  // namespace plimsoll::handover
