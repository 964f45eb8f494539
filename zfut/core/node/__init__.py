"""The party that lends workers and memory."""
