"""A node that no built-in metric scores: does the answer name a colour?"""

COLOURS = {"red", "blue", "green", "yellow", "black", "white", "silver", "purple"}


def names_a_colour(episode):
    return float(bool(COLOURS & set(episode.response.split())))
