"""Transformers for text: encoders, their tuning, two towers, cross-encoder, text ranker."""
