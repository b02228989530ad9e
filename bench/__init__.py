"""Measurements, side by side with other tools where there are any."""
