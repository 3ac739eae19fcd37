"""What ops cost: from shapes to seconds and joules with their intervals, on a machine that a model describes."""
