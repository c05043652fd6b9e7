#include "backend/cpu/simd/elementwise_targets.h"

// The order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer/adafactor.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "backend/cpu/simd/elementwise_simd-inl.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cmath>

#include "backend/cpu/optimizer/adafactor.h"
#include "base/bytes.h"

HWY_BEFORE_NAMESPACE();
namespace plimsoll::cpu::HWY_NAMESPACE {

constexpr float kTiny = 1e-30F;  // of a squared gradient, against division by zero

// Σ (clip g)² + tiny of one row; `columns` gets each term added.
float add_squares(const float* gradient, float clip, float* columns, int64_t n) {
  const Floats d;
  const auto c = hn::Set(d, clip), tiny = hn::Set(d, kTiny);
  auto sum = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto g = hn::Mul(c, lane.get(gradient + i));
    const auto square = hn::MulAdd(g, g, tiny);
    lane.put(hn::Add(lane.get(columns + i), square), columns + i);
    // Lanes behind the end read as zero, and so add `tiny`, which no sum of others can see.
    sum = hn::Add(sum, square);
  });
  return sum_of_lanes(sum);
}

// average = keep · average + rest · sum / terms; inverse = 1 / sqrt(average).
void blend_means(const float* sums, float terms, float keep, float rest, float* average, float* inverse, int64_t n) {
  const Floats d;
  const auto k = hn::Set(d, keep), r = hn::Set(d, rest), count = hn::Set(d, terms), one = hn::Set(d, 1.0F);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto mean = hn::Div(lane.get(sums + i), count);
    const auto value = hn::MulAdd(r, mean, hn::Mul(k, lane.get(average + i)));
    lane.put(value, average + i);
    lane.put(hn::Div(one, hn::Sqrt(value)), inverse + i);
  });
}

// update = row · columns · clip · gradient; returns Σ update².
double make_update(const float* gradient, float clip, float row, const float* columns, float* update, int64_t n) {
  const Floats d;
  const auto c = hn::Set(d, clip), r = hn::Set(d, row);
  auto sum = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto u = hn::Mul(hn::Mul(r, lane.get(columns + i)), hn::Mul(c, lane.get(gradient + i)));
    lane.put(u, update + i);
    sum = hn::MulAdd(u, u, sum);
  });
  return static_cast<double>(sum_of_lanes(sum));
}

// weights = weights · decay - rate · update
void apply_update(const float* update, float rate, float decay, float* weights, int64_t n) {
  const Floats d;
  const auto r = hn::Set(d, rate), k = hn::Set(d, decay);
  for_vectors(n, [&](int64_t i, auto lane) {
    lane.put(hn::NegMulAdd(r, lane.get(update + i), hn::Mul(k, lane.get(weights + i))), weights + i);
  });
}

double sum_squares_f32(const float* values, int64_t n) {
  const Floats d;
  auto sum = hn::Zero(d);
  for_vectors(n, [&](int64_t i, auto lane) {
    const auto v = lane.get(values + i);
    sum = hn::MulAdd(v, v, sum);
  });
  return static_cast<double>(sum_of_lanes(sum));
}

}  // namespace plimsoll::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace plimsoll::cpu {
HWY_EXPORT(add_squares);
HWY_EXPORT(blend_means);
HWY_EXPORT(make_update);
HWY_EXPORT(apply_update);
HWY_EXPORT(sum_squares_f32);

