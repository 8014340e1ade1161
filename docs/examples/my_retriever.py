"""Ranks passages by the words that their title shares with the query. Long words count more."""

from rag_graph import Hit


class ByTitle:
    name = "by_title"

    def __init__(self, passages):
        self.titles = [set(passage.title.split()) for passage in passages]

    def search(self, queries, k):
        asked = [set(query.split()) for query in queries]
        scored = [[Hit(i, sum(map(len, title & words))) for i, title in enumerate(self.titles)] for words in asked]
        return [sorted((hit for hit in hits if hit.score > 0), key=lambda hit: -hit.score)[:k] for hits in scored]
