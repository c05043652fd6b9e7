// bf16 products on Intel AMX tiles (Intel SDM vol. 1 ch. 18): a tile of A is 16 rows of 32 k, a tile of B is 16 pairs
// of k by 16 columns, one instruction multiplies them into a 16 x 16 f32 tile.
//
// B is packed into such tiles a panel at a time, once for all threads; tasks then take ranges of rows. Within a task
// the loops keep a part of B (kSubColumns by kBlockDepth) in the second-level cache and 32 rows of A in the first; sums
// over several blocks of k wait as tiles. A is read where it lies when its rows are whole tiles, else packed. (Goto &
// van de Geijn 2008, "Anatomy of high-performance matrix multiplication", doi:10.1145/1356052.1356053.)
#include "backend/cpu/matmul/matmul_kernel.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>

#include "backend/cpu/matmul/amx_tiles-inl.h"
#include "backend/cpu/simd/instructions.h"
#include "base/bytes.h"

namespace plimsoll::cpu {
namespace {

constexpr int64_t kMaxDepth = 2048;  // of k in one packed panel; half of it where A must be packed for each panel
constexpr int64_t kPanelBytes =
    1000 * 1024;                      // of one packed panel: it stays in the second-level cache from task to task
constexpr int64_t kBlockDepth = 576;  // of k in one pass of the innermost loop: 32 rows of A are 36 KiB
constexpr int64_t kSubColumns = 576;  // of B in one pass: 648 KiB
constexpr int64_t kMaxTaskRows = 128;
constexpr int64_t kPackedBlock = 256;       // packed matrices are cut at multiples of it: no type has larger blocks
constexpr int64_t kBlockFloats = 1024;      // of C that the tile registers hold
constexpr int64_t kGroupFloats = 32 * 128;  // of C finished together

struct AmxMatmul final : Matmul::Kernel {
  explicit AmxMatmul(const MatmulSpec& s) : Kernel(s) {
    // A long sum is cut along k so that all columns are in one panel, and A is read once.
    int64_t max_depth = s.transpose_a ? kMaxDepth / 2 : kMaxDepth;
    if (s.k > kMaxDepth)
      max_depth = std::clamp(kPanelBytes / 2 / s.n / kTileDepth * kTileDepth, kBlockDepth, max_depth);
    depth_step = std::min(round_up(s.k, kTileDepth), max_depth);
    if (is_packed(s.b) && s.transpose_b && depth_step < s.k)
      depth_step = std::max(kPackedBlock, depth_step / kPackedBlock * kPackedBlock);
    const int64_t max_columns = std::max<int64_t>(s.transpose_a ? 576 : 256, kPanelBytes / 2 / depth_step / 32 * 32);
    column_step = round_up(ceil_div(s.n, ceil_div(s.n, max_columns)), 2 * kTileRows);
    if (is_packed(s.b) && !s.transpose_b && column_step < s.n) column_step = round_up(column_step, kPackedBlock);
    const bool whole_depth = s.k <= depth_step;
    panel_bytes = depth_step * column_step * 2;
    sum_bytes = !whole_depth && (s.c == DType::bf16 || s.consumed) ? round_up(s.m * column_step * 4, 64) : 0;
    const int64_t rows = task_rows(s.m);
    packed_bytes = rows * std::min(depth_step, kBlockDepth) * 2;
    const int64_t blocks = ceil_div(rows, 2 * kTileRows) * ceil_div(std::min(column_step, kSubColumns), 2 * kTileRows);
    slot_bytes = packed_bytes + (depth_step > kBlockDepth ? blocks * kBlockFloats * 4 : 0);
    const int64_t row_tasks = ceil_div(s.m, rows);
    column_tasks = std::min(ceil_div(column_step, 64), ceil_div(int64_t{8}, row_tasks));
    task_columns = round_up(ceil_div(column_step, column_tasks), 64);
    tile_bytes = s.consumed ? rows * task_columns * 4 : 0;
    slot_bytes += tile_bytes;
    if (is_packed(s.b))  // a strip of columns, or a row of tiles, unpacked
      slot_bytes = std::max(slot_bytes, s.transpose_b ? kTileRows * depth_step * 2 : kTileDepth * column_step * 2);
  }