namespace {

constexpr int64_t kMostTiles = 64;    // of a matrix; each has a row of column sums in the workspace
constexpr int64_t kLeastRows = 16;    // of a tile
constexpr int64_t kPiece = 2048;      // values that are updated at once, on the stack
constexpr double kDecayRate = -0.8;   // of the averages
constexpr double kClipThreshold = 1;  // of the update's root mean square
constexpr double kLeastScale = 1e-3;  // of the weights' root mean square

// A tensor as `matrices` of rows × columns; a vector is one row, whose averages are kept in full.
struct Cut {
  bool factored = false;
  int64_t matrices = 1, rows = 1, columns = 1, tiles = 1, tile_rows = 1;  // tiles: of a matrix
};

Cut cut_of(const Shape& shape) {
  Cut cut;
  cut.factored = shape.rank() >= 2;
  cut.columns = shape[-1];
  if (!cut.factored) return cut;
  cut.rows = shape[-2];
  cut.matrices = cut.rows * cut.columns > 0 ? shape.elements() / (cut.rows * cut.columns) : 0;
  cut.tiles = std::clamp<int64_t>(ceil_div(cut.rows, kLeastRows), 1, kMostTiles);
  cut.tile_rows = ceil_div(cut.rows, cut.tiles);
  return cut;
}

struct Workspace {
  double* squares;    // of each tile
  double* row_means;  // of each matrix
  float* factors;     // 1 / sqrt of each column's average
  float* sums;        // of the columns, of each tile of one matrix
};

Workspace workspace_of(const Cut& cut, void* workspace) {
  Workspace w{};
  w.squares = static_cast<double*>(workspace);
  w.row_means = w.squares + cut.matrices * cut.tiles;
  w.factors = reinterpret_cast<float*>(w.row_means + cut.matrices);
  w.sums = w.factors + cut.matrices * cut.columns;
  return w;
}

double sum_in_order(const double* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += values[i];
  return sum;
}

class Step {
 public:
  Step(ThreadPool& pool, const OptimizerScalars& scalars, const Shape& shape, const OptimizerTensor& tensor,
       const AdafactorState& state, void* workspace)
      : pool_(pool), s_(scalars), cut_(cut_of(shape)), t_(tensor), state_(state), w_(workspace_of(cut_, workspace)) {
    const double keep = 1.0 - std::pow(static_cast<double>(s_.step), kDecayRate);
    keep_ = static_cast<float>(keep);
    rest_ = static_cast<float>(1.0 - keep);
  }

  void run(bool scale_parameter) {
    double rate = s_.lr;
    if (scale_parameter) rate *= std::max(kLeastScale, root_mean_of(sum_weights()));
    for (int64_t matrix = 0; matrix < cut_.matrices; ++matrix)
      cut_.factored ? average_matrix(matrix) : average_vector();
    const double rms = root_mean_of(sum_updates());
    apply(rate, std::max(1.0, rms / kClipThreshold));
  }

 private:
  double root_mean_of(double sum) const { return std::sqrt(sum / static_cast<double>(t_.n)); }

  // Calls body(matrix, first row, rows) for every tile of every matrix.
  template <typename Body>
  void for_tiles(const Body& body) {
    pool_.parallel_for(cut_.matrices * cut_.tiles, [&](int64_t tile, int) {
      const int64_t first = tile % cut_.tiles * cut_.tile_rows;
      body(tile, tile / cut_.tiles, first, std::clamp<int64_t>(cut_.rows - first, 0, cut_.tile_rows));
    });
  }
  int64_t row_at(int64_t matrix, int64_t row) const { return matrix * cut_.rows + row; }

  double sum_weights() {
    for_tiles([&](int64_t tile, int64_t matrix, int64_t first, int64_t rows) {
      std::array<float, kPiece> values;
      const int64_t begin = row_at(matrix, first) * cut_.columns, end = begin + rows * cut_.columns;
      double sum = 0;
      for (int64_t i = begin; i < end; i += kPiece) {
        const int64_t count = std::min(kPiece, end - i);
        read_weights(t_, i, count, values.data());
        sum += HWY_DYNAMIC_DISPATCH(sum_squares_f32)(values.data(), count);
      }
      w_.squares[tile] = sum;
    });
    return sum_in_order(w_.squares, cut_.matrices * cut_.tiles);
  }

  void average_vector() {
    std::fill_n(w_.sums, cut_.columns, 0.0F);
    HWY_DYNAMIC_DISPATCH(add_squares)(t_.gradient, s_.clip, w_.sums, cut_.columns);
    HWY_DYNAMIC_DISPATCH(blend_means)(w_.sums, 1.0F, keep_, rest_, state_.rows, w_.factors, cut_.columns);
  }

