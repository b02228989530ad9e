"""The process that Spark forks Python workers from on this machine, with what each of them needs imported once.

Spark's own daemon imports nothing, so that every worker would spend two seconds on the same imports.
"""

import importlib

from pyspark.daemon import manager

for module in ("pandas", "pipelines.engines.preload"):  # PySpark's workers import pandas when they first answer
    importlib.import_module(module)

if __name__ == "__main__":
    manager()
