// A layer norm and the ReLU behind it, of rows [rows, size].

#include "vectors.h"

static inline float added(Vector x) {
    float total = 0;
    for (int k = 0; k < LANES; k++) total += x[k];
    return total;
}

// out = max(0, (x − mean)/√(variance + eps) · weight + bias); `means` and `scales` [rows] are kept for the backward pass.
extern "C" void norm_forward(const float* x, int64_t rows, int64_t size, const float* weight, const float* bias, double eps,
                             float* means, float* scales, float* out) {
    for (int64_t r = 0; r < rows; r++, x += size, out += size) {
        Vector sums[2] = {};
        int64_t i = 0;
        for (; i + 2 * LANES <= size; i += 2 * LANES) {
            sums[0] += load(x + i);
            sums[1] += load(x + i + LANES);
        }
        float total = added(sums[0] + sums[1]);
        for (; i < size; i++) total += x[i];
        float mean = total / size, square = 0;
        sums[0] = sums[1] = Vector{};
        for (i = 0; i + 2 * LANES <= size; i += 2 * LANES) {
            Vector a = load(x + i) - mean, b = load(x + i + LANES) - mean;
            sums[0] += a * a;
            sums[1] += b * b;
        }
        square = added(sums[0] + sums[1]);
        for (; i < size; i++) square += (x[i] - mean) * (x[i] - mean);
        float scale = 1 / std::sqrt(square / size + (float)eps);
        for (i = 0; i < size; i++) {
            float y = (x[i] - mean) * scale * weight[i] + bias[i];
            out[i] = y < 0 ? 0.0f : y;
        }
        means[r] = mean;
        scales[r] = scale;
    }
}

// `grad` [rows, size] is the loss's by the output, and becomes that by x; the norm's own gradients are overwritten.
extern "C" void norm_backward(const float* x, const float* out, const float* means, const float* scales, int64_t rows,
                              int64_t size, const float* weight, float* grad, float* weight_grad, float* bias_grad) {
    std::fill(weight_grad, weight_grad + size, 0.0f);
    std::fill(bias_grad, bias_grad + size, 0.0f);
    for (int64_t r = 0; r < rows; r++, x += size, out += size, grad += size) {
        float mean = means[r], scale = scales[r];
        Vector sums[2] = {};
        float some[2] = {};
        int64_t i = 0;
        for (; i + LANES <= size; i += LANES) {
            Vector g = load(out + i) <= Vector{} ? Vector{} : load(grad + i), hat = (load(x + i) - mean) * scale;
            store(weight_grad + i, load(weight_grad + i) + g * hat);
            store(bias_grad + i, load(bias_grad + i) + g);
            g *= load(weight + i);
            store(grad + i, g);
            sums[0] += g;
            sums[1] += g * hat;
        }
        for (; i < size; i++) {
            float g = out[i] <= 0 ? 0.0f : grad[i], hat = (x[i] - mean) * scale;
            weight_grad[i] += g * hat;
            bias_grad[i] += g;
            grad[i] = g *= weight[i];
            some[0] += g;
            some[1] += g * hat;
        }
        float level = (added(sums[0]) + some[0]) / size, tilt = (added(sums[1]) + some[1]) / size;
        for (i = 0; i < size; i++) grad[i] = scale * (grad[i] - level - (x[i] - mean) * scale * tilt);
    }
}