  // About 16 tasks where there are rows enough.
  static int64_t task_rows(int64_t m) { return std::clamp(round_up(ceil_div(m, 16), 64), int64_t{64}, kMaxTaskRows); }

  int64_t workspace_bytes(int threads) const override { return panel_bytes + sum_bytes + slot_bytes * threads; }

  void run(ThreadPool& pool, const MatmulOperands& operands) const override {
    run_part(pool, operands, spec.m, spec.k);
  }

  void run_part(ThreadPool& pool, const MatmulOperands& operands, int64_t m, int64_t k) const override {
    for (int64_t column = 0; column < spec.n; column += column_step) {
      const int64_t columns = std::min(column_step, spec.n - column);
      for (int64_t from = 0; from < k; from += depth_step) {
        const Panel panel{column, columns, from, std::min(depth_step, k - from), m, from == 0, from + depth_step >= k};
        pack_b(pool, operands, panel);
        multiply(pool, operands, panel);
      }
    }
  }

  // What one round works on: B's rows [from, from + depth) and columns [column, column + columns).
  struct Panel {
    int64_t column, columns, from, depth, m;
    bool first, last;  // along k
    int64_t tiles() const { return ceil_div(depth, kTileDepth); }
    int64_t strip_bytes() const { return tiles() * kTileBytes; }
  };

  void pack_b(ThreadPool& pool, const MatmulOperands& operands, const Panel& panel) const {
    if (is_packed(spec.b)) return pack_packed_b(pool, operands, panel);
    const auto* const b = static_cast<const uint16_t*>(operands.b);
    const int64_t strips = ceil_div(panel.columns, kTileRows);
    const int64_t each = std::max<int64_t>(1, 64 * 1024 / panel.strip_bytes());
    pool.parallel_for(ceil_div(strips, each), [&](int64_t task, int) {
      // Along a row of B first: its lines and pages are then read once.
      for (int64_t tile = 0; tile < panel.tiles(); ++tile)
        for (int64_t strip = task * each; strip < std::min(strips, (task + 1) * each); ++strip) {
          std::byte* const to = operands.workspace + strip * panel.strip_bytes() + tile * kTileBytes;
          const int64_t column = panel.column + strip * kTileRows;
          const int64_t width = std::min(kTileRows, panel.column + panel.columns - column);
          const int64_t at = panel.from + tile * kTileDepth;
          const int64_t depth = std::min(kTileDepth, panel.from + panel.depth - at);
          if (spec.transpose_b) pack_along_k<true>(b + column * spec.ldb + at, spec.ldb, width, depth, to);
          else pack_across_k<false>(b + at * spec.ldb + column, spec.ldb, width, depth, to);
        }
    });
  }

  // Whole strips along the rows of the stored matrix, so that every block is unpacked once.
  void pack_packed_b(ThreadPool& pool, const MatmulOperands& operands, const Panel& panel) const {
    const PackedMatrix matrix = packed_b(spec, operands.b);
    const int64_t strips = ceil_div(panel.columns, kTileRows);
    const auto slot_of = [&](int thread) {
      return reinterpret_cast<uint16_t*>(operands.workspace + panel_bytes + sum_bytes + slot_bytes * thread);
    };
    const auto tile_at = [&](int64_t strip, int64_t tile) {
      return operands.workspace + strip * panel.strip_bytes() + tile * kTileBytes;
    };
    if (spec.transpose_b) {
      pool.parallel_for(strips, [&](int64_t strip, int thread) {
        uint16_t* const rows = slot_of(thread);
        const int64_t width = std::min(kTileRows, panel.columns - strip * kTileRows);
        unpack_tile(matrix, panel.column + strip * kTileRows, width, panel.from, panel.depth, rows, depth_step);
        for (int64_t tile = 0; tile < panel.tiles(); ++tile)
          pack_along_k<true>(rows + tile * kTileDepth, depth_step, width,
                             std::min(kTileDepth, panel.depth - tile * kTileDepth), tile_at(strip, tile));
      });
      return;
    }
    pool.parallel_for(panel.tiles(), [&](int64_t tile, int thread) {
      uint16_t* const rows = slot_of(thread);
      const int64_t at = tile * kTileDepth, depth = std::min(kTileDepth, panel.depth - at);
      unpack_tile(matrix, panel.from + at, depth, panel.column, panel.columns, rows, column_step);
      for (int64_t strip = 0; strip < strips; ++strip)
        pack_across_k<false>(rows + strip * kTileRows, column_step,
                             std::min(kTileRows, panel.columns - strip * kTileRows), depth, tile_at(strip, tile));
    });
  }

