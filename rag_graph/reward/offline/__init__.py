"""Logged answers before any training: a table of scores fits a reward, and says how far it can be trusted."""
