"""llama.cpp in a process of its own, so that what ends it ends nothing else."""