  void multiply(ThreadPool& pool, const MatmulOperands& operands, const Panel& panel) const {
    const int64_t each = task_rows(spec.m);
    const int64_t row_tasks = ceil_div(panel.m, each);
    pool.parallel_for(row_tasks * column_tasks, [&](int64_t task, int thread) {
      const int64_t row = task % row_tasks * each;
      const int64_t column = task / row_tasks * task_columns;
      if (column >= panel.columns) return;
      std::byte* const slot = operands.workspace + panel_bytes + sum_bytes + slot_bytes * thread;
      const int64_t row_end = std::min(panel.m, row + each);
      const int64_t column_end = std::min(panel.columns, column + task_columns);
      auto* const tile = reinterpret_cast<float*>(slot + slot_bytes - tile_bytes);
      multiply_task({operands, panel, row, row_end, slot, {tile, row, panel.column + column}}, column, column_end);
      if (spec.consumed && panel.last)
        operands.consume(operands.context,
                         {tile, task_columns, row, panel.column + column, row_end - row, column_end - column,
                          panel.column / column_step * column_tasks + task / row_tasks});
    });
  }
  bool takes_parts() const override { return true; }
  int64_t column_tiles() const override { return ceil_div(spec.n, column_step) * column_tasks; }

  // Rows [row, row_end) of C with one panel.
  struct Task {
    const MatmulOperands& operands;
    const Panel& panel;
    int64_t row, row_end;
    std::byte* slot;
    struct {
      float* values;
      int64_t row, column;  // of C, where the tile begins
    } tile;                 // of a consumed product
  };

  PLIMSOLL_AMX void multiply_task(const Task& task, int64_t column, int64_t column_end) const {
    static const TileConfig config;
    _tile_loadconfig(&config);
    const int64_t tiles = task.panel.tiles();
    const int64_t step = ceil_div(tiles, ceil_div(tiles, kBlockDepth / kTileDepth));
    for (; column < column_end; column += kSubColumns)
      for (int64_t tile = 0; tile < tiles; tile += step)
        multiply_blocks(task, column, std::min(column_end, column + kSubColumns), tile, std::min(tiles, tile + step));
    _tile_release();
  }

