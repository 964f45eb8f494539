"""What is decided: pure, deterministic, no IO."""
