"""Programs that a model wrote: read out of its replies, and run where they can reach nothing."""
