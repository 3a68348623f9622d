"""Training: data, losses, discriminators, and the loop around one visible step."""
