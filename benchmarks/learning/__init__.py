"""What `benchmarks/tasks.py` is made of: problems, models, runs, and what is shown of them."""
