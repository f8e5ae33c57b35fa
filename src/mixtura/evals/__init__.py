"""How good a model is and how sure that is: published benchmarks, and statistics (need numpy)."""
