// A tree of sampling weights.

#include <algorithm>
#include <cstdint>

// `data.priorities`: leaves [blocks, FAN], middle [groups, FAN], top [groups]; each holds the sums of the one below.
constexpr int64_t FAN = 32;

struct Tree {
    double *leaves, *middle, *top;
    int64_t rows, blocks, groups;
};

static inline double sum(const double* of) {
    double total = 0;
    for (int64_t k = 0; k < FAN; k++) total += of[k];
    return total;
}

extern "C" void tree_sum(const Tree* tree) {
    for (int64_t b = 0; b < tree->blocks; b++) tree->middle[b] = sum(tree->leaves + b * FAN);
    for (int64_t g = 0; g < tree->groups; g++) tree->top[g] = sum(tree->middle + g * FAN);
}

// Rows `at` [count] get these weights, or with `each` 0 all of them the first one. Not 0: there is no such row.
extern "C" int64_t tree_write(const Tree* tree, const int64_t* at, const double* weights, int64_t each, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if ((uint64_t)at[i] >= (uint64_t)tree->rows) return 1;
    for (int64_t i = 0; i < count; i++) tree->leaves[at[i]] = weights[each ? i : 0];
    for (int64_t i = 0; i < count; i++) {
        int64_t block = at[i] / FAN;
        tree->middle[block] = sum(tree->leaves + block * FAN);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t group = at[i] / (FAN * FAN);
        tree->top[group] = sum(tree->middle + group * FAN);
    }
    return 0;
}

// The first of `count` numbers whose cumulative sum reaches the mass, which is left as what remains within it.
static inline int64_t fall(const double* of, int64_t count, double& mass) {
    double before = 0, end = 0;
    int64_t last = 0;  // the last that weighs anything: rounding may carry the mass past all of them
    for (int64_t k = 0; k < count; k++) {
        if (of[k] > 0) last = k;
    }
    for (int64_t k = 0; k <= last; k++) {
        before = end;
        end += of[k];
        if (end >= mass) {
            mass -= before;
            return k;
        }
    }
    mass = of[last];
    return last;
}

// One row from each of `count` equal slices of the total, at these draws [count] of [0, 1); returns the total.
extern "C" double tree_draw(const Tree* tree, const double* draws, int64_t count, double smallest, int64_t* rows,
                            double* probabilities) {
    double total = 0;
    for (int64_t g = 0; g < tree->groups; g++) total += tree->top[g];
    if (total == 0) return 0;
    for (int64_t i = 0; i < count; i++) {
        double mass = std::min(std::max((i + 1 - draws[i]) * (total / count), smallest), total);
        int64_t group = fall(tree->top, tree->groups, mass);
        int64_t block = group * FAN + fall(tree->middle + group * FAN, FAN, mass);
        rows[i] = block * FAN + fall(tree->leaves + block * FAN, FAN, mass);
        probabilities[i] = tree->leaves[rows[i]] / total;
    }
    return total;
}
