"""imagededup's PHash of every image of a folder, as its documentation calls it. Prints how many it hashed."""

import sys

from imagededup.methods import PHash  # type: ignore[import-not-found]

if __name__ == "__main__":  # its worker processes import this file again
    print(len(PHash(verbose=False).encode_images(image_dir=sys.argv[1], recursive=True)))
