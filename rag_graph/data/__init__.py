"""Examples, prompts and context nodes: from files, the hub, or made here."""
