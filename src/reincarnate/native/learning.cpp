// Whole updates' gradients: passes, losses and passes back, without anything in between; and their parts.

#include "towers.h"

// reward + discount · a value of the successor: the largest, or with `select` [rows, actions] that of its best action.
static void target_of(const float* next, const float* select, const float* reward, const float* discount,
                         int64_t rows, int64_t actions, float* target) {
    for (int64_t r = 0; r < rows; r++, next += actions) {
        const float* by = select ? select + r * actions : next;
        int64_t best = 0;
        for (int64_t a = 0; a < actions; a++)
            if (by[a] > by[best] || std::isnan(by[a])) best = a;  // what is no number shows in the target
        target[r] = reward[r] + discount[r] * next[best];
    }
}

static bool strange(const int64_t* action, int64_t rows, int64_t actions) {  // whether some action is none of theirs
    for (int64_t r = 0; r < rows; r++)
        if ((uint64_t)action[r] >= (uint64_t)actions) return true;
    return false;
}

// Huber's loss of the action taken and its derivative by q (`losses.values.q_learning_at_once`). Not 0: no such action.
static int64_t huber(const float* q, const int64_t* action, const float* target, int64_t rows, int64_t actions,
                           float* loss, float* slope) {
    if (strange(action, rows, actions)) return 1;
    std::fill(slope, slope + rows * actions, 0.0f);
    for (int64_t r = 0; r < rows; r++) {
        float error = q[r * actions + action[r]] - target[r];
        float near = error > 1 ? 1.0f : error < -1 ? -1.0f : error;
        loss[r] = near * (error - 0.5f * near);
        slope[r * actions + action[r]] = near;
    }
    return 0;
}

struct Rollout {  // what was done, and what was known of it
    const void* action;  // int64 [rows], or of continuous actions float32 [rows, actions]
    const float *log_prob, *advantage, *value, *target;
};

struct Ppo {
    float clip, clip_value;
    int64_t standardise;
    float policy, worth, entropy;  // what each loss weighs
};

struct Spread {  // of Gaussians: ln σ [actions], and where its gradient goes; null of discrete actions
    const float* log_std;
    float* grad;
};

struct Standard {  // (A − mean)/(std + 1e-8), or the advantage as it is
    float middle = 0, spread = 1;
    Standard(const float* advantage, int64_t rows, bool wanted) {
        if (!wanted || rows < 2) return;
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < rows; r++) sum += advantage[r];
        middle = sum / rows;
        for (int64_t r = 0; r < rows; r++) squares += std::pow(advantage[r] - sum / rows, 2);
        spread = (float)std::sqrt(squares / (rows - 1)) + 1e-8f;
    }
};

struct Surrogate {  // of one example: the loss, its derivative by ln π(a|s), Schulman's k3
    float loss, slope, kl;
    Surrogate(float log_ratio, float advantage, float clip) {
        float more = std::expm1(log_ratio), ratio = more + 1;
        float gain = ratio * advantage, clipped = std::min(std::max(ratio, 1 - clip), 1 + clip) * advantage;
        loss = -std::min(gain, clipped);
        slope = gain > clipped ? 0.0f : -gain;
        kl = more - log_ratio;
    }
};

struct Error {  // of one value: half its square, and its derivative; with `clip` > 0 the worse of it and the clipped one
    float loss, slope;
    Error(float value, float old, float target, float clip) : loss(0.5f * (value - target) * (value - target)), slope(value - target) {
        if (!(clip > 0)) return;
        float moved = value - old, near = old + std::min(std::max(moved, -clip), clip) - target;
        if (std::fabs(near) > std::fabs(slope)) slope = near * (std::fabs(moved) < clip);
        loss = std::max(0.5f * near * near, loss);  // in this order what is no number stays
    }
};

// What a policy says of one example: the logarithm of the action's probability, and its entropy.
struct Said {
    float log_prob, entropy;
};

// Logits, and in `p` the probabilities.
static Said discrete(const float* logits, int64_t actions, int64_t action, float* p) {
    float largest = logits[0], total = 0, entropy = 0;
    for (int64_t a = 1; a < actions; a++) largest = std::max(largest, logits[a]);
    for (int64_t a = 0; a < actions; a++) total += p[a] = std::exp(logits[a] - largest);
    float all_of_it = largest + std::log(total);
    for (int64_t a = 0; a < actions; a++) entropy -= (p[a] /= total) * (logits[a] - all_of_it);
    return {logits[action] - all_of_it, entropy};
}

