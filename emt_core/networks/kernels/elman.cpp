// Loss and gradients of one tanh Elman network (forward, back-propagation through time, float32, one thread), and one
// step of clipped Adam. Plain C interface: elman_native.py loads it with ctypes.
//
//   forward   h_t = tanh(W_hh h_{t-1} + W_uh u_t)        backward   d_t = (W_r' e_t + W_hh' d_{t+1}) * (1 - h_t^2)
//             o_t = W_r h_t,  e_t = 2 (o_t - x_t)/(T B D)           dW_hh = sum_t d_t h_{t-1}',  dW_uh, dW_r alike
//
// What makes it fast: a state is (B, N) with N along the vector, so that all five products are one register-tiled
// routine; the weights stay in the cache over the whole sequence; and the gradients are added up inside the backward
// loop, while d_t and h_{t-1} are still there.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tiles.h"

struct Size {
  ptrdiff_t N, D, B, S, T;
  ptrdiff_t L() const { return S + T; }
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

int elman_abi() { return ABI; }

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
