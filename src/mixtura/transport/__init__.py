"""HTTP to upstreams; knows nothing of language models."""
