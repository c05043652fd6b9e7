// The points of the lattices that the iq1, iq2 and iq3 types of GGUF choose from: facts of the formats (ggml-common.h
// of ggml), here as packed digits. Digit i of an entry stands for element i of a group: two bits for one of three
// magnitudes (iq2, iq1), three bits for one of eight (iq3).
#pragma once

#include <array>
#include <cstdint>

namespace plimsoll::ggml {

extern const std::array<uint16_t, 256> kIq2Xxs;
extern const std::array<uint16_t, 512> kIq2Xs;
extern const std::array<uint16_t, 1024> kIq2S;
extern const std::array<uint16_t, 256> kIq3Xxs;
extern const std::array<uint16_t, 512> kIq3S;
extern const std::array<uint16_t, 2048> kIq1;

}  // namespace plimsoll::ggml
