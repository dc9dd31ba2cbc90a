// Loss and gradients of one tanh Elman network (forward, back-propagation through time, float32, one thread), and one
// step of clipped Adam. Plain C interface: native.py loads it with ctypes and runs many models on many threads.
//
//   forward   h_t = tanh(W_hh h_{t-1} + W_uh u_t)        backward   d_t = (W_r' e_t + W_hh' d_{t+1}) * (1 - h_t^2)
//             o_t = W_r h_t,  e_t = 2 (o_t - x_t)/(T B D)           dW_hh = sum_t d_t h_{t-1}',  dW_uh, dW_r alike
//
// What makes it fast: a state is (B, N) with N along the vector, so that all five products are one register-tiled
// routine; the weights stay in the cache over the whole sequence; and the gradients are added up inside the backward
// loop, while d_t and h_{t-1} are still there. LANES is how many floats a vector holds; setup.py compiles this file once
// for each instruction set. GCC's vector types (also clang's) do the rest: no intrinsics.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
// A tile of ROWS x VECTORS accumulators fills the registers (32 of them with AVX-512 and NEON, else 16).
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS = 6, VECTORS = 4;
#else
constexpr int ROWS = 6, VECTORS = 2;
#endif

typedef float vec __attribute__((vector_size(4 * LANES), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * LANES)));

static inline vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
static inline void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
static inline vec all(float x) { return vec{} + x; }

// ---- products ------------------------------------------------------------------------------------------------------

// C[i, j] = (add ? C[i, j] : 0) + sum_k A[i, k] B[k, j] for R rows and V vectors of columns; A by any two strides.
template <int R, int V>
static inline void tile(ptrdiff_t K, const float* A, ptrdiff_t row, ptrdiff_t col, const float* B, ptrdiff_t ldb,
                        float* C, ptrdiff_t ldc, bool add) {
  vec sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[r][v] = vec{};
  for (ptrdiff_t k = 0; k < K; k++) {
    vec b[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) b[v] = load(B + k * ldb + v * LANES);
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
      const vec a = all(A[r * row + k * col]);
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) sum[r][v] += a * b[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
      float* c = C + r * ldc + v * LANES;
      store(c, add ? load(c) + sum[r][v] : sum[r][v]);
    }
}

template <int R, int V>
static void rows(ptrdiff_t M, ptrdiff_t K, const float* A, ptrdiff_t row, ptrdiff_t col, const float* B, ptrdiff_t ldb,
                 float* C, ptrdiff_t ldc, bool add) {
  for (; M >= R; M -= R, A += R * row, C += R * ldc) tile<R, V>(K, A, row, col, B, ldb, C, ldc, add);
  if constexpr (R > 1)
    if (M > 0) rows<R - 1, V>(M, K, A, row, col, B, ldb, C, ldc, add);
}

// The same for M rows and N columns, N a multiple of LANES.
template <int V = VECTORS>
static void product(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const float* A, ptrdiff_t row, ptrdiff_t col,
                    const float* B, ptrdiff_t ldb, float* C, ptrdiff_t ldc, bool add) {
  for (; N >= V * LANES; N -= V * LANES, B += V * LANES, C += V * LANES)
    rows<ROWS, V>(M, K, A, row, col, B, ldb, C, ldc, add);
  if constexpr (V > 1)
    if (N > 0) product<V - 1>(M, N, K, A, row, col, B, ldb, C, ldc, add);
}

// ---- tanh ----------------------------------------------------------------------------------------------------------

