"""What looks inside a network: spectrum, variable memories, layers, edits, probes."""
