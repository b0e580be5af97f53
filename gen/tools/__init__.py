"""External tools: where they are, how they are run, what version they have."""
