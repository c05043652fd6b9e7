#include <omp.h>

#include <algorithm>
#include <array>
#include <dnnl.hpp>

#include "backend/cpu/matmul/matmul_kernel.h"
#include "backend/cpu/simd/instructions.h"
#include "base/bytes.h"
#include "base/error.h"
#include "quant/rounding.h"

namespace plimsoll::cpu {
namespace {

using dnnl::memory;

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

// oneDNN asks OpenMP for its thread count when a primitive is made and when it runs; tiles are single-threaded.
void one_openmp_thread() { omp_set_num_threads(1); }

memory::data_type onednn_type(DType dtype) {
  return dtype == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

struct TileShape {
  int64_t m, n, k;
};

// A product of one tile, with operands as views into the whole matrices.
struct TileProduct {
  dnnl::matmul primitive;
  memory::desc a, b, c, bias, scratchpad;
  int bias_argument = DNNL_ARG_BIAS;
};

// The library's exceptions, told as our own.
template <typename Body>
auto guarded(Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory)
      throw world_error("matmul", "oneDNN could not get memory", "close other programs or use a smaller batch");
    PLIMSOLL_CHECK(false, std::string("oneDNN: ") + error.what());
    throw;
  }
}

TileProduct make_product(const MatmulSpec& spec, TileShape shape) {
  one_openmp_thread();
  TileProduct product;
  using Dims = memory::dims;
  product.a =
      memory::desc({shape.m, shape.k}, onednn_type(spec.a), spec.transpose_a ? Dims{1, spec.lda} : Dims{spec.lda, 1});
  product.b =
      memory::desc({shape.k, shape.n}, onednn_type(spec.b), spec.transpose_b ? Dims{1, spec.ldb} : Dims{spec.ldb, 1});
  product.c = memory::desc({shape.m, shape.n}, onednn_type(spec.c), Dims{spec.ldc, 1});
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (spec.alpha != 1) attributes.set_output_scales(0, {spec.alpha});
  dnnl::post_ops post_ops;
  if (spec.accumulate) post_ops.append_sum(1.0F);
  if (spec.has_bias) {
    product.bias = memory::desc({1, shape.n}, onednn_type(spec.bias), Dims{shape.n, 1});
    if (spec.alpha != 1) {  // oneDNN would scale the bias too
      product.bias_argument = DNNL_ARG_ATTR_MULTIPLE_POST_OP(post_ops.len()) | DNNL_ARG_SRC_1;
      post_ops.append_binary(dnnl::algorithm::binary_add, product.bias);
    }
  }
  attributes.set_post_ops(post_ops);
  const auto description = spec.has_bias && spec.alpha == 1
                               ? dnnl::matmul::desc(product.a, product.b, product.bias, product.c)
                               : dnnl::matmul::desc(product.a, product.b, product.c);
  const dnnl::matmul::primitive_desc primitive(description, attributes, cpu_engine());
  product.scratchpad = primitive.scratchpad_desc();
  product.primitive = dnnl::matmul(primitive);
  return product;
}

void run_product(const TileProduct& product, const void* a, const void* b, void* c, const void* bias,
                 void* scratchpad) {
  one_openmp_thread();
  thread_local dnnl::stream stream(cpu_engine());
  const auto view = [](const memory::desc& desc, const void* data) {
    return memory(desc, cpu_engine(), const_cast<void*>(data));
  };
  std::array<dnnl_exec_arg_t, 5> arguments{};
  int count = 0;
  const memory memories[] = {view(product.a, a), view(product.b, b), view(product.c, c),
                             view(product.scratchpad, scratchpad),
                             bias == nullptr ? memory() : view(product.bias, bias)};
  const int names[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, product.bias_argument};
  for (int i = 0; i < (bias == nullptr ? 4 : 5); ++i)
    arguments[static_cast<size_t>(count++)] = {names[i], memories[i].get()};
  dnnl::error::wrap_c_api(dnnl_primitive_execute(product.primitive.get(), stream.get(), count, arguments.data()),
                          "matmul");
}

// How many pieces of at most `most` a dimension is cut into, and the size of all but the last (a multiple of 32).
int64_t piece(int64_t size, int64_t most) {
  if (size <= most) return size;
  const int64_t pieces = ceil_div(size, most);
  return std::min(size, round_up(ceil_div(size, pieces), 32));
}

TileShape choose_tiles(const MatmulSpec& spec) {
  TileShape tile{piece(spec.m, 256), piece(spec.n, 512), spec.k};
  // At least about 8 tiles, so that threads come out even.
  while (ceil_div(spec.m, tile.m) * ceil_div(spec.n, tile.n) < 8 && (tile.m > 64 || tile.n > 64)) {
    if (tile.n > 64 && tile.n >= tile.m) tile.n = piece(spec.n, std::max<int64_t>(64, tile.n / 2));
    else if (tile.m > 64) tile.m = piece(spec.m, std::max<int64_t>(64, tile.m / 2));
    else break;
  }
  return tile;
}

// Index 1 is the shape of the last piece where it is smaller.
struct Pieces {
  int64_t size, step, count;
  Pieces(int64_t total, int64_t each) : size(total), step(each), count(ceil_div(total, each)) {}
  int64_t begin(int64_t i) const { return i * step; }
  int64_t length(int64_t i) const { return std::min(step, size - i * step); }
  bool is_short(int64_t i) const { return length(i) != step; }
  bool has_short() const { return size % step != 0; }
};

struct OneDnnMatmul final : Matmul::Kernel {
  explicit OneDnnMatmul(const MatmulSpec& s)
      : Kernel(s), tile(choose_tiles(s)), rows(s.m, tile.m), columns(s.n, tile.n) {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) {
        if ((i == 1 && !rows.has_short()) || (j == 1 && !columns.has_short())) continue;
        auto& product = products[static_cast<size_t>(2 * i + j)];
        MatmulSpec part = spec;
        if (spec.consumed) part.ldc = tile.n;
        product = make_product(
            part, {rows.length(i == 1 ? rows.count - 1 : 0), columns.length(j == 1 ? columns.count - 1 : 0), spec.k});
        slot_bytes = std::max(slot_bytes, round_up(static_cast<int64_t>(product.scratchpad.get_size()), 64));
      }
  }

