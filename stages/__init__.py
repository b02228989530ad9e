"""Engine-free code on documents: readers, the guard, the sandbox and the scorers."""
