"""What is done with a model, where and for how long: from one batch to a lifetime and its carbon."""
