"""The language model: load, make, adapt, generate."""
