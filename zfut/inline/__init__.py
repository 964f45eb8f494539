"""A whole session in this process, on the thread that calls: for a debugger."""