  // Columns [column, column_end) and tiles [tile, tile_end) along k.
  PLIMSOLL_AMX void multiply_blocks(const Task& task, int64_t column, int64_t column_end, int64_t tile,
                                    int64_t tile_end) const {
    const Panel& panel = task.panel;
    const int64_t strips = ceil_div(task.row_end - task.row, kTileRows);
    const int64_t column_strips = ceil_div(column_end - column, kTileRows);
    const int64_t step = column_strips == 1 ? 4 : 2;
    const bool last = tile_end == panel.tiles();
    auto* sums = reinterpret_cast<float*>(task.slot + packed_bytes);
    // A few blocks side by side are finished together, so that C is written in runs of lines.
    alignas(64) float group[kGroupFloats];
    const bool packed = pack_a(task, tile, tile_end);
    for (int64_t strip = 0, height = 0; strip < strips; strip += height) {
      height = std::min(step, strips - strip);
      if (height == 3) height = 2;
      const StripsOfA a = strips_of_a(task, strip, height, tile, tile_end, packed);
      const int64_t group_columns = kGroupFloats / (16 * height) >= 128 ? 128 : 16;
      const int64_t row = task.row + strip * kTileRows;
      Block waiting{group, group_columns, row, column, std::min(height * kTileRows, task.row_end - row), 0};
      for (int64_t j = 0; j < column_strips;) {
        const int64_t left = column_strips - j;
        const int64_t width = height == 1 && left >= 4 ? 4 : height == 4 ? 1 : std::min<int64_t>(left, 2);
        const std::byte* const b =
            task.operands.workspace + (column / kTileRows + j) * panel.strip_bytes() + tile * kTileBytes;
        if (last && waiting.columns == 0) prefetch(task, waiting, std::min(group_columns, column_end - waiting.column));
        if (!packed) prefetch_a(task, strip + height, strips, tile, tile_end, j, column_strips);
        multiply_block(height, width, a, b, panel.strip_bytes(), tile_end - tile, tile > 0 ? sums : nullptr,
                       last ? group + waiting.columns : sums, last ? group_columns * 4 : width * 64);
        sums += kBlockFloats;
        j += width;
        if (!last) continue;
        waiting.columns = std::min(waiting.columns + width * kTileRows, column_end - waiting.column);
        if (waiting.columns == group_columns || j == column_strips) {
          store(task, waiting);
          waiting.column += waiting.columns;
          waiting.columns = 0;
        }
      }
    }
  }

  // A share of the next rows of A, as the columns go from `j` to all `columns` strips.
  void prefetch_a(const Task& task, int64_t strip, int64_t strips, int64_t tile, int64_t tile_end, int64_t j,
                  int64_t columns) const {
    if (strip >= strips) return;
    const int64_t rows = std::min(2 * kTileRows, (strips - strip) * kTileRows);
    const auto* const a =
        static_cast<const uint16_t*>(task.operands.a) + (task.row + strip * kTileRows) * spec.lda + task.panel.from;
    for (int64_t i = j * rows / columns; i < std::min(rows, (j + 2) * rows / columns); ++i)
      for (int64_t t = tile; t < tile_end; ++t) __builtin_prefetch(a + i * spec.lda + t * kTileDepth, 0, 2);
  }

  // Packs the task's rows of A for tiles [tile, tile_end) into the slot, unless they can be read where they lie.
  bool pack_a(const Task& task, int64_t tile, int64_t tile_end) const {
    const Panel& panel = task.panel;
    const bool whole =
        (task.row_end - task.row) % kTileRows == 0 && (panel.depth % kTileDepth == 0 || tile_end < panel.tiles());
    if (!spec.transpose_a && whole) return false;
    const auto* const a = static_cast<const uint16_t*>(task.operands.a);
    const int64_t strips = ceil_div(task.row_end - task.row, kTileRows);
    for (int64_t t = tile; t < tile_end; ++t)
      for (int64_t strip = 0; strip < strips; ++strip) {
        std::byte* const to = task.slot + (strip * (tile_end - tile) + t - tile) * kTileBytes;
        const int64_t row = task.row + strip * kTileRows;
        const int64_t height = std::min(kTileRows, task.row_end - row);
        const int64_t at = panel.from + t * kTileDepth;
        const int64_t depth = std::min(kTileDepth, panel.from + panel.depth - at);
        if (spec.transpose_a) pack_across_k<true>(a + at * spec.lda + row, spec.lda, height, depth, to);
        else pack_along_k<false>(a + row * spec.lda + at, spec.lda, height, depth, to);
      }
    return true;
  }

