"""How a cell is run over time: a plan, and what executes it."""
