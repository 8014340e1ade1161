"""Oracles 1 and 2 on the encoder, and its formula recomputed with loops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rag_graph.graph import AuxiliaryGraph, load_graph
from rag_graph.graph.spec import GraphSpec
from rag_graph.reward.encoder import Contexts, GraphEncoder, RelationalConv
from rag_graph.reward.graph_tensors import GraphTensors


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    """Sums in another order differ by rounding alone: in double precision that is far below every bound here, on any processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_one_layer_equals_the_formula() -> None:
    torch.manual_seed(0)
    edge_index = torch.tensor([[0, 1, 2, 3, 1], [2, 2, 2, 0, 3]])
    relation, strength = torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0.3, 0.9, 0.5, 1.0, 0.2])
    layer = RelationalConv(channels=6, num_relations=2, num_bases=3)
    x = torch.randn(2, 4, 6)
    matrices = torch.einsum("rk,khc->rhc", layer.mix, layer.bases)
    expected = torch.zeros_like(x)
    for b in range(2):
        for i in range(4):
            total = layer.own(x[b, i])
            for r in range(2):
                incoming = [e for e in range(5) if edge_index[1, e] == i and relation[e] == r]
                for e in incoming:
                    total = total + strength[e] * (x[b, edge_index[0, e]] @ matrices[r]) / len(incoming)
            expected[b, i] = layer.norm(x[b, i] + torch.relu(total))
    assert torch.allclose(layer(x, edge_index, relation, strength), expected, atol=1e-10)


@pytest.fixture
def encoder_and_graph() -> tuple[GraphEncoder, GraphTensors]:
    torch.manual_seed(0)
    tensors = GraphTensors.of(load_graph("parcels"))
    return GraphEncoder(tensors, num_features=12, hidden_size=16, num_layers=2, num_bases=3), tensors


def test_alone_equals_in_a_batch_equals_in_chunks(encoder_and_graph: tuple[GraphEncoder, GraphTensors]) -> None:
    encoder, tensors = encoder_and_graph
    features = torch.randn(10, len(tensors.nodes), 12)
    whole = encoder(features, tensors)
    assert torch.allclose(torch.cat([encoder(row[None], tensors) for row in features]), whole, atol=1e-10)
    assert torch.allclose(torch.cat([encoder(chunk, tensors) for chunk in features.split(3)]), whole, atol=1e-10)


def test_permuting_nodes_permutes_states(encoder_and_graph: tuple[GraphEncoder, GraphTensors]) -> None:
    encoder, tensors = encoder_and_graph
    from dataclasses import replace

    order = torch.randperm(len(tensors.nodes), generator=torch.Generator().manual_seed(3))
    position = torch.argsort(order)
    permuted = replace(tensors, edge_index=position[tensors.edge_index])
    features = torch.randn(4, len(tensors.nodes), 12)
    assert torch.allclose(encoder(features[:, order], permuted), encoder(features, tensors)[:, order], atol=1e-10)


def test_strength_zero_is_an_edge_removed(encoder_and_graph: tuple[GraphEncoder, GraphTensors]) -> None:
    encoder, _ = encoder_and_graph
    graph = load_graph("parcels")
    strengths = graph.strength.copy()
    strengths[3] = 0.0
    removed = GraphSpec.model_validate(
        {
            **graph.spec.model_dump(by_alias=True),
            "edges": [e.model_dump(by_alias=True) for i, e in enumerate(graph.spec.edges) if i != 3],
        }
    )
    features = torch.randn(4, len(graph.nodes), 12)
    zeroed = encoder(features, GraphTensors.of(graph.with_strengths(strengths)))
    assert torch.allclose(zeroed, encoder(features, GraphTensors.of(AuxiliaryGraph(removed))), atol=1e-10)


def test_strength_reaches_the_state_with_a_gradient(encoder_and_graph: tuple[GraphEncoder, GraphTensors]) -> None:
    encoder, tensors = encoder_and_graph
    from dataclasses import replace

    strength = tensors.strength.clone().requires_grad_()
    encoder(torch.randn(4, len(tensors.nodes), 12), replace(tensors, strength=strength)).square().sum().backward()
    assert strength.grad is not None
    assert (strength.grad.abs() > 0).all()


@pytest.mark.parametrize("size", [6, 90])
def test_the_fused_product_equals_message_passing(size: int) -> None:
    """Dense below DENSE_UP_TO nodes, sparse above; both against PyG's own gather and scatter, gradients too."""
    torch.manual_seed(1)
    edge_index, relation = torch.randint(0, size, (2, 40)), torch.randint(0, 3, (40,))
    layer = RelationalConv(channels=5, num_relations=3, num_bases=2)
    results = []
    for fused in (True, False):
        layer.fuse = fused
        x = torch.randn(3, size, 5, generator=torch.Generator().manual_seed(2)).requires_grad_()
        strength = torch.rand(40, generator=torch.Generator().manual_seed(3)).requires_grad_()
        out = layer(x, edge_index, relation, strength)
        out.square().sum().backward()
        results.append((out, x.grad, strength.grad))
    for fused_value, plain_value in zip(*results, strict=True):
        assert torch.allclose(fused_value, plain_value, atol=1e-9)


def test_joined_contexts_give_the_numbers_of_the_same_graph_stated_whole() -> None:
    """One episode with two retrieved nodes: joined to the graph, and written out as a static graph of two nodes more."""
    torch.manual_seed(0)
    tensors = GraphTensors.of(load_graph("parcels"))
    encoder = GraphEncoder(tensors, num_features=7, hidden_size=8, num_layers=2, num_bases=3)
    size = len(tensors.nodes)
    features, of_contexts = torch.randn(2, size, 7), torch.randn(3, 7)
    tasks = torch.tensor([2, 0])
    contexts = Contexts(torch.zeros(3, 1), torch.tensor([1, 0, 1]), torch.tensor([1.0, 0.5, 0.25]))
    joined = encoder.joined(features, tensors, of_contexts, contexts, tasks)
    from dataclasses import replace

    for row, mine in ((0, [1]), (1, [0, 2])):
        extra = torch.tensor([[size + k for k in range(len(mine))], [int(tasks[row])] * len(mine)])
        whole = replace(
            tensors,
            edge_index=torch.cat([tensors.edge_index, extra], 1),
            relation=torch.cat([tensors.relation, torch.full((len(mine),), encoder.num_relations - 1)]),
            strength=torch.cat([tensors.strength, contexts.score[mine]]),
        )
        static = encoder(torch.cat([features[row], of_contexts[mine]])[None], whole)[0, :size]
        assert torch.allclose(joined[row], static, atol=1e-10)
    assert not torch.allclose(joined, encoder(features, tensors), atol=1e-3), "what was retrieved must matter"
