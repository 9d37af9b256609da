"""Commands: what `farthing` does, one module for each group; heavy packages are imported where a command needs them."""
