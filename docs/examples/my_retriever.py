"""Passages by how many words of the query are in their title."""

from rag_graph import Hit


class ByTitle:
    name = "by_title"

    def __init__(self, passages):
        self.titles = [set(passage.title.split()) for passage in passages]

    def search(self, queries, k):
        scored = ([Hit(i, len(t & set(query.split()))) for i, t in enumerate(self.titles)] for query in queries)
        return [sorted((hit for hit in hits if hit.score > 0), key=lambda hit: -hit.score)[:k] for hits in scored]
