"""From a file's text and the environment to models and mixtures."""
