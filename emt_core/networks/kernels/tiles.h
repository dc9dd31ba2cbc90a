// What the compiled kernels share: vectors, the register-tiled product, tanh, and where arrays lie.
//
// LANES is how many floats a vector holds; setup.py compiles each kernel once for each instruction set. GCC's vector types
// (also clang's) do the rest: no intrinsics.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// Of the functions that Python calls: compiled.py has the same number, and loads no library with another one.
constexpr int ABI = 2;

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
static inline vec all(float x) { return x - vec{}; }  // not vec{} + x: -0 + 0 is 0, so that is an addition

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

// exp(y) = scale (1 + p) for |y| < 88: scale = 2^n, p = exp(r) - 1, y = n ln 2 + r. p is Taylor's: at |r| <= ln 2 / 2 the
// first missing term is under 2e-8 of it.
static inline void exp_parts(vec y, vec& scale, vec& p) {
  const vec magic = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const vec shifted = y * 1.44269504f + magic;
  const vec n = shifted - magic;
  const vec r = (y - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  p = all(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r;
  scale = (vec)(((veci)shifted - (veci)magic + 127) << 23);
}

// tanh |x| = -q / (2 + q) with q = exp(-2|x|) - 1 = scale p + (scale - 1). For small |x|, scale = 1 and q = p keeps its
// relative accuracy.
static inline vec tanh_of(vec x) {
  const veci sign = (veci)x & (veci{} + INT32_MIN);
  vec a = (vec)((veci)x & (veci{} + INT32_MAX));
  a = a > all(10.0f) ? all(10.0f) : a;  // tanh 10 rounds to 1; written so that a NaN stays one
  vec scale, p;
  exp_parts(-2.0f * a, scale, p);
  const vec q = scale * p + (scale - 1.0f);
  return (vec)((veci)(-q / (2.0f + q)) | sign);
}

// 1 / (1 + exp(-x)), with the relative accuracy of a float also where it is tiny.
static inline vec sigmoid_of(vec x) {
  vec y = -x;
  y = y > all(87.0f) ? all(87.0f) : y;
  y = y < all(-87.0f) ? all(-87.0f) : y;
  vec scale, p;
  exp_parts(y, scale, p);
  return 1.0f / (1.0f + scale * (1.0f + p));
}

// ---- where arrays lie ------------------------------------------------------------------------------------------------

// Rows are as many floats apart as their length rounded up to whole vectors, and one cache line more: rows a power of two
// apart would share few sets of the cache.
static inline ptrdiff_t padded(ptrdiff_t n) { return (n + LANES - 1) / LANES * LANES; }
static inline ptrdiff_t stride(ptrdiff_t n) { return padded(n) + 16; }

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

static inline void copy(const float* from, ptrdiff_t rows, ptrdiff_t cols, float* to, ptrdiff_t ld) {
  for (ptrdiff_t i = 0; i < rows; i++) std::memcpy(to + i * ld, from + i * cols, cols * sizeof(float));
}

static inline void copy_out(const float* from, ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t ld, float* to) {
  for (ptrdiff_t i = 0; i < rows; i++) std::memcpy(to + i * cols, from + i * ld, cols * sizeof(float));
}

static inline void copy_transposed(const float* from, ptrdiff_t rows, ptrdiff_t cols, float* to, ptrdiff_t ld) {
  for (ptrdiff_t i = 0; i < rows; i++)
    for (ptrdiff_t j = 0; j < cols; j++) to[j * ld + i] = from[i * cols + j];
}
