"""Two answers and a key, for the tests of recorded runs."""

from __future__ import annotations

SKY = "The sky is blue because air scatters blue light most. This is Rayleigh scattering."
SEA = "The sea is blue because water swallows red light. It also mirrors the sky."


KEY = "sk-very-secret-0123456789"
