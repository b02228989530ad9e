"""Generators of material whose truth is known because it was made here."""
