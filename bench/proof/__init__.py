"""The proof on real models: what mixtures of small models are worth, measured on this machine."""
