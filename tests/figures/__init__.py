"""Figures: the metrics page and what it is computed from."""
