"""The loop that interprets phases, and who plays in it."""
