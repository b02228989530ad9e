"""Native decoders in a child process with limits on memory, time and pixels."""
