// A 3 × 3 convolution of small grids in which most cells are empty (MinAtar's): only what is not 0 costs anything, and
// weights that are no numbers show only where something is seen.
// Observations are [rows, height, width, channels], of bytes or of float32 (times `scale`); outputs [rows, filters, height-2, width-2].

#include <type_traits>

#include "vectors.h"

constexpr int64_t SIDE = 3, TAPS = SIDE * SIDE;

struct Shape {
    int64_t height, width, channels, filters;
    int64_t high() const { return height - SIDE + 1; }
    int64_t wide() const { return width - SIDE + 1; }
    int64_t places() const { return high() * wide(); }
};

struct Cell {
    int32_t channel, row, column;
};

// Where each number of an observation stands.
static std::vector<Cell> cells_of(const Shape& shape) {
    std::vector<Cell> cells;
    for (int32_t i = 0; i < shape.height; i++)
        for (int32_t j = 0; j < shape.width; j++)
            for (int32_t c = 0; c < shape.channels; c++) cells.push_back({c, i, j});
    return cells;
}

// For each number of an observation that is not 0, and each place that sees it: visit(number, tap, place), a tap being
// (channel, row, column) of the kernel. Eight bytes are passed over at once where all of them are 0.
template <typename Number, typename Visit>
static inline void seen(const Number* x, float scale, const Shape& shape, const std::vector<Cell>& cells, Visit visit) {
    constexpr int64_t SOME = 8 / sizeof(Number);
    int64_t count = cells.size(), high = shape.high(), wide = shape.wide();
    auto meet = [&](int64_t at) {
        auto [c, i, j] = cells[at];
        float number = x[at] * scale;
        int64_t top = std::max(i - high + 1, (int64_t)0), left = std::max(j - wide + 1, (int64_t)0);
        for (int64_t di = top; di < SIDE && di <= i; di++)
            for (int64_t dj = left; dj < SIDE && dj <= j; dj++)
                visit(number, (c * SIDE + di) * SIDE + dj, (i - di) * wide + j - dj);
    };
    int64_t first = 0;
    for (; first + SOME <= count; first += SOME) {
        uint64_t some;
        std::memcpy(&some, x + first, sizeof(some));
        if (some == 0) continue;
        for (int64_t k = 0; k < SOME; k++)
            if (x[first + k] != 0) meet(first + k);
    }
    for (; first < count; first++)
        if (x[first] != 0) meet(first);
}

// to += from · number, of `width` numbers: so many vectors, or with 0 as many as there are.
template <int VECTORS>
static inline void add_times(float* to, const float* from, float number, int64_t width) {
    int64_t end = VECTORS ? VECTORS * LANES : width;
    for (int64_t f = 0; f < end; f += LANES) store(to + f, load(to + f) + load(from + f) * number);
}

template <typename Number, int VECTORS>
static void forward(const Number* x, float scale, const float* weight, const float* bias, int64_t rows, Shape shape, float* out) {
    std::vector<Cell> cells = cells_of(shape);
    static thread_local Buffer taps_buffer, sums_buffer;
    int64_t width = padded(shape.filters), taps = shape.channels * TAPS, places = shape.places();
    float *by_tap = room(taps_buffer, (taps + 1) * width), *sums = room(sums_buffer, places * width);
    std::fill(by_tap, by_tap + (taps + 1) * width, 0.0f);
    for (int64_t f = 0; f < shape.filters; f++) {
        for (int64_t t = 0; t < taps; t++) by_tap[t * width + f] = weight[f * taps + t];
        by_tap[taps * width + f] = bias[f];
    }
    for (int64_t r = 0; r < rows; r++, x += shape.height * shape.width * shape.channels) {
        for (int64_t p = 0; p < places; p++) std::memcpy(sums + p * width, by_tap + taps * width, width * sizeof(float));
        seen(x, scale, shape, cells, [&](float number, int64_t tap, int64_t place) {
            add_times<VECTORS>(sums + place * width, by_tap + tap * width, number, width);
        });
        if (width == shape.filters) turn(sums, places, width, out, places);
        else
            for (int64_t f = 0; f < shape.filters; f++)
                for (int64_t p = 0; p < places; p++) out[f * places + p] = sums[p * width + f];
        out += shape.filters * places;
    }
}

template <typename Number, int VECTORS>
static void backward(const Number* x, float scale, const float* slope, int64_t rows, Shape shape, float* weight_grad,
                     float* bias_grad) {
    std::vector<Cell> cells = cells_of(shape);
    static thread_local Buffer taps_buffer, slopes_buffer;
    int64_t width = padded(shape.filters), taps = shape.channels * TAPS, places = shape.places();
    float *by_tap = room(taps_buffer, (taps + 1) * width), *slopes = room(slopes_buffer, places * width);
    std::fill(by_tap, by_tap + (taps + 1) * width, 0.0f);
    std::fill(slopes, slopes + places * width, 0.0f);
    for (int64_t r = 0; r < rows; r++, x += shape.height * shape.width * shape.channels) {
        turn(slope, shape.filters, places, slopes, width);
        slope += shape.filters * places;
        float* shift = by_tap + taps * width;
        for (int64_t p = 0; p < places; p++)
            for (int64_t f = 0; f < width; f += LANES) store(shift + f, load(shift + f) + load(slopes + p * width + f));
        seen(x, scale, shape, cells, [&](float number, int64_t tap, int64_t place) {
            add_times<VECTORS>(by_tap + tap * width, slopes + place * width, number, width);
        });
    }
    for (int64_t f = 0; f < shape.filters; f++) {
        for (int64_t t = 0; t < taps; t++) weight_grad[f * taps + t] = by_tap[t * width + f];
        bias_grad[f] = by_tap[taps * width + f];
    }
}

// `call(std::integral_constant)` with how many vectors the filters fill, where that is known to be few.
template <typename Call>
static inline void by_vectors(int64_t filters, Call call) {
    int64_t vectors = padded(filters) / LANES;
    if (vectors == 1) call(std::integral_constant<int, 1>());
    else if (vectors == 2) call(std::integral_constant<int, 2>());
    else call(std::integral_constant<int, 0>());
}

extern "C" void convolution_forward(const void* x, int64_t bytes, float scale, const float* weight, const float* bias,
                                    int64_t rows, int64_t height, int64_t width, int64_t channels, int64_t filters,
                                    float* out) {
    Shape shape{height, width, channels, filters};
    by_vectors(filters, [&](auto vectors) {
        if (bytes) forward<uint8_t, vectors>((const uint8_t*)x, scale, weight, bias, rows, shape, out);
        else forward<float, vectors>((const float*)x, scale, weight, bias, rows, shape, out);
    });
}

// `slope` is the loss's by the output; the gradients are overwritten.
extern "C" void convolution_backward(const void* x, int64_t bytes, float scale, const float* slope, int64_t rows,
                                     int64_t height, int64_t width, int64_t channels, int64_t filters,
                                     float* weight_grad, float* bias_grad) {
    Shape shape{height, width, channels, filters};
    by_vectors(filters, [&](auto vectors) {
        if (bytes) backward<uint8_t, vectors>((const uint8_t*)x, scale, slope, rows, shape, weight_grad, bias_grad);
        else backward<float, vectors>((const float*)x, scale, slope, rows, shape, weight_grad, bias_grad);
    });
}
