#include "backend/cpu/matmul/matmul.h"

#include <gtest/gtest.h>

#include "backend/cpu/matmul/matmul_kernel.h"
#include "support/golden.h"
#include "support/numbers.h"

namespace plimsoll::cpu {
namespace {

struct Buffers {
  Typed a, b, c, bias;
};

int64_t stride_or(int64_t stride, int64_t dense) { return stride == 0 ? dense : stride; }

Buffers make_buffers(const MatmulSpec& s) {
  const int64_t lda = stride_or(s.lda, s.transpose_a ? s.m : s.k);
  const int64_t ldb = stride_or(s.ldb, s.transpose_b ? s.k : s.n);
  const int64_t ldc = stride_or(s.ldc, s.n);
  return {Typed(s.a, random_values(static_cast<size_t>((s.transpose_a ? s.k : s.m) * lda), 1)),
          Typed(s.b, random_values(static_cast<size_t>((s.transpose_b ? s.n : s.k) * ldb), 2)),
          Typed(s.c, random_values(static_cast<size_t>(s.m * ldc), 3)),
          Typed(s.bias, random_values(static_cast<size_t>(s.n), 4))};
}

std::vector<double> naive(const MatmulSpec& s, const Buffers& buffers) {
  const auto a = buffers.a.values(), b = buffers.b.values(), c = buffers.c.values(), bias = buffers.bias.values();
  const int64_t lda = stride_or(s.lda, s.transpose_a ? s.m : s.k);
  const int64_t ldb = stride_or(s.ldb, s.transpose_b ? s.k : s.n);
  const int64_t ldc = stride_or(s.ldc, s.n);
  std::vector<double> out(c.begin(), c.end());
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < s.k; ++l) {
        const auto x = a[static_cast<size_t>(s.transpose_a ? l * lda + i : i * lda + l)];
        const auto y = b[static_cast<size_t>(s.transpose_b ? j * ldb + l : l * ldb + j)];
        sum += static_cast<double>(x) * static_cast<double>(y);
      }
      double& to = out[static_cast<size_t>(i * ldc + j)];
      to = static_cast<double>(s.alpha) * sum + (s.accumulate ? to : 0) +
           (s.has_bias ? static_cast<double>(bias[static_cast<size_t>(j)]) : 0);
    }
  return out;
}

Typed run(const MatmulSpec& s, const Buffers& buffers, int threads) {
  ThreadPool pool(threads);
  const Matmul matmul(s);
  const int64_t bytes = matmul_workspace_bytes(s, threads);
  // Guard bytes after the workspace show that the stated size is enough.
  std::vector<uint8_t> memory(static_cast<size_t>(bytes) + 128, 0xa5);
  auto* const workspace = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  Typed c = buffers.c;
  matmul.run(pool, buffers.a.data(), buffers.b.data(), c.data(), s.has_bias ? buffers.bias.data() : nullptr, workspace);
  for (const uint8_t* p = workspace + bytes; p < memory.data() + memory.size(); ++p)
    EXPECT_EQ(*p, 0xa5) << "workspace overrun";
  return c;
}

void check(const MatmulSpec& s) {
  SCOPED_TRACE(testing::Message() << s.m << 'x' << s.n << 'x' << s.k << " ta " << s.transpose_a << " tb "
                                  << s.transpose_b << " acc " << s.accumulate << " alpha " << s.alpha << " bias "
                                  << s.has_bias << ' ' << dtype_name(s.a) << "->" << dtype_name(s.c));
  const Buffers buffers = make_buffers(s);
  const Typed one = run(s, buffers, 1);
  expect_close(one.values(), naive(s, buffers), s.c == DType::f32 ? 1e-5 : 5e-3);
  EXPECT_TRUE(one == run(s, buffers, 3)) << "threads change the bits";
}

const MatmulSpec kShapes[] = {
    {.m = 1, .n = 1, .k = 1},      {.m = 3, .n = 70, .k = 37},    {.m = 4, .n = 64, .k = 64},
    {.m = 5, .n = 17, .k = 33},    {.m = 70, .n = 16, .k = 100},  {.m = 65, .n = 100, .k = 16},
    {.m = 16, .n = 200, .k = 130}, {.m = 257, .n = 129, .k = 65}, {.m = 300, .n = 600, .k = 8},
    {.m = 96, .n = 48, .k = 1100},
};

