"""The roof: the command and the small public API."""
