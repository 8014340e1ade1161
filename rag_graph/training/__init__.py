"""Supervised warm-up, PPO on TRL, and the loop that joins them."""
