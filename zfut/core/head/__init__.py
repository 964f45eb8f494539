"""The party that knows names: one for each cluster."""
