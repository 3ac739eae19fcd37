"""Learn a machine from measured runs, and prove the prediction."""
