"""Imported once by the fork server of the local engine: what every worker needs, so that each starts with it."""

import importlib

for module in ("numpy", "pyarrow.parquet", "pyarrow.compute", "pipelines.commit", "pipelines.image_text"):
    importlib.import_module(module)

# The first list that becomes an Arrow array makes pyarrow import pandas where it is installed: half a CPU second.
importlib.import_module("pyarrow").array([0])
