"""Job control: registers, queue, sequencing and counters."""
