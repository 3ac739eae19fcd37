"""Networks to calibrate on, drawn at random, and known ones to check predictions with."""
