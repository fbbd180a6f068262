"""Ties are printed as ties, and the bar may win."""
