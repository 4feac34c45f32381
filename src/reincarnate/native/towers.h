// Towers: linear layers with tanh or ReLU between them, of one network or of several of one shape, `stride` numbers apart.

#pragma once

#include "vectors.h"

struct Layer {
    const float *weight, *bias;  // [out, in], [out]
    float *weight_grad, *bias_grad;
    int64_t in, out;
};

// Weights [out, in] as [in, whole vectors of out], with the bias as one row more.
static inline const float* turned(const Layer& layer, int64_t of, Buffer& buffer) {
    int64_t width = padded(layer.out), in = layer.in, out = layer.out;
    const float* weight = layer.weight + of;
    float* to = room(buffer, (in + 1) * width);
    if (width != out) std::fill(to, to + (in + 1) * width, 0.0f);
    turn(weight, out, in, to, width);
    std::memcpy(to + in * width, layer.bias + of, out * sizeof(float));
    return to;
}

struct Tower {  // of each of `seeds` networks, whose parameters lie `stride` numbers apart; rows are theirs in equal parts
    const Layer* layers;
    int64_t count, tanh, seeds, stride;
    int64_t units() const {  // of the hidden layers
        int64_t sum = 0;
        for (int64_t l = 0; l + 1 < count; l++) sum += layers[l].out;
        return sum;
    }
    int64_t in() const { return layers[0].in; }
    int64_t out() const { return layers[count - 1].out; }
};

// `rows` of each seed, here and below. `hidden` [seeds, layers, rows, out] is what the backward pass needs.
static inline void forward(const Tower& tower, const float* x, int64_t rows, float* hidden, float* out) {
    static thread_local Buffer buffer;
    auto [layers, count, tanh, seeds, stride] = tower;
    for (int64_t s = 0; s < seeds; s++) {
        const float* below = x + s * rows * layers[0].in;
        for (int64_t l = 0; l < count; l++) {
            const Layer& layer = layers[l];
            bool last = l + 1 == count;
            float* to = last ? out + s * rows * layer.out : hidden;
            const float* weight = turned(layer, s * stride, buffer);
            const float* bias = weight + layer.in * padded(layer.out);
            product({below, layer.in, 1}, weight, rows, layer.in, layer.out, to, bias, !last && !tanh);
            if (!last && tanh) tanh_all(to, rows * layer.out);
            if (!last) hidden += rows * layer.out;
            below = to;
        }
    }
}

static inline void sum_columns(const float* x, int64_t rows, int64_t columns, float* out) {
    std::fill(out, out + columns, 0.0f);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) out[j] += x[i * columns + j];
}

static inline void through(float* grad, const float* activation, int64_t n, bool tanh) {  // times the activation's slope
    if (tanh)
        for (int64_t i = 0; i < n; i++) grad[i] *= 1 - activation[i] * activation[i];
    else
        for (int64_t i = 0; i < n; i++) grad[i] = activation[i] <= 0 ? 0.0f : grad[i];
}

// Fill the layers' gradients; `hidden` is what the forward pass left, `slope` [rows, out] the loss's by the output.
static inline void backward(const Tower& tower, const float* x, int64_t rows, const float* hidden, const float* slope) {
    static thread_local Buffer right, weights, first, second;
    auto [layers, count, tanh, seeds, stride] = tower;
    int64_t units = tower.units();
    for (int64_t s = 0; s < seeds; s++) {
        const float* end = hidden + (s + 1) * rows * units;
        const float* grad = slope + s * rows * layers[count - 1].out;
        for (int64_t l = count - 1; l >= 0; l--) {
            const Layer& layer = layers[l];
            const float* below = l ? end - rows * layer.in : x + s * rows * layer.in;
            product({grad, 1, layer.out}, whole(below, rows, layer.in, right), layer.out, rows, layer.in,
                    layer.weight_grad + s * stride);
            sum_columns(grad, rows, layer.out, layer.bias_grad + s * stride);
            if (!l) break;
            float* behind = room(l % 2 ? first : second, rows * layer.in);
            const float* weight = whole(layer.weight + s * stride, layer.out, layer.in, weights);
            product({grad, layer.out, 1}, weight, rows, layer.out, layer.in, behind);
            through(behind, below, rows * layer.in, tanh);
            grad = behind;
            end = below;
        }
    }
}
