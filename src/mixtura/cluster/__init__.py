"""Batches and servers on several processes and machines, with Ray."""
