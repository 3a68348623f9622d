"""How fast this machine runs the codec: cases, clocks, the machine's own matrix rate, and a report."""
