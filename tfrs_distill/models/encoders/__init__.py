"""Encoders of histories and texts: attention, decayed averages, feed-forward layers."""
