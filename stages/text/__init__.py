"""Scorers of text."""
