// Buffers like those of real training steps, and random ones, for the tests of the packer.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "memory/live_range.h"

namespace plimsoll {

// Writes down a program op by op; a buffer lives from the op that makes it to the last that uses it.
class BufferProgram {
 public:
  int make(int64_t size_bytes) {
    buffers_.push_back({size_bytes, 64, time_, time_, std::nullopt});
    return static_cast<int>(buffers_.size()) - 1;
  }
  void use(std::initializer_list<int> buffers) {
    for (const int b : buffers) buffers_[static_cast<size_t>(b)].last = time_;
  }
  void next_op() { ++time_; }
  // Live in the whole program, from its first op to the op at the time of finish().
  int make_persistent(int64_t size_bytes) {
    persistent_.push_back(make(size_bytes));
    return persistent_.back();
  }
  std::vector<Buffer> finish() {
    for (const int b : persistent_) {
      buffers_[static_cast<size_t>(b)].first = 0;
      buffers_[static_cast<size_t>(b)].last = time_;
    }
    return buffers_;
  }

 private:
  std::vector<Buffer> buffers_;
  std::vector<int> persistent_;
  int32_t time_ = 0;
};

struct StepShape {
  int layers = 30;
  int64_t tokens = 2048, hidden = 576, heads = 9, kv_heads = 3, head_dim = 64, intermediate = 1536, vocab = 49152;
  int64_t rank = 16;
  int64_t ce_chunk_rows = 256;
  int recompute_layers = 0;     // the first this many layers keep their input only
  bool gradients_full = false;  // full fine-tuning: a gradient of every weight, kept until the optimizer
  bool weights_as_buffers = true;
};

// One training step of a llama-like model in bf16: forward, chunked cross-entropy, backward in reverse order, AdamW.
inline std::vector<Buffer> training_step(const StepShape& s) {
  BufferProgram p;
  const int64_t stream = s.tokens * s.hidden * 2, q_bytes = s.tokens * s.heads * s.head_dim * 2;
  const int64_t kv_bytes = s.tokens * s.kv_heads * s.head_dim * 2, wide = s.tokens * s.intermediate * 2;
  const int64_t low_rank = s.tokens * s.rank * 2, lse_bytes = s.tokens * s.heads * 4, row_stats = s.tokens * 4;
  struct Linear {
    int64_t in, out;
  };
  const Linear linears[7] = {{s.hidden, s.heads * s.head_dim},    {s.hidden, s.kv_heads * s.head_dim},
                             {s.hidden, s.kv_heads * s.head_dim}, {s.heads * s.head_dim, s.hidden},
                             {s.hidden, s.intermediate},          {s.hidden, s.intermediate},
                             {s.intermediate, s.hidden}};
  if (s.weights_as_buffers) {
    p.make_persistent(s.vocab * s.hidden * 2);
    for (int layer = 0; layer < s.layers; ++layer)
      for (const Linear& linear : linears) {
        p.make_persistent(linear.in * linear.out * 2);
        for (int copy = 0; copy < 3; ++copy)
          p.make_persistent(s.gradients_full ? linear.in * linear.out * 4 : (linear.in + linear.out) * s.rank * 4);
      }
  }
  struct Kept {
    int x = -1, middle = -1, q = -1, k = -1, v = -1, out = -1, lse = -1, gate = -1, up = -1, r1 = -1, r2 = -1;
    int a[7] = {-1, -1, -1, -1, -1, -1, -1};
  };
  const auto linear = [&](int input, int64_t out_bytes, int* a) {
    *a = p.make(low_rank);
    p.use({input});
    p.next_op();
    const int y = p.make(out_bytes), scratch = p.make(1 << 16);
    p.use({input, *a, scratch});
    p.next_op();
    return y;
  };
  // From x to the next residual stream (returned); fills what backward wants.
  const auto forward = [&](Kept& kept, bool to_the_end) {
    kept.r1 = p.make(row_stats);
    const int n1 = p.make(stream);
    p.use({kept.x});
    p.next_op();
    kept.q = linear(n1, q_bytes, &kept.a[0]);
    kept.k = linear(n1, kv_bytes, &kept.a[1]);
    kept.v = linear(n1, kv_bytes, &kept.a[2]);
    p.use({kept.q, kept.k});
    p.next_op();
    kept.out = p.make(q_bytes);
    kept.lse = p.make(lse_bytes);
    const int scratch = p.make(3 << 20);
    p.use({kept.q, kept.k, kept.v, scratch});
    p.next_op();
    const int o = linear(kept.out, stream, &kept.a[3]);
    kept.middle = p.make(stream);
    p.use({kept.x, o});
    p.next_op();
    kept.r2 = p.make(row_stats);
    const int n2 = p.make(stream);
    p.use({kept.middle});
    p.next_op();
    kept.gate = linear(n2, wide, &kept.a[4]);
    kept.up = linear(n2, wide, &kept.a[5]);
    if (!to_the_end) return -1;
    const int product = p.make(wide);
    p.use({kept.gate, kept.up});
    p.next_op();
    const int down = linear(product, stream, &kept.a[6]);
    const int x = p.make(stream);
    p.use({kept.middle, down});
    p.next_op();
    return x;
  };
  std::vector<Kept> layers(static_cast<size_t>(s.layers));
  int x = p.make(stream);
  p.next_op();
  for (int layer = 0; layer < s.layers; ++layer) {
    Kept& kept = layers[static_cast<size_t>(layer)];
    kept.x = x;
    x = forward(kept, true);
  }
  // Head and loss by chunks of rows.
  int dx = p.make(stream);
  for (int64_t row = 0; row < s.tokens; row += s.ce_chunk_rows) {
    const int logits = p.make(s.ce_chunk_rows * s.vocab * 2);
    p.use({x, dx});
    p.next_op();
    p.use({logits, x, dx});
    p.next_op();
  }
  std::vector<int> gradients;
  const auto linear_backward = [&](int which, int input, int dy, int a, int add_to) {
    const Linear& l = linears[which];
    const int da = p.make(low_rank);
    p.use({dy});
    p.next_op();
    gradients.push_back(p.make(s.gradients_full ? l.in * l.out * 4 : s.rank * l.out * 4));
    p.use({dy, a});
    p.next_op();
    if (!s.gradients_full) gradients.push_back(p.make(s.rank * l.in * 4));
    p.use({input, da});
    p.next_op();
    const int dinput = add_to >= 0 ? add_to : p.make(s.tokens * l.in * 2);
    const int scratch = p.make(1 << 17);
    p.use({dy, da, dinput, scratch});
    p.next_op();
    return dinput;
  };
  for (int layer = s.layers - 1; layer >= 0; --layer) {
    Kept& kept = layers[static_cast<size_t>(layer)];
    if (layer < s.recompute_layers) forward(kept, false);
    const int product = p.make(wide);
    p.use({kept.gate, kept.up});
    p.next_op();
    const int dproduct = linear_backward(6, product, dx, kept.a[6], -1);
    const int dgate = p.make(wide), dup = p.make(wide);
    p.use({kept.gate, kept.up, dproduct});
    p.next_op();
    const int n2 = p.make(stream);
    p.use({kept.middle, kept.r2});
    p.next_op();
    const int dn2 = linear_backward(4, n2, dgate, kept.a[4], -1);
    linear_backward(5, n2, dup, kept.a[5], dn2);
    const int dmiddle = p.make(stream);
    p.use({dx, dn2, kept.middle, kept.r2});
    p.next_op();
    const int dout = linear_backward(3, kept.out, dmiddle, kept.a[3], -1);
    const int dq = p.make(q_bytes), dk = p.make(kv_bytes), dv = p.make(kv_bytes), scratch = p.make(4 << 20);
    p.use({kept.q, kept.k, kept.v, kept.out, kept.lse, dout, scratch});
    p.next_op();
    p.use({dq, dk});
    p.next_op();
    const int n1 = p.make(stream);
    p.use({kept.x, kept.r1});
    p.next_op();
    const int dn1 = linear_backward(0, n1, dq, kept.a[0], -1);
    linear_backward(1, n1, dk, kept.a[1], dn1);
    linear_backward(2, n1, dv, kept.a[2], dn1);
    const int dinput = p.make(stream);
    p.use({dmiddle, dn1, kept.x, kept.r1});
    p.next_op();
    dx = dinput;
  }
  for (const int gradient : gradients) p.use({gradient});  // the global norm reads them all
  p.next_op();
  for (const int gradient : gradients) {
    p.use({gradient});
    p.next_op();
  }
  return p.finish();
}

// Without std distributions, whose values differ between standard libraries.
inline int64_t random_below(std::mt19937_64& random, int64_t limit) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
}

inline std::vector<Buffer> random_buffers(uint64_t seed, int count, int32_t times, int64_t max_bytes,
                                          int32_t max_duration) {
  std::mt19937_64 random(seed);
  std::vector<Buffer> buffers;
  for (int i = 0; i < count; ++i) {
    const auto first = static_cast<int32_t>(random_below(random, times));
    const auto last = static_cast<int32_t>(std::min<int64_t>(times - 1, first + random_below(random, max_duration)));
    buffers.push_back(
        {random_below(random, max_bytes + 1), int64_t{1} << random_below(random, 4), first, last, std::nullopt});
  }
  return buffers;
}

}  // namespace plimsoll
