// One op under test: its operands, its attributes, and what it must compute, in double.
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace plimsoll {

using Numbers = std::vector<double>;

// The place of a number in rows of `width`.
inline size_t at(int64_t row, int64_t width, int64_t column) { return static_cast<size_t>(row * width + column); }

struct OpOperand {
  enum class Role {
    input,       // differentiated, comes from an op before
    f32_input,   // the same, but always f32
    weight,      // differentiated, a trained parameter with an accumulator
    f32_weight,  // the same, but always f32
    fixed,       // a float that is not differentiated, always f32
    integers,    // i32
    absent       // an optional operand that is left out
  };
  std::string name;
  Shape shape;
  Role role = Role::input;
  Numbers values;  // empty: random
};

struct OpCase {
  std::string name;
  OpKind kind;
  OpAttrs attrs;
  std::vector<OpOperand> operands;
  std::function<Numbers(const std::vector<Numbers>& operands)> reference;  // the first `results`, one after another
  double tolerance = 5e-6;                                                 // f32, of the largest value
  double bf16_tolerance = 2e-2;                                            // of the largest value
  bool has_gradient = true;
  int results = 1;             // how many of the op's results are checked
  bool sums_gradients = true;  // adds onto what has reached the operand already
};

std::vector<OpCase> op_cases();
std::vector<OpCase> linear_cases();
std::vector<OpCase> attention_cases();
std::vector<OpCase> mixture_cases();

}  // namespace plimsoll
