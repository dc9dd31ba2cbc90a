"""What is expected, from a task alone: mathematics that knows no training and no plots."""