  // A thread's scratchpad, and its tile of a consumed C.
  int64_t tile_bytes() const { return spec.consumed ? round_up(tile.m * tile.n * 4, 64) : 0; }
  int64_t workspace_bytes(int threads) const override { return (slot_bytes + tile_bytes()) * threads; }
  int64_t column_tiles() const override { return columns.count; }

  void run(ThreadPool& pool, const MatmulOperands& operands) const override {
    const int64_t ab = element_bytes(spec.a);
    pool.parallel_for(rows.count * columns.count, [&](int64_t index, int thread) {
      const int64_t i = index % rows.count;  // neighbours share a panel of B
      const int64_t j = index / rows.count;
      const int64_t row = rows.begin(i);
      const int64_t column = columns.begin(j);
      const auto* const a = static_cast<const std::byte*>(operands.a) + row * (spec.transpose_a ? 1 : spec.lda) * ab;
      const auto* const b = static_cast<const std::byte*>(operands.b) + column * (spec.transpose_b ? spec.ldb : 1) * ab;
      std::byte* const slot = operands.workspace + (slot_bytes + tile_bytes()) * thread;
      auto* const c = spec.consumed
                          ? slot + slot_bytes
                          : static_cast<std::byte*>(operands.c) + (row * spec.ldc + column) * element_bytes(spec.c);
      const auto* bias = static_cast<const std::byte*>(spec.has_bias ? operands.bias : nullptr);
      if (bias != nullptr) bias += column * element_bytes(spec.bias);
      guarded([&] {
        run_product(products[static_cast<size_t>(2 * rows.is_short(i) + columns.is_short(j))], a, b, c, bias, slot);
      });
      if (spec.consumed)
        operands.consume(operands.context,
                         {reinterpret_cast<float*>(c), tile.n, row, column, rows.length(i), columns.length(j), j});
    });
  }

  TileShape tile;
  Pieces rows, columns;
  std::array<TileProduct, 4> products;  // [2 · short rows + short columns]
  int64_t slot_bytes = 0;
};

// What oneDNN has no primitive for (bf16 on a CPU without its instructions, f32 to bf16, packed B): panels of A and B
// are widened to f32 in the workspace, kDepth of k at a time, and C is rounded from an f32 tile.
struct WideningMatmul final : Matmul::Kernel {
  static constexpr int64_t kDepth = 512;

  explicit WideningMatmul(const MatmulSpec& s)
      : Kernel(s), tile(choose_tiles(s)), rows(s.m, tile.m), columns(s.n, tile.n), depths(s.k, std::min(s.k, kDepth)) {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        for (int l = 0; l < 2; ++l)
          for (int first = 0; first < 2; ++first) {
            if ((i == 1 && !rows.has_short()) || (j == 1 && !columns.has_short()) || (l == 1 && !depths.has_short()))
              continue;
            const TileShape shape{rows.length(i == 1 ? rows.count - 1 : 0),
                                  columns.length(j == 1 ? columns.count - 1 : 0),
                                  depths.length(l == 1 ? depths.count - 1 : 0)};
            MatmulSpec part{.m = shape.m,
                            .n = shape.n,
                            .k = shape.k,
                            .transpose_a = spec.transpose_a,
                            .transpose_b = spec.transpose_b};
            part.accumulate = first == 0;
            part.lda = spec.transpose_a ? shape.m : shape.k;
            part.ldb = spec.transpose_b ? shape.k : shape.n;
            part.ldc = shape.n;
            auto& product = products[static_cast<size_t>(8 * i + 4 * j + 2 * l + first)];
            product = make_product(part, shape);
            scratchpad_bytes =
                std::max(scratchpad_bytes, round_up(static_cast<int64_t>(product.scratchpad.get_size()), 64));
          }
  }

