"""An agent's folder, and its card."""
