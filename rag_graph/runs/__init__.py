"""A run: from a config to a folder of results, and what can be asked of it afterwards."""
