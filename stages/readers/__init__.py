"""Readers turn an input folder or bucket into documents; one file a format."""
