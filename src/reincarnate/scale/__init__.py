"""More machines than one: the same units of work as Ray tasks. Nothing else knows Ray."""