// tanh |x| = -q / (2 + q) with q = exp(-2|x|) - 1 = 2^n p + (2^n - 1), p = exp(r) - 1, -2|x| = n ln 2 + r. For small |x|,
// n = 0 and q = p keeps its relative accuracy. p is Taylor's: at |r| <= ln 2 / 2 the first missing term is under 2e-8 of it.
static inline vec tanh_of(vec x) {
  const veci sign = (veci)x & (veci{} + INT32_MIN);
  vec a = (vec)((veci)x & (veci{} + INT32_MAX));
  a = a > all(10.0f) ? all(10.0f) : a;  // tanh 10 rounds to 1; written so that a NaN stays one
  const vec y = -2.0f * a;
  const vec magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const vec shifted = y * 1.44269504f + magic;
  const vec n = shifted - magic;
  const vec r = (y - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  vec p = all(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r;
  const vec scale = (vec)(((veci)shifted - (veci)magic + 127) << 23);  // 2^n
  const vec q = scale * p + (scale - 1.0f);
  return (vec)((veci)(-q / (2.0f + q)) | sign);
}

// ---- one network ---------------------------------------------------------------------------------------------------

// Rows are as many floats apart as their length rounded up to whole vectors, and one cache line more: rows a power of two
// apart would share few sets of the cache.
static ptrdiff_t padded(ptrdiff_t n) { return (n + LANES - 1) / LANES * LANES; }
static ptrdiff_t stride(ptrdiff_t n) { return padded(n) + 16; }

struct Size {
  ptrdiff_t N, D, B, S, T;
  ptrdiff_t L() const { return S + T; }
};

// Hands out consecutive zeroed pieces of the workspace; with base = nullptr it only counts.
struct Arena {
  float* base;
  ptrdiff_t used = 0;
  float* take(ptrdiff_t floats) {
    float* piece = base ? base + used : nullptr;
    used += (floats + 15) / 16 * 16;
    return piece;
  }
};

struct Buffers {
  ptrdiff_t n, d;  // strides
  float *states, *grad, *delta, *next, *W, *WT, *UT, *R, *RT, *error, *dW, *dU, *dR;
  Buffers(const Size& s, Arena& arena) : n(stride(s.N)), d(stride(s.D)) {
    W = arena.take(s.N * n), WT = arena.take(s.N * n);    // W_hh and its transpose
    UT = arena.take(s.D * n);                             // W_uh transposed
    R = arena.take(s.D * n), RT = arena.take(s.N * d);    // W_r and its transpose
    dW = arena.take(s.N * n), dU = arena.take(s.D * n), dR = arena.take(s.D * n);
    error = arena.take(s.B * d);
    grad = arena.take(s.B * n), next = arena.take(s.B * n);
    states = arena.take(s.L() * s.B * n);
  }
};

static void copy(const float* from, ptrdiff_t rows, ptrdiff_t cols, float* to, ptrdiff_t ld) {
  for (ptrdiff_t i = 0; i < rows; i++) std::memcpy(to + i * ld, from + i * cols, cols * sizeof(float));
}

static void copy_transposed(const float* from, ptrdiff_t rows, ptrdiff_t cols, float* to, ptrdiff_t ld) {
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < cols; j++) to[j * ld + i] = from[i * cols + j];
}

static void forward(const Size& s, const Buffers& b, const float* inputs) {
  const ptrdiff_t width = padded(s.N), step = s.B * b.n;
  for (ptrdiff_t t = 0; t < s.L(); t++) {
    float* h = b.states + t * step;
    if (t > 0) product(s.B, width, s.N, h - step, b.n, 1, b.WT, b.n, h, b.n, false);
    if (t < s.S) product(s.B, width, s.D, inputs + t * s.B * s.D, s.D, 1, b.UT, b.n, h, b.n, t > 0);
    for (ptrdiff_t i = 0; i < s.B; i++)
      for (ptrdiff_t j = 0; j < width; j += LANES) store(h + i * b.n + j, tanh_of(load(h + i * b.n + j)));
  }
}

// The error e_t of one output step into b.error; adds to the squared error and to the number of right signs.
static void read_out(const Size& s, const Buffers& b, const float* h, const float* target, double& squared,
                     int64_t& right) {
  const float scale = 2.0f / (float(s.T) * float(s.B) * float(s.D));
  product(s.B, padded(s.D), s.N, h, b.n, 1, b.RT, b.d, b.error, b.d, false);
  float sum = 0;
  int32_t hits = 0;
  for (ptrdiff_t i = 0; i < s.B; i++)
    for (ptrdiff_t j = 0; j < s.D; j++) {
      float& o = b.error[i * b.d + j];
      const float x = target[i * s.D + j];
      hits += o * x > 0;
      o -= x;
      sum += o * o;
      o *= scale;
    }
  squared += sum;
  right += hits;
}

static void backward(const Size& s, Buffers& b, const float* inputs, const float* targets, double& squared,
                     int64_t& right) {
  const ptrdiff_t width = padded(s.N), step = s.B * b.n;
  for (ptrdiff_t t = s.L() - 1; t >= 0; t--) {
    const float* h = b.states + t * step;
    if (t >= s.S) {
      read_out(s, b, h, targets + (t - s.S) * s.B * s.D, squared, right);
      product(s.B, width, s.D, b.error, b.d, 1, b.R, b.n, b.grad, b.n, false);
      product(s.D, width, s.B, b.error, 1, b.d, h, b.n, b.dR, b.n, true);
    }
    if (t < s.L() - 1) product(s.B, width, s.N, b.next, b.n, 1, b.W, b.n, b.grad, b.n, t >= s.S);
    for (ptrdiff_t i = 0; i < s.B; i++)
      for (ptrdiff_t j = 0; j < width; j += LANES) {
        const vec a = load(h + i * b.n + j);
        store(b.grad + i * b.n + j, load(b.grad + i * b.n + j) * (1.0f - a * a));
      }
    if (t > 0) product(s.N, width, s.B, b.grad, 1, b.n, h - step, b.n, b.dW, b.n, true);
    if (t < s.S) product(s.D, width, s.B, inputs + t * s.B * s.D, 1, s.D, b.grad, b.n, b.dU, b.n, true);
    float* swap = b.grad;
    b.grad = b.next, b.next = swap;
  }
}

extern "C" {

// How many floats `work` must hold below; it must be aligned to 64 bytes.
int64_t elman_workspace(int64_t N, int64_t D, int64_t B, int64_t S, int64_t T) {
  Arena arena{nullptr};
  Buffers(Size{N, D, B, S, T}, arena);
  return arena.used;
}

// All arrays contiguous: W_uh (N, D), W_hh (N, N), W_r (D, N), inputs (S, B, D), targets (T, B, D), gradients as the
// weights; result[0] is the loss, result[1] the share of right signs.
void elman_loss_and_grad(int64_t N, int64_t D, int64_t B, int64_t S, int64_t T, const float* W_uh, const float* W_hh,
                         const float* W_r, const float* inputs, const float* targets, float* work, float* grad_uh,
                         float* grad_hh, float* grad_r, double* result) {
  const Size s{N, D, B, S, T};
  Arena arena{work};
  Buffers b(s, arena);
  std::memset(work, 0, (b.states - work) * sizeof(float));  // the padding must be zero; so must the sums
  copy(W_hh, N, N, b.W, b.n), copy_transposed(W_hh, N, N, b.WT, b.n);
  copy_transposed(W_uh, N, D, b.UT, b.n);
  copy(W_r, D, N, b.R, b.n), copy_transposed(W_r, D, N, b.RT, b.d);
  double squared = 0;
  int64_t right = 0;
  forward(s, b, inputs);
  backward(s, b, inputs, targets, squared, right);
  for (int64_t i = 0; i < N; i++) {
    std::memcpy(grad_hh + i * N, b.dW + i * b.n, N * sizeof(float));
    for (int64_t j = 0; j < D; j++) grad_uh[i * D + j] = b.dU[j * b.n + i];
  }
  for (int64_t i = 0; i < D; i++) std::memcpy(grad_r + i * N, b.dR + i * b.n, N * sizeof(float));
  result[0] = squared / (double(T) * B * D);
  result[1] = double(right) / (double(T) * B * D);
}

// Adam with coupled weight decay on P weights, in place, the gradient's norm first clipped to `clip`; n counts updates
// from 1. Returns 0 and changes nothing where the norm is not finite.
int elman_clip_and_adam(int64_t P, float* weights, float* m, float* v, const float* gradient, double lr, double l2,
                        double clip, int64_t n, double beta1, double beta2, double epsilon) {
  double sums[8] = {};  // eight, so that the compiler may use vectors
  for (int64_t i = 0; i + 8 <= P; i += 8)
    for (int64_t j = 0; j < 8; j++) sums[j] += double(gradient[i + j]) * gradient[i + j];
  double squared = 0;
  for (double sum : sums) squared += sum;
  for (int64_t i = P / 8 * 8; i < P; i++) squared += double(gradient[i]) * gradient[i];
  const double norm = std::sqrt(squared);
  if (!(norm < 3.4e38)) return 0;  // NaN too
  const double factor = clip / (norm + 1e-6);
  const float scale = factor < 1 ? float(factor) : 1.0f, decay = float(l2);
  const float rate = float(lr / (1 - std::pow(beta1, double(n)))), root = float(1 / std::sqrt(1 - std::pow(beta2, double(n))));
  const float new1 = float(1 - beta1), old2 = float(beta2), new2 = float(1 - beta2), floor = float(epsilon);
  for (int64_t i = 0; i < P; i++) {
    const float g = gradient[i] * scale + decay * weights[i];
    m[i] += new1 * (g - m[i]);
    v[i] = old2 * v[i] + new2 * (g * g);
    weights[i] -= rate * (m[i] / (std::sqrt(v[i]) * root + floor));
  }
  return 1;
}
}
