// Steps of an optimiser.

#include "vectors.h"

// Gradients [rows, size] scaled, each row by itself, so that its norm is at most `limit` (`nets.optimizers.clip_norm`).
extern "C" void clip(float* grad, int64_t rows, int64_t size, float limit) {
    for (int64_t r = 0; r < rows; r++, grad += size) {
        Vector sums[4] = {};
        int64_t i = 0;
        for (; i + 4 * LANES <= size; i += 4 * LANES)
            for (int k = 0; k < 4; k++) {
                Vector x = load(grad + i + k * LANES);
                sums[k] += x * x;
            }
        Vector some = sums[0] + sums[1] + sums[2] + sums[3];
        double square = 0;
        for (int k = 0; k < LANES; k++) square += some[k];
        for (; i < size; i++) square += grad[i] * grad[i];
        float scale = limit / ((float)std::sqrt(square) + 1e-6f);
        if (scale >= 1) continue;
        for (i = 0; i < size; i++) grad[i] *= scale;
    }
}

// Numbers too small to be whole ones count as 0 while it lives: moments of gradients that are 0 shrink into them, where a
// processor takes a hundred times as long.
struct WithoutTraces {
#if defined(__SSE__)
    unsigned before = __builtin_ia32_stmxcsr();
    WithoutTraces() { __builtin_ia32_ldmxcsr(before | 0x8040); }  // flush to zero, and take for zero
    ~WithoutTraces() { __builtin_ia32_ldmxcsr(before); }
#endif
};

// Adam, or with `decay` AdamW, as PyTorch has them; `taken` [rows] counts steps, this one too. A row's rate is `rate`, or
// with `rates` [rows] its own.
extern "C" void adam(float* __restrict data, const float* __restrict grad, float* __restrict mean,
                     float* __restrict square, float* taken, int64_t rows, int64_t size, double rate, const double* rates,
                     double beta1, double beta2, double eps, double decay) {
    [[maybe_unused]] WithoutTraces within;
    float keep1 = beta1, keep2 = beta2, take1 = 1 - beta1, take2 = 1 - beta2, smallest = eps;
    for (int64_t r = 0; r < rows; r++, data += size, grad += size, mean += size, square += size) {
        taken[r] += 1;
        double own = rates ? rates[r] : rate;
        float step = own / (1 - std::pow(beta1, taken[r])), root = 1 / std::sqrt(1 - std::pow(beta2, taken[r]));
        float shrink = 1 - own * decay;
        for (int64_t i = 0; i < size; i++) {
            float g = grad[i];
            float m = mean[i] * keep1 + g * take1, s = square[i] * keep2 + g * (g * take2);
            mean[i] = m;
            square[i] = s;
            data[i] = data[i] * shrink - step * m / (std::sqrt(s) * root + smallest);
        }
    }
}