  StripsOfA strips_of_a(const Task& task, int64_t strip, int64_t height, int64_t tile, int64_t tile_end,
                        bool packed) const {
    StripsOfA strips{{}, packed ? kTileBytes : 64, packed ? 64 : spec.lda * 2};
    const auto* const a = static_cast<const uint16_t*>(task.operands.a);
    for (int64_t i = 0; i < height; ++i)
      strips.begin[i] = packed
                            ? task.slot + (strip + i) * (tile_end - tile) * kTileBytes
                            : reinterpret_cast<const std::byte*>(a + (task.row + (strip + i) * kTileRows) * spec.lda +
                                                                 task.panel.from + tile * kTileDepth);
    return strips;
  }

  // A computed part of C: rows of `stride` floats. row counts in C, column in the panel.
  struct Block {
    float* values;
    int64_t stride, row, column, rows, columns;
  };

  // Asks for C's lines, to be there when the block is.
  void prefetch(const Task& task, const Block& block, int64_t columns) const {
    if (spec.consumed) return;
    const int64_t size = spec.c == DType::f32 ? 4 : 2;
    const auto* line =
        static_cast<const char*>(task.operands.c) + (block.row * spec.ldc + task.panel.column + block.column) * size;
    for (int64_t i = 0; i < block.rows; ++i, line += spec.ldc * size)
      for (int64_t byte = 0; byte < columns * size; byte += 64)
        __builtin_prefetch(line + byte, 0, 2);  // the second-level cache is near enough
  }

  // A finished block goes to C; where k takes several panels, a bf16 C waits in f32 sums until the last.
  void store(const Task& task, const Block& block) const {
    const Panel& panel = task.panel;
    auto* const sums = reinterpret_cast<float*>(task.operands.workspace + panel_bytes);
    if (sum_bytes > 0) {
      const Finish to_sums{sums, column_step, nullptr, false, 1.0F};
      if (!panel.last) return finish(to_sums, false, !panel.first, block, block.column);
      if (!panel.first)
        for (int64_t i = 0; i < block.rows; ++i)
          for (int64_t j = 0; j < block.columns; ++j)
            block.values[i * block.stride + j] += sums[(block.row + i) * column_step + block.column + j];
    }
    if (spec.consumed) {
      Block block_in_tile = block;
      block_in_tile.row -= task.tile.row;
      return finish({task.tile.values, task_columns, nullptr, false, 1.0F}, false, false, block_in_tile,
                    panel.column + block.column - task.tile.column);
    }
    const bool closes = sum_bytes > 0 || panel.first;  // the bias is added once
    const Finish to_c{task.operands.c, spec.ldc, spec.has_bias && closes ? task.operands.bias : nullptr,
                      spec.bias == DType::bf16, spec.alpha};
    finish(to_c, spec.c == DType::bf16, spec.accumulate || (sum_bytes == 0 && !panel.first), block,
           panel.column + block.column);
  }

  static void finish(const Finish& to, bool bf16, bool accumulate, const Block& block, int64_t column) {
    const auto body = bf16 ? (accumulate ? finish_block<true, true> : finish_block<true, false>)
                           : (accumulate ? finish_block<false, true> : finish_block<false, false>);
    body(to, block.values, block.stride, block.row, column, block.rows, block.columns);
  }

  int64_t depth_step, column_step;
  int64_t panel_bytes, sum_bytes;  // shared
  int64_t packed_bytes, tile_bytes,
      slot_bytes;                      // of one thread: packed rows of A, sums over blocks of k, consumed tile of C
  int64_t column_tasks, task_columns;  // of one panel
};

}  // namespace

std::shared_ptr<const Matmul::Kernel> make_amx_matmul(const MatmulSpec& spec) {
  if (spec.a != DType::bf16 || spec.m == 0 || spec.n == 0 || spec.k == 0 || !may_use_amx()) return nullptr;
  return std::make_shared<AmxMatmul>(spec);
}

}  // namespace plimsoll::cpu

#else

namespace plimsoll::cpu {
std::shared_ptr<const Matmul::Kernel> make_amx_matmul(const MatmulSpec&) { return nullptr; }
}  // namespace plimsoll::cpu

#endif
