"""The party that runs what it is pushed."""
