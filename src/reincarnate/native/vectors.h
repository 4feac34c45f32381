// Vectors of the processor that this is compiled for, and what is made of them: products of matrices, e^x, tanh.
// Matrices are float32, row-major and dense; `rows` counts examples.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__AVX512F__)
constexpr int LANES = 16, WIDE = 4;  // numbers of a vector, and vectors of a tile: a tile fits the registers
#elif defined(__AVX__)
constexpr int LANES = 8, WIDE = 2;
#else
constexpr int LANES = 4, WIDE = 4;
#endif
constexpr int TALL = 6;  // rows of a tile

typedef float Vector __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

using Buffer = std::vector<float>;

static inline Vector load(const float* at) { return *(const Vector*)at; }
static inline void store(float* at, Vector x) { *(Vector*)at = x; }
static inline Vector all(float x) { return x - Vector{}; }
static inline Vector larger(Vector x, Vector y) { return x > y ? x : y; }
static inline Vector smaller(Vector x, Vector y) { return x < y ? x : y; }
static inline int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
static inline float* room(Buffer& buffer, int64_t size) {
    if ((int64_t)buffer.size() < size) buffer.resize(size);
    return buffer.data();
}

// ---- products --------------------------------------------------------------------------------------------------

struct Matrix {  // element (i, j) stands at `at[i * row + j * column]`
    const float* at;
    int64_t row, column;
};

