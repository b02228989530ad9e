"""Reads and decodes every image of a folder to grey with OpenCV, one thread: what decoding alone costs.

Prints {"decoded": how many, "cpu": CPU seconds of the loop alone}, without Python's start and the import of OpenCV.
"""

import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np

if __name__ == "__main__":
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix != ".txt" and path.is_file())
    decoded, started = 0, time.process_time()
    for path in paths:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        decoded += picture is not None
    print(json.dumps({"decoded": decoded, "cpu": time.process_time() - started}))
