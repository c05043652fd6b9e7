#include "backend/cpu/cpu_adapters.h"
#include "base/error.h"

namespace plimsoll::cpu_adapters {

void lay_out_tensor(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.host != nullptr, "streaming needs host services");
  c.state.host->lay_out(c.op.attributes<TransferAttrs>().tensor,
                        {c.operands[0], static_cast<size_t>(c.operand(0).bytes())});
}

void offload_tensor(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.host != nullptr, "streaming needs host services");
  c.state.host->offload(c.op.attributes<TransferAttrs>().tensor,
                        {c.operands[0], static_cast<size_t>(c.operand(0).bytes())});
}

void prefetch_tensor(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.host != nullptr, "streaming needs host services");
  c.state.host->prefetch(c.op.attributes<TransferAttrs>().tensor,
                         {c.results[0], static_cast<size_t>(c.result(0).bytes())});
}

void await_tensors(const KernelContext& c) {
  PLIMSOLL_CHECK(c.state.host != nullptr, "streaming needs host services");
  for (const std::byte* out : c.operands) c.state.host->await(out);
}

}  // namespace plimsoll::cpu_adapters
