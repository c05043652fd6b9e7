// Frozen weights in few bits: their values change type, the ops that read them unpack tiles as they go
// (quant/packed_matrix.h). Comes first, before adapters: what is trained keeps its type. With adapters this is QLoRA,
// Dettmers et al. 2023, arXiv:2305.14314.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>

#include "ir/graph.h"

namespace plimsoll {

struct PackedFormats {
  // Of every linear layer but the head, as bitsandbytes takes them, and of experts that are matrices of their own.
  std::optional<DType> linears;
  std::unordered_map<std::string, DType> stored;  // by name: what the file holds; heads and embeddings too

  bool none() const { return !linears && stored.empty(); }
};

// A matrix that some op reads otherwise (experts in one tensor) stays as it is, and so does a stored one that has no
// whole blocks in a row. Throws a caller Error for a linear layer that cannot be packed as `linears`.
void quantize(Graph& graph, const PackedFormats& formats);

}  // namespace plimsoll
