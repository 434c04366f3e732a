"""Helper functions: who may call them, what their arguments must be, and what they do."""