TEST(Matmul, EveryFormAgreesWithTheDefinition) {
  for (MatmulSpec s : kShapes)
    for (const bool bf16 : {false, true})
      for (const int transposes : {0, 1, 2, 3}) {
        s.a = s.b = bf16 ? DType::bf16 : DType::f32;
        s.transpose_a = transposes & 1;
        s.transpose_b = transposes & 2;
        for (const DType c : {DType::f32, DType::bf16}) {
          s.c = c;
          s.accumulate = s.has_bias = false;
          s.alpha = 1;
          check(s);
          s.accumulate = true;
          s.alpha = 0.5F;
          check(s);
        }
      }
}

TEST(Matmul, BiasIsAddedUnscaled) {
  for (MatmulSpec s : kShapes)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const DType bias : {DType::f32, DType::bf16})
        for (const float alpha : {1.0F, 2.0F}) {
          s.a = s.b = s.c = dtype;
          s.transpose_b = s.has_bias = true;
          s.bias = bias;
          s.alpha = alpha;
          check(s);
          s.accumulate = true;
          check(s);
        }
}

TEST(Matmul, RowsMayLieApart) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int transposes : {0, 1, 2, 3}) {
      MatmulSpec s{.m = 66, .n = 99, .k = 45, .a = dtype, .b = dtype};
      s.transpose_a = transposes & 1;
      s.transpose_b = transposes & 2;
      s.lda = 131, s.ldb = 140, s.ldc = 111;
      check(s);
    }
}

// Longer and wider than one packed panel, with sums that wait between panels.
TEST(Matmul, ManyPanels) {
  for (const DType c : {DType::f32, DType::bf16})
    for (const int transposes : {0, 1, 2, 3}) {
      MatmulSpec s{.m = 70, .n = 40, .k = 4500, .a = DType::bf16, .b = DType::bf16, .c = c};
      s.transpose_a = transposes & 1;
      s.transpose_b = transposes & 2;
      s.has_bias = true;
      s.alpha = 0.5F;
      check(s);
      s.accumulate = true;
      check(s);
      s.m = 33, s.n = 2000, s.k = 90;
      check(s);
      s.m = 140, s.n = 700, s.k = 1300;
      check(s);
    }
}

TEST(Matmul, PartsOfRowsAndTerms) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const MatmulSpec s{.m = 100, .n = 50, .k = 80, .a = dtype, .b = dtype, .transpose_a = true, .accumulate = true};
    Buffers buffers = make_buffers(s);
    auto a = buffers.a.values(), b = buffers.b.values();
    std::fill(a.begin() + 37 * 100, a.end(), 0.0F);  // terms from 37 on are zero
    std::fill(b.begin() + 37 * 50, b.end(), 0.0F);
    buffers.a = Typed(dtype, a);
    buffers.b = Typed(dtype, b);
    ThreadPool pool(2);
    std::vector<float> workspace(static_cast<size_t>(matmul_workspace_bytes(s, 2)) / 4 + 16), c = buffers.c.wide;
    Matmul(s).run_part(pool, 100, 37, buffers.a.data(), buffers.b.data(), c.data(),
                       reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64));
    expect_close(c, naive(s, buffers), 1e-5);
  }
}

TEST(Matmul, ConsumedTilesCoverTheProductOnce) {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const MatmulSpec& shape :
         {MatmulSpec{.m = 300, .n = 1700, .k = 64}, {.m = 5, .n = 3, .k = 9}, {.m = 40, .n = 130, .k = 2500}}) {
      MatmulSpec s = shape;
      s.a = s.b = dtype;
      s.transpose_b = s.consumed = true;
      const Buffers buffers = make_buffers(s);
      const Matmul matmul(s);
      ThreadPool pool(3);
      std::vector<float> workspace(static_cast<size_t>(matmul.workspace_bytes(3)) / 4 + 16),
          c(static_cast<size_t>(s.m * s.n), 0);
      matmul.run_tiles(pool, s.m, buffers.a.data(), buffers.b.data(),
                       reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64),
                       [&](const MatmulTile& tile) {
                         EXPECT_LT(tile.column_tile, matmul.column_tiles());
                         for (int64_t i = 0; i < tile.rows; ++i)
                           for (int64_t j = 0; j < tile.columns; ++j)
                             c[static_cast<size_t>((tile.row + i) * s.n + tile.column + j)] +=
                                 tile.values[i * tile.stride + j];
                       });
      expect_close(c, naive(s, buffers), 1e-5);
    }
}

