"""What the measurements share. Not measurements themselves, so they lie in a folder of their own."""
