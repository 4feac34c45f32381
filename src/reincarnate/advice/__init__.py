"""Advice: `measure.measure` looks at the priors of a task, `recommend.recommend` says by rules what to do with them."""
