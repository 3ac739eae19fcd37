"""What a model does: its ops with FLOPs, bytes and layers, traced without running it."""
