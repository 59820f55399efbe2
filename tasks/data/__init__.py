"""Data sets and texts from files."""
