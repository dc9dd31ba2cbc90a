// States of one GRU over a sequence of tokens, and the gradients back (float32, one thread). Plain C interface: gru.py loads
// it with ctypes. Gates in torch's order r, z, n; x_t is a row of a table, one row per token, that already holds W_ih times
// the token's embedding and all biases but b_hn, so that no product with an input is left:
//
//   r = sigmoid(x_r + W_r h)   z = sigmoid(x_z + W_z h)   q = W_n h + b_hn   n = tanh(x_n + r q)   h' = n + z (h - n)
//
// At step t only the first active[t] sequences of the batch move, the others keep their state: sequences sorted by length,
// longest first, cost no more than their tokens. What else makes it fast is said in elman.cpp.

#include <cstdint>
#include <cstring>

#include "tiles.h"

struct Size {
  ptrdiff_t N, V, B, T;
  ptrdiff_t w() const { return padded(N); }           // one gate
  ptrdiff_t n() const { return stride(N); }           // a row of N
  ptrdiff_t g() const { return 4 * padded(N) + 16; }  // a row of r, z, q, n
};

// What the backward pass needs: T + 1 states and T rows of gates for each sequence.
struct Saved {
  float *states, *gates;
  Saved(const Size& s, Arena& arena) {
    states = arena.take((s.T + 1) * s.B * s.n());
    gates = arena.take(s.T * s.B * s.g());
  }
};

// (3N, N) weights as a (3w, n) array, and transposed as (N, g); the padding is zero already.
static void pad_gates(const Size& s, const float* W, float* to) {
  for (ptrdiff_t k = 0; k < 3; k++) copy(W + k * s.N * s.N, s.N, s.N, to + k * s.w() * s.n(), s.n());
}

static void pad_gates_transposed(const Size& s, const float* W, float* to) {
  for (ptrdiff_t k = 0; k < 3; k++) copy_transposed(W + k * s.N * s.N, s.N, s.N, to + k * s.w(), s.g());
}

// The gates of one sequence, from W h in the first three blocks of its row, and its new state.
static inline void move(const Size& s, const float* x, const float* b_hn, const float* h, float* gates, float* next) {
  const ptrdiff_t w = s.w();
  for (ptrdiff_t j = 0; j < w; j += LANES) {
    const vec r = sigmoid_of(load(gates + j) + load(x + j));
    const vec z = sigmoid_of(load(gates + w + j) + load(x + w + j));
    const vec q = load(gates + 2 * w + j) + load(b_hn + j);
    const vec n = tanh_of(load(x + 2 * w + j) + r * q);
    store(gates + j, r), store(gates + w + j, z), store(gates + 2 * w + j, q), store(gates + 3 * w + j, n);
    store(next + j, n + z * (load(h + j) - n));
  }
}

// From the gradient of a sequence's new state: those of r, z and q before their functions (delta), of x_n before tanh (dn),
// and what of the state's gradient reaches the old state directly.
static inline void move_back(const Size& s, const float* h, const float* gates, float* grad, float* delta, float* dn) {
  const ptrdiff_t w = s.w();
  for (ptrdiff_t j = 0; j < w; j += LANES) {
    const vec r = load(gates + j), z = load(gates + w + j), q = load(gates + 2 * w + j), n = load(gates + 3 * w + j);
    const vec d = load(grad + j);
    const vec a = d * (1.0f - z) * (1.0f - n * n);
    store(dn + j, a);
    store(delta + j, a * q * r * (1.0f - r));
    store(delta + w + j, d * (load(h + j) - n) * z * (1.0f - z));
    store(delta + 2 * w + j, a * r);
    store(grad + j, d * z);
  }
}

static inline void add_to(float* sum, const float* x, ptrdiff_t n) {
  for (ptrdiff_t j = 0; j < n; j += LANES) store(sum + j, load(sum + j) + load(x + j));
}

