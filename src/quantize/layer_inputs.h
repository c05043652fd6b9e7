// Which linears of a piece see the same values, and what may be scaled in front of them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "formats/packed/packed_weight.h"
#include "quantize/forward_pieces.h"

namespace plimsoll {

struct SharedInput {
  ValueId input = kNoValue;          // in the piece's graph
  int64_t size = 0;                  // K
  std::vector<std::string> weights;  // of the linears that read it, (rows, K)
  // Where a factor of the input's columns can be taken back: divide `vectors` (weights and biases of a norm, or a bias)
  // and the rows of `matrix` by it. Column j of the input is entry places[j] there. Empty `places`: nowhere.
  std::vector<std::string> vectors;
  std::string matrix;
  float weight_offset = 0;  // of a norm that multiplies by offset + weight; on vectors[0]
  std::vector<int32_t> places;
};

// In the order in which the piece computes them. `formats`: the weights that are quantized.
std::vector<SharedInput> find_shared_inputs(const ForwardPiece& piece,
                                            const std::map<std::string, PackedFormat>& formats);

}  // namespace plimsoll
