"""Traces and metrics of runs, as OpenTelemetry's conventions for generative AI name them."""
