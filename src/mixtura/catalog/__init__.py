"""What is known by name: providers, models, prices, quirks, local files and their downloads."""
