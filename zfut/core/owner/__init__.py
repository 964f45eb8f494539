"""The party that submits tasks and owns what they return; also every borrower."""
