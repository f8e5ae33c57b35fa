"""Answers as data that models are trained on: conversations, and which of two answers is better."""
