"""Models that add one behaviour to another model."""
