"""What a cell is, and what the engine asks of it."""
