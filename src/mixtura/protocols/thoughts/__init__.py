"""A model's thoughts told apart from its answer."""