// Means, and in `z` how far the action is from them, in σ.
static Said gaussian(const float* mean, const float* log_std, int64_t actions, const float* action, float* z) {
    constexpr float HALF_LOG_2PI = 0.918938533f;
    Said said{0, 0};
    for (int64_t a = 0; a < actions; a++) {
        z[a] = (action[a] - mean[a]) * std::exp(-log_std[a]);
        said.log_prob -= 0.5f * z[a] * z[a] + log_std[a] + HALF_LOG_2PI;
        said.entropy += log_std[a] + HALF_LOG_2PI + 0.5f;
    }
    return said;
}

// The derivative by logits, in the place of the probabilities: of the surrogate, ∂ ln π_a/∂x = 1_a − π, and of the entropy.
static void by_logits(const float* logits, int64_t actions, int64_t action, Said said, float pull, float free, float* p) {
    float all_of_it = logits[action] - said.log_prob;
    for (int64_t a = 0; a < actions; a++) {
        float own = p[a];
        p[a] = -own * pull;
        if (free != 0) p[a] -= free * own * (logits[a] - all_of_it + said.entropy);
    }
    p[action] += pull;
}

// The same by means, in the place of z, and by ln σ: z/σ and z² − 1; the entropy's by ln σ is 1.
static void by_gaussian(Spread spread, int64_t actions, float pull, float free, float* z) {
    for (int64_t a = 0; a < actions; a++) {
        spread.grad[a] += (z[a] * z[a] - 1) * pull + free;
        z[a] *= std::exp(-spread.log_std[a]) * pull;
    }
}

// PPO's losses of a batch and the gradient of their weighted sum (`losses.policy_slopes`). `x` [rows, actions] are logits
// or means. `means` [4] are those of policy, value, entropy and KL, `each` [rows] the weighted sum of each example.
// Not 0: no such action.
static int64_t losses_of(const float* x, const float* value, const Rollout* taken, int64_t rows, int64_t actions,
                         const Ppo* told, Spread spread, float* of_x, float* of_value, float* means, float* each) {
    const int64_t* chosen = spread.log_std ? nullptr : (const int64_t*)taken->action;
    const float* drawn = (const float*)taken->action;
    if (chosen && strange(chosen, rows, actions)) return 1;
    if (!chosen) std::fill(spread.grad, spread.grad + actions, 0.0f);
    Standard standard(taken->advantage, rows, told->standardise);
    double sums[4] = {};
    float free = told->entropy / rows;
    for (int64_t r = 0; r < rows; r++, x += actions, of_x += actions, drawn += actions) {
        Said said = chosen ? discrete(x, actions, chosen[r], of_x) : gaussian(x, spread.log_std, actions, drawn, of_x);
        float advantage = (taken->advantage[r] - standard.middle) / standard.spread;
        Surrogate found(said.log_prob - taken->log_prob[r], advantage, told->clip);
        float pull = found.slope * told->policy / rows;
        if (chosen) by_logits(x, actions, chosen[r], said, pull, free, of_x);
        else by_gaussian(spread, actions, pull, free, of_x);
        Error error(value[r], taken->value[r], taken->target[r], told->clip_value);
        of_value[r] = error.slope * told->worth / rows;
        each[r] = told->policy * found.loss + told->worth * error.loss + told->entropy * said.entropy;
        float parts[4] = {found.loss, error.loss, said.entropy, found.kl};
        for (int k = 0; k < 4; k++) sums[k] += parts[k];
    }
    for (int k = 0; k < 4; k++) means[k] = sums[k] / rows;
    return 0;
}

struct Pull {  // towards what somebody else says, [rows, actions] (`losses.terms.Distil`)
    const float* told;
    float their_temperature, temperature;
};

// KL(softmax(told/τ') ‖ softmax(out/τ)) of each row, and `shares` [seeds] times its derivative added to `slope`. Actions
// of which the other says −∞ have no part. `means` [seeds] lie `apart`; with `each`, weight · KL is added to it.
static void pulled(const Pull& pull, const float* out, int64_t seeds, int64_t rows, int64_t actions, const float* weights,
                   int64_t apart, float* slope, float* means, float* each) {
    static thread_local Buffer buffer;
    float* theirs = room(buffer, actions);
    const float* told = pull.told;
    for (int64_t s = 0; s < seeds; s++) {
        double sum = 0;
        float weight = weights[s * apart], share = weight / rows / pull.temperature;
        for (int64_t r = 0; r < rows; r++, told += actions, out += actions, slope += actions) {
            float most = -INFINITY, largest = -INFINITY, total = 0, own = 0, kl = 0;
            for (int64_t a = 0; a < actions; a++) {
                most = std::max(most, told[a]);
                if (told[a] != -INFINITY) largest = std::max(largest, out[a]);
            }
            for (int64_t a = 0; a < actions; a++) {
                total += theirs[a] = std::exp((told[a] - most) / pull.their_temperature);
                if (told[a] != -INFINITY) own += std::exp((out[a] - largest) / pull.temperature);
            }
            float shift = std::log(total) - std::log(own);
            for (int64_t a = 0; a < actions; a++) {
                if (told[a] == -INFINITY) continue;
                float p = theirs[a] / total, log_q = (out[a] - largest) / pull.temperature;
                if (!(p <= 0)) kl += p * ((told[a] - most) / pull.their_temperature - log_q - shift);
                slope[a] += share * (std::exp(log_q) / own - p);
            }
            if (most == -INFINITY) kl = NAN;  // it says nothing at all
            sum += kl;
            if (each) each[r] += weight * kl;
        }
        means[s * apart] = sum / rows;
    }
}

