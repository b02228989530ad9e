"""Engines, one file each: what runs the tasks of a plan."""