extern "C" {

int gru_abi() { return ABI; }

// How many floats `saved` and `work` must hold; both must be aligned to 64 bytes.
int64_t gru_saved(int64_t N, int64_t V, int64_t B, int64_t T) {
  const Size s{N, V, B, T};
  Arena arena{nullptr};
  Saved(s, arena);
  return arena.used;
}

int64_t gru_workspace(int64_t N, int64_t V, int64_t B, int64_t T) {
  const Size s{N, V, B, T};
  return (V + N + B) * s.g() + 6 * s.w() * s.n() + (B + 2) * s.n() + 64;
}

// table (V, 3N), b_hn (N), W_hh (3N, N), tokens (T, B) below V, active (T), h0 (B, N), states (T, B, N): contiguous.
void gru_forward(int64_t N, int64_t V, int64_t B, int64_t T, const float* table, const float* b_hn, const float* W_hh,
                 const int64_t* tokens, const int64_t* active, const float* h0, float* work, float* saved, float* states) {
  const Size s{N, V, B, T};
  const ptrdiff_t n = s.n(), g = s.g(), w = s.w();
  std::memset(work, 0, (V * g + N * g + n) * sizeof(float));
  Arena arena{work}, kept{saved};
  float *x = arena.take(V * g), *WT = arena.take(N * g), *bias = arena.take(n);
  for (ptrdiff_t v = 0; v < V; v++) copy(table + v * 3 * N, 3, N, x + v * g, w);
  pad_gates_transposed(s, W_hh, WT);
  copy(b_hn, 1, N, bias, n);
  const Saved k(s, kept);
  std::memset(k.states, 0, B * n * sizeof(float));
  copy(h0, B, N, k.states, n);
  for (ptrdiff_t t = 0; t < T; t++) {
    const float* h = k.states + t * B * n;
    float *next = k.states + (t + 1) * B * n, *gates = k.gates + t * B * g;
    product(active[t], 3 * w, N, h, n, 1, WT, g, gates, g, false);
    for (ptrdiff_t i = 0; i < active[t]; i++)
      move(s, x + tokens[t * B + i] * g, bias, h + i * n, gates + i * g, next + i * n);
    if (active[t] < B) std::memcpy(next + active[t] * n, h + active[t] * n, (B - active[t]) * n * sizeof(float));
    for (ptrdiff_t i = 0; i < B; i++) std::memcpy(states + (t * B + i) * N, next + i * n, N * sizeof(float));
  }
}

// From the gradients of all states (T, B, N): that of h0, and unless grad_table is null those of table, b_hn and W_hh.
void gru_backward(int64_t N, int64_t V, int64_t B, int64_t T, const float* W_hh, const int64_t* tokens,
                  const int64_t* active, const float* saved, const float* grad_states, float* work, float* grad_h0,
                  float* grad_table, float* grad_b_hn, float* grad_hh) {
  const Size s{N, V, B, T};
  const ptrdiff_t n = s.n(), g = s.g(), w = s.w();
  Arena arena{work}, kept{const_cast<float*>(saved)};
  float *W = arena.take(3 * w * n), *dW = arena.take(3 * w * n), *dx = arena.take(V * g);
  float *grad = arena.take(B * n), *db = arena.take(n), *dn = arena.take(n), *delta = arena.take(B * g);
  std::memset(work, 0, (delta - work) * sizeof(float));
  pad_gates(s, W_hh, W);
  const Saved k(s, kept);
  for (ptrdiff_t t = T - 1; t >= 0; t--) {
    const float *h = k.states + t * B * n, *gates = k.gates + t * B * g;
    for (ptrdiff_t i = 0; i < B; i++)
      for (ptrdiff_t j = 0; j < N; j++) grad[i * n + j] += grad_states[(t * B + i) * N + j];
    for (ptrdiff_t i = 0; i < active[t]; i++) {
      move_back(s, h + i * n, gates + i * g, grad + i * n, delta + i * g, dn);
      if (grad_table) {
        float* row = dx + tokens[t * B + i] * g;
        add_to(row, delta + i * g, 2 * w), add_to(row + 2 * w, dn, w), add_to(db, delta + i * g + 2 * w, w);
      }
    }
    product(active[t], w, 3 * w, delta, g, 1, W, n, grad, n, true);
    if (grad_table) product(3 * w, w, active[t], delta, 1, g, h, n, dW, n, true);
  }
  copy_out(grad, B, N, n, grad_h0);
  if (!grad_table) return;
  copy_out(db, 1, N, n, grad_b_hn);
  for (ptrdiff_t v = 0; v < V; v++) copy_out(dx + v * g, 3, N, w, grad_table + v * 3 * N);
  for (ptrdiff_t k3 = 0; k3 < 3; k3++) copy_out(dW + k3 * w * n, N, N, n, grad_hh + k3 * N * N);
}
}
