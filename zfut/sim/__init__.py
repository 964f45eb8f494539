"""The same machines in one thread, on a clock of their own."""