// ---- what is called --------------------------------------------------------------------------------------------

extern "C" void tower_forward(const Tower* tower, const float* x, int64_t rows, float* hidden, float* out) {
    forward(*tower, x, rows, hidden, out);
}

extern "C" void tower_backward(const Tower* tower, const float* x, int64_t rows, const float* hidden, const float* slope) {
    backward(*tower, x, rows, hidden, slope);
}

extern "C" int64_t q_learning(const float* q, const int64_t* action, const float* target, int64_t rows, int64_t actions,
                              float* loss, float* slope) {
    return huber(q, action, target, rows, actions, loss, slope);
}

struct Steps {  // a batch of a replay
    const float *obs, *next_obs;
    const int64_t* action;
    const float *reward, *discount, *importance;  // of each example, multiplying every loss; null: 1
};

// Q-learning's gradient, of each seed's mean loss and its mean distances from others, each times its weight; `twice`: the
// online network chooses, as in Double DQN. `weights` and `means` are [seeds, 1 + count], `loss` [seeds · rows].
// Not 0: no such action.
extern "C" int64_t learn_q(const Tower* online, const Tower* frozen, const Steps* batch, int64_t rows, int64_t twice,
                           const Pull* pulls, int64_t count, const float* weights, float* loss, float* means) {
    static thread_local Buffer hidden_buffer, out_buffer;
    int64_t seeds = online->seeds, all_rows = seeds * rows, actions = online->out(), numbers = all_rows * actions;
    float *hidden = room(hidden_buffer, all_rows * online->units()), *out = room(out_buffer, 3 * numbers + all_rows);
    float *next = out + numbers, *slope = out + 2 * numbers, *target = out + 3 * numbers;
    forward(*frozen, batch->next_obs, rows, hidden, next);
    if (twice) forward(*online, batch->next_obs, rows, hidden, out);
    target_of(next, twice ? out : nullptr, batch->reward, batch->discount, all_rows, actions, target);
    forward(*online, batch->obs, rows, hidden, out);
    if (huber(out, batch->action, target, all_rows, actions, loss, slope)) return 1;
    for (int64_t s = 0; s < seeds; s++) {
        double sum = 0;
        for (int64_t r = s * rows; r < (s + 1) * rows; r++) sum += loss[r];
        means[s * (1 + count)] = sum / rows;
        float share = weights[s * (1 + count)] / rows;
        for (int64_t i = s * rows * actions; i < (s + 1) * rows * actions; i++) slope[i] *= share;
    }
    for (int64_t k = 0; k < count; k++)
        pulled(pulls[k], out, seeds, rows, actions, weights + 1 + k, 1 + count, slope, means + 1 + k, nullptr);
    if (batch->importance)
        for (int64_t i = 0; i < numbers; i++) slope[i] *= batch->importance[i / actions];
    backward(*online, batch->obs, rows, hidden, slope);
    return 0;
}

// The gradient of PPO's own losses and, of discrete actions, of the distances from others, by `weights` [count]; `means`
// are the four own ones' and theirs. Not 0: no such action.
extern "C" int64_t learn_ppo(const Tower* actor, const Tower* critic, const float* obs, const Rollout* taken, int64_t rows,
                             const Ppo* told, const Spread* spread, const Pull* pulls, int64_t count, const float* weights, float* means,
                             float* each) {
    static thread_local Buffer acting_buffer, judging_buffer, out_buffer;
    int64_t actions = actor->out();
    float *acting = room(acting_buffer, rows * actor->units()), *judging = room(judging_buffer, rows * critic->units());
    float* logits = room(out_buffer, rows * (2 * actions + 2));
    float *value = logits + rows * actions, *of_logits = value + rows, *of_value = of_logits + rows * actions;
    forward(*actor, obs, rows, acting, logits);
    forward(*critic, obs, rows, judging, value);
    if (losses_of(logits, value, taken, rows, actions, told, *spread, of_logits, of_value, means, each)) return 1;
    for (int64_t k = 0; k < count; k++)
        pulled(pulls[k], logits, 1, rows, actions, weights + k, 1, of_logits, means + 4 + k, each);
    backward(*actor, obs, rows, acting, of_logits);
    backward(*critic, obs, rows, judging, of_value);
    return 0;
}
