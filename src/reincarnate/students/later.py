"""Settings that students were given after the first agents had been kept.

An agent's identity covers its settings. Left at their defaults these are no part of it, so that an agent is the same
one whichever version looks at it.
"""

LATER = frozenset(
    {
        *("activation", "decorrelate", "decorrelate_by", "freeze_norm", "sde", "critic_hidden", "expectile", "reads"),
        *("polo", "polo_own", "polo_explore", "explorer"),
        *("memory", "memory_size", "memory_layers", "memory_heads", "memory_length", "memory_gate", "memory_gate_bias"),
        *("unroll", "burn_in", "overlap", "segment", "critic_memory"),
    }
)
