"""Readers turn an input folder or bucket into documents; one file a format. `detect` tells which suits an input."""