template <int R, int C>
static inline void tile(Matrix a, const float* b, int64_t width, int64_t inner, float* out, int64_t columns,
                        int64_t across, const float* bias, bool relu) {
    Vector sum[R][C];
#pragma GCC unroll 8
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
        for (int j = 0; j < C; j++) sum[i][j] = bias ? load(bias + j * LANES) : Vector{};
    for (int64_t k = 0; k < inner; k++) {
        Vector right[C];
#pragma GCC unroll 8
        for (int j = 0; j < C; j++) right[j] = load(b + k * width + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) {
            Vector left = all(a.at[i * a.row + k * a.column]);
#pragma GCC unroll 8
            for (int j = 0; j < C; j++) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; i++)
#pragma GCC unroll 8
        for (int j = 0; j < C; j++) {
            Vector x = sum[i][j];
            if (relu) x = x < Vector{} ? Vector{} : x;  // what is no number stays so
            float* to = out + i * across + j * LANES;
            if ((j + 1) * LANES <= columns) store(to, x);
            else if (j * LANES < columns) std::memcpy(to, &x, (columns - j * LANES) * sizeof(float));
        }
}

template <int R>
static inline void band(Matrix a, const float* b, int64_t width, int64_t inner, float* out, int64_t columns,
                        int64_t across, const float* bias, bool relu) {
    for (int64_t j = 0; j < width;) {
        const float* shift = bias ? bias + j : nullptr;
        if (width - j >= WIDE * LANES) {
            tile<R, WIDE>(a, b + j, width, inner, out + j, columns - j, across, shift, relu);
            j += WIDE * LANES;
        } else {
            tile<R, 1>(a, b + j, width, inner, out + j, columns - j, across, shift, relu);
            j += LANES;
        }
    }
}

// out[rows, columns] = a · b (+ bias); b [inner, width] and the bias are padded to whole vectors.
static inline void product(Matrix a, const float* b, int64_t rows, int64_t inner, int64_t columns, float* out,
                    const float* bias = nullptr, bool relu = false) {
    int64_t width = padded(columns), i = 0;
    for (; i + TALL <= rows; i += TALL)
        band<TALL>({a.at + i * a.row, a.row, a.column}, b, width, inner, out + i * columns, columns, columns, bias, relu);
    if (rows - i >= 4) {
        band<4>({a.at + i * a.row, a.row, a.column}, b, width, inner, out + i * columns, columns, columns, bias, relu);
        i += 4;
    }
    if (rows - i >= 2) {
        band<2>({a.at + i * a.row, a.row, a.column}, b, width, inner, out + i * columns, columns, columns, bias, relu);
        i += 2;
    }
    if (i < rows)
        band<1>({a.at + i * a.row, a.row, a.column}, b, width, inner, out + i * columns, columns, columns, bias, relu);
}

// x [rows, columns] with rows of whole vectors: itself where they are, a copy otherwise.
static inline const float* whole(const float* x, int64_t rows, int64_t columns, Buffer& buffer) {
    int64_t width = padded(columns);
    if (width == columns) return x;
    float* copy = room(buffer, rows * width);
    for (int64_t i = 0; i < rows; i++) {
        std::memcpy(copy + i * width, x + i * columns, columns * sizeof(float));
        std::fill(copy + i * width + columns, copy + (i + 1) * width, 0.0f);
    }
    return copy;
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

#if defined(__clang__)
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Order __attribute__((vector_size(16)));
#define MIX(a, b, ...) __builtin_shuffle(a, b, Order{__VA_ARGS__})
#endif

// to[j][i] = from[i][j] of 4 × 4 numbers, by registers.
static inline void turn_block(const float* from, int64_t across, float* to, int64_t down) {
    Four a = *(const Four*)from, b = *(const Four*)(from + across);
    Four c = *(const Four*)(from + 2 * across), d = *(const Four*)(from + 3 * across);
    Four ab_low = MIX(a, b, 0, 4, 1, 5), ab_high = MIX(a, b, 2, 6, 3, 7);
    Four cd_low = MIX(c, d, 0, 4, 1, 5), cd_high = MIX(c, d, 2, 6, 3, 7);
    *(Four*)to = MIX(ab_low, cd_low, 0, 1, 4, 5);
    *(Four*)(to + down) = MIX(ab_low, cd_low, 2, 3, 6, 7);
    *(Four*)(to + 2 * down) = MIX(ab_high, cd_high, 0, 1, 4, 5);
    *(Four*)(to + 3 * down) = MIX(ab_high, cd_high, 2, 3, 6, 7);
}

// to [columns, width] = from [rows, columns] turned.
static inline void turn(const float* from, int64_t rows, int64_t columns, float* to, int64_t width) {
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4) {
        int64_t i = 0;
        for (; i + 4 <= rows; i += 4) turn_block(from + i * columns + j, columns, to + j * width + i, width);
        for (; i < rows; i++)
            for (int64_t k = j; k < j + 4; k++) to[k * width + i] = from[i * columns + k];
    }
    for (; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) to[j * width + i] = from[i * columns + j];
}

// ---- functions -------------------------------------------------------------------------------------------------

static inline Vector exponential(Vector x) {  // e^x by 2^n · e^r, |r| ≤ ln 2 / 2, Taylor's series of e^r
    x = larger(smaller(x, all(88.0f)), all(-87.0f));
    Vector n = x * 1.44269504f + (x > Vector{} ? all(0.5f) : all(-0.5f));
    Whole times = __builtin_convertvector(n, Whole);
    Vector f = __builtin_convertvector(times, Vector);
    Vector r = x - f * 0.693359375f + f * 2.12194440e-4f;
    Vector sum = all(1.0f / 5040);
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    Whole power = (times + 127) << 23;
    Vector scale;
    std::memcpy(&scale, &power, sizeof(scale));
    return sum * scale;
}

static inline Vector tangent(Vector x) {  // tanh: by its series near 0, where e^2x would lose digits
    Vector square = x * x;
    Vector series = all(-1382.0f / 155925);
    series = series * square + 62.0f / 2835;
    series = series * square + -17.0f / 315;
    series = series * square + 2.0f / 15;
    series = series * square + -1.0f / 3;
    series = x + x * square * series;
    Vector by_power = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
    Vector found = square < all(0.09f) ? series : by_power;
    return x == x ? found : x;
}

static inline void tanh_all(float* x, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(x + i, tangent(load(x + i)));
    if (i < n) {
        Vector last = {};
        std::memcpy(&last, x + i, (n - i) * sizeof(float));
        last = tangent(last);
        std::memcpy(x + i, &last, (n - i) * sizeof(float));
    }
}