TEST(Matmul, NothingToMultiply) {
  check({.m = 3, .n = 5, .k = 0});
  check({.m = 30, .n = 5, .k = 0, .has_bias = true});
  check({.m = 30, .n = 5, .k = 0, .accumulate = true});
  check({.m = 0, .n = 5, .k = 4});
}

TEST(Matmul, LinearWithBiasAsTorch) {
  const Golden g("ops/linear_bias.safetensors");
  ThreadPool pool(2);
  const auto x = g.f32("in.x"), w = g.f32("in.weight"), bias = g.f32("in.bias"), dy = g.f32("upstream.out");
  const auto run_f32 = [&](const MatmulSpec& s, const auto& a, const auto& b, const std::vector<float>& add) {
    std::vector<float> c(static_cast<size_t>(s.m * s.n), 0);
    std::vector<std::byte> memory(static_cast<size_t>(matmul_workspace_bytes(s, 2)) + 64);
    auto* const workspace = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    Matmul(s).run(pool, a.data(), b.data(), c.data(), add.empty() ? nullptr : add.data(), workspace);
    return c;
  };
  expect_close(run_f32({.m = 6, .n = 24, .k = 32, .transpose_b = true, .has_bias = true}, x, w, bias), g.f32("out.out"),
               5e-6);
  expect_close(run_f32({.m = 6, .n = 32, .k = 24}, dy, w, {}), g.f32("grad.x"), 5e-6);
  expect_close(run_f32({.m = 24, .n = 32, .k = 6, .transpose_a = true, .accumulate = true}, dy, x, {}),
               g.f32("grad.weight"), 5e-6);
}

// The same as with the matrix unpacked beforehand: to the bit in bf16 tiles, to rounding in f32.
TEST(Matmul, APackedMatrixIsItsValues) {
  for (const DType type : {DType::nf4, DType::int8, DType::fp8, DType::q4_1, DType::q8_0, DType::q4_k})
    for (const DType compute : {DType::f32, DType::bf16})
      for (const bool transpose_b : {true, false})
        for (const auto& [m, n, k] : {std::array<int64_t, 3>{2, 96, 768}, {130, 256, 768}, {70, 1024, 2560}}) {
          SCOPED_TRACE(testing::Message() << dtype_name(type) << ' ' << dtype_name(compute) << ' ' << transpose_b << ' '
                                          << m << 'x' << n << 'x' << k);
          const int64_t rows = transpose_b ? n : k, cols = transpose_b ? k : n;
          if (!can_pack(type, {rows, cols})) continue;
          const auto values = random_values(static_cast<size_t>(rows * cols), 2);
          std::vector<std::byte> packed(static_cast<size_t>(packed_bytes(type, rows, cols)));
          std::vector<std::byte> scratch(static_cast<size_t>(packer_scratch_bytes(type, rows, cols)));
          MatrixPacker packer(type, rows, cols, packed.data(), scratch);
          for (int64_t row = 0; row < rows; ++row)
            packer.add_row(std::span(values).subspan(static_cast<size_t>(row * cols), static_cast<size_t>(cols)));
          packer.finish();
          std::vector<float> unpacked(values.size());
          unpack_tile({type, rows, cols, packed.data()}, 0, rows, 0, cols, unpacked.data(), cols);
          MatmulSpec spec{.m = m, .n = n, .k = k, .a = compute, .b = type, .transpose_b = transpose_b};
          MatmulSpec plain = spec;
          plain.b = compute;
          const Typed a(compute, random_values(static_cast<size_t>(m * k), 1)), b(compute, unpacked);
          const auto result = [&](const MatmulSpec& s, const void* matrix, int threads) {
            ThreadPool pool(threads);
            std::vector<uint8_t> workspace(static_cast<size_t>(matmul_workspace_bytes(s, threads)) + 64);
            Typed c(DType::f32, std::vector<float>(static_cast<size_t>(m * n)));
            Matmul(s).run(pool, a.data(), matrix, c.data(), nullptr,
                          reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64));
            return c;
          };
          const Typed with_packed = result(spec, packed.data(), 1), expected = result(plain, b.data(), 1);
          const auto wanted = expected.values();
          // Two rows of bf16 activations meet the values before these are rounded to bf16.
          const double tolerance = m <= kMaxSkinnyRows && compute == DType::bf16 ? 5e-3 : 1e-5;
          expect_close(with_packed.values(), std::vector<double>(wanted.begin(), wanted.end()), tolerance);
          EXPECT_TRUE(with_packed == result(spec, packed.data(), 3)) << "threads change the bits";
        }
}

}  // namespace
}  // namespace plimsoll::cpu
