"""A mixture and how it runs: the only concurrency among models."""
