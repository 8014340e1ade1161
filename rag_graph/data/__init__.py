"""Examples, prompts and context nodes: from files, from the hub, or generated."""