  int64_t a_bytes() const { return round_up(tile.m * depths.step * 4, 64); }
  int64_t b_bytes() const { return round_up(tile.n * depths.step * 4, 64); }
  int64_t c_bytes() const { return round_up(tile.m * tile.n * 4, 64); }
  int64_t slot_bytes() const { return a_bytes() + b_bytes() + c_bytes() + scratchpad_bytes; }
  int64_t workspace_bytes(int threads) const override { return slot_bytes() * threads; }

  void run(ThreadPool& pool, const MatmulOperands& operands) const override {
    pool.parallel_for(rows.count * columns.count, [&](int64_t index, int thread) {
      const int64_t i = index % rows.count;
      const int64_t j = index / rows.count;
      const int64_t row = rows.begin(i);
      const int64_t column = columns.begin(j);
      const int64_t height = rows.length(i);
      const int64_t width = columns.length(j);
      std::byte* const slot = operands.workspace + slot_bytes() * thread;
      auto* const a = reinterpret_cast<float*>(slot);
      auto* const b = reinterpret_cast<float*>(slot + a_bytes());
      auto* const c = reinterpret_cast<float*>(slot + a_bytes() + b_bytes());
      for (int64_t l = 0; l < depths.count; ++l) {
        const int64_t from = depths.begin(l);
        const int64_t depth = depths.length(l);
        const auto widen = [&](const void* matrix, int64_t at, int64_t stride, int64_t count, int64_t length,
                               float* to) {
          if (spec.a == DType::f32)
            widen_matmul_tile(static_cast<const float*>(matrix) + at, stride, count, length, to);
          else widen_matmul_tile(static_cast<const uint16_t*>(matrix) + at, stride, count, length, to);
        };
        if (spec.transpose_a) widen(operands.a, from * spec.lda + row, spec.lda, depth, height, a);
        else widen(operands.a, row * spec.lda + from, spec.lda, height, depth, a);
        if (is_packed(spec.b)) {
          const PackedMatrix matrix = packed_b(spec, operands.b);
          if (spec.transpose_b) unpack_tile(matrix, column, width, from, depth, b, depth);
          else unpack_tile(matrix, from, depth, column, width, b, width);
          if (spec.a == DType::bf16) std::transform(b, b + depth * width, b, nearest_bf16);
        } else if (spec.transpose_b) widen(operands.b, column * spec.ldb + from, spec.ldb, width, depth, b);
        else widen(operands.b, from * spec.ldb + column, spec.ldb, depth, width, b);
        const auto& product = products[static_cast<size_t>(8 * rows.is_short(i) + 4 * columns.is_short(j) +
                                                           2 * depths.is_short(l) + (l == 0))];
        guarded([&] { run_product(product, a, b, c, nullptr, slot + slot_bytes() - scratchpad_bytes); });
      }
      if (spec.consumed) operands.consume(operands.context, {c, width, row, column, height, width, j});
      else store_matmul_tile(spec, c, width, row, column, height, width, operands);
    });
  }
  int64_t column_tiles() const override { return columns.count; }

  TileShape tile;
  Pieces rows, columns, depths;
  std::array<TileProduct, 16> products;  // [8 · short rows + 4 · short columns + 2 · short depth + first]
  int64_t scratchpad_bytes = 0;
};

// k = 0: the product is zero, what remains is beta and bias.
struct EmptyMatmul final : Matmul::Kernel {
  using Kernel::Kernel;
  int64_t workspace_bytes(int) const override { return 0; }
  void run(ThreadPool& pool, const MatmulOperands& operands) const override {
    static constexpr float zeros[64] = {};
    pool.parallel_for(ceil_div(spec.n, 64), [&](int64_t tile, int) {
      store_matmul_tile(spec, zeros, 0, 0, tile * 64, spec.m, std::min<int64_t>(64, spec.n - tile * 64), operands);
    });
  }
};

}  // namespace

std::shared_ptr<const Matmul::Kernel> make_onednn_matmul(const MatmulSpec& spec) {
  if (spec.m == 0 || spec.n == 0 || spec.k == 0) return std::make_shared<EmptyMatmul>(spec);
  return guarded([&]() -> std::shared_ptr<const Matmul::Kernel> {
    // Without the instructions oneDNN emulates them, at a third of the speed of f32.
    const bool emulated = spec.a == DType::bf16 && !may_use_avx512_bf16();
    if (is_packed(spec.b) || emulated) return std::make_shared<WideningMatmul>(spec);
    try {
      return std::make_shared<OneDnnMatmul>(spec);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      return std::make_shared<WideningMatmul>(spec);
    }
  });
}

}  // namespace plimsoll::cpu