  void average_matrix(int64_t matrix) {
    float* const averages = state_.rows + matrix * cut_.rows;
    const auto columns = static_cast<float>(cut_.columns);
    pool_.parallel_for(cut_.tiles, [&](int64_t tile, int) {
      float* const sums = w_.sums + tile * cut_.columns;
      std::fill_n(sums, cut_.columns, 0.0F);
      const int64_t first = tile * cut_.tile_rows, last = std::min(first + cut_.tile_rows, cut_.rows);
      for (int64_t row = first; row < last; ++row) {
        const float sum = HWY_DYNAMIC_DISPATCH(add_squares)(t_.gradient + row_at(matrix, row) * cut_.columns, s_.clip,
                                                            sums, cut_.columns);
        averages[row] = averages[row] * keep_ + rest_ * (sum / columns);
      }
    });
    double mean = 0;
    for (int64_t row = 0; row < cut_.rows; ++row) mean += static_cast<double>(averages[row]);
    w_.row_means[matrix] = mean / static_cast<double>(cut_.rows);
    pool_.parallel_for(ceil_div(cut_.columns, kPiece), [&](int64_t piece, int) {
      const int64_t first = piece * kPiece, count = std::min(kPiece, cut_.columns - first);
      float* const total = w_.sums + first;
      for (int64_t tile = 1; tile < cut_.tiles; ++tile)
        for (int64_t i = 0; i < count; ++i) total[i] += w_.sums[tile * cut_.columns + first + i];
      HWY_DYNAMIC_DISPATCH(blend_means)
      (total, static_cast<float>(cut_.rows), keep_, rest_, state_.columns + matrix * cut_.columns + first,
       w_.factors + matrix * cut_.columns + first, count);
    });
  }

  float row_factor(int64_t matrix, int64_t row) const {
    if (!cut_.factored) return 1.0F;
    const float relative = state_.rows[row_at(matrix, row)] / static_cast<float>(w_.row_means[matrix]);
    return 1.0F / std::sqrt(relative);
  }

  // Calls body(first element, count, update) piece by piece, in order.
  template <typename Body>
  double for_updates(int64_t matrix, int64_t first, int64_t rows, const Body& body) const {
    std::array<float, kPiece> update;
    double squares = 0;
    for (int64_t row = first; row < first + rows; ++row) {
      const float factor = row_factor(matrix, row);
      for (int64_t column = 0; column < cut_.columns; column += kPiece) {
        const int64_t count = std::min(kPiece, cut_.columns - column);
        const int64_t begin = row_at(matrix, row) * cut_.columns + column;
        squares += HWY_DYNAMIC_DISPATCH(make_update)(t_.gradient + begin, s_.clip, factor,
                                                     w_.factors + matrix * cut_.columns + column, update.data(), count);
        body(begin, count, update.data());
      }
    }
    return squares;
  }

  double sum_updates() {
    for_tiles([&](int64_t tile, int64_t matrix, int64_t first, int64_t rows) {
      w_.squares[tile] = for_updates(matrix, first, rows, [](int64_t, int64_t, const float*) {});
    });
    return sum_in_order(w_.squares, cut_.matrices * cut_.tiles);
  }

  void apply(double rate, double divisor) {
    const auto step = static_cast<float>(rate / divisor);
    const auto decay = static_cast<float>(1.0 - s_.weight_decay * rate);
    for_tiles([&](int64_t, int64_t matrix, int64_t first, int64_t rows) {
      std::array<float, kPiece> values;
      for_updates(matrix, first, rows, [&](int64_t begin, int64_t count, const float* update) {
        read_weights(t_, begin, count, values.data());
        HWY_DYNAMIC_DISPATCH(apply_update)(update, step, decay, values.data(), count);
        write_weights(t_, s_.random_key, begin, count, values.data());
      });
    });
  }

  ThreadPool& pool_;
  const OptimizerScalars& s_;
  const Cut cut_;
  const OptimizerTensor& t_;
  const AdafactorState& state_;
  const Workspace w_;
  float keep_ = 0, rest_ = 1;
};

}  // namespace

int64_t adafactor_workspace_bytes(const Shape& shape) {
  const Cut cut = cut_of(shape);
  const int64_t doubles = cut.matrices * (cut.tiles + 1), floats = cut.columns * (cut.matrices + cut.tiles);
  return doubles * int64_t{sizeof(double)} + floats * int64_t{sizeof(float)};
}

void adafactor_step(ThreadPool& pool, const OptimizerScalars& scalars, bool scale_parameter, const Shape& shape,
                    const OptimizerTensor& tensor, const AdafactorState& state, void* workspace) {
  if (tensor.n > 0) Step(pool, scalars, shape, tensor, state, workspace).run(scale_parameter);
}

}  // namespace plimsoll::cpu
#endif  // HWY_ONCE
