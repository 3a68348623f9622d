"""Encoder and decoder bricks. They know nothing of files, training or each other's insides."""
