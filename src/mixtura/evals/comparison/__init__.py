"""Whether a mixture is better than what is simpler."""
