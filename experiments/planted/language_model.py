"""The planted task with a small causal language model, trained by `GraphPPOTrainer` on `GraphReward`.

A prompt is one word (`k0` to `k7`), a response has eight symbols. The model is a Llama with 0.1 million parameters. First it learns to write
eight random symbols, so every arm starts from a uniform policy, as in the tabular experiment.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Collection
from typing import Any

import torch
from tabular import AUXILIARY_OBSERVED, PROMPTS, secrets
from task import LENGTH, NOISE, VOCABULARY, PlantedTask
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from rag_graph.config import RewardConfig
from rag_graph.ppo.arguments import GraphPPOConfig
from rag_graph.ppo.trainer import GraphPPOTrainer
from rag_graph.rag.episode_builder import EpisodeBuilder
from rag_graph.records import Episode, Example
from rag_graph.reward import GraphReward

UPDATES, BATCH, LM_PROMPTS = 200, 64, 2
WARM_UP_STEPS = 60
SYMBOLS = [str(symbol) for symbol in range(VOCABULARY)]
WORDS = ["<pad>", "<s>", "</s>", *SYMBOLS, *(f"k{prompt}" for prompt in range(PROMPTS))]


def make_tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def make_policy(seed: int) -> LlamaForCausalLM:
    """A model that answers every prompt with eight symbols drawn evenly."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=32, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = 3 + VOCABULARY
    for _ in range(WARM_UP_STEPS):
        prompts = torch.randint(first, first + PROMPTS, (64, 1))
        ids = torch.cat([prompts, torch.randint(3, first, (64, LENGTH)), torch.full((64, 1), 2)], 1)
        loss = model(input_ids=ids, labels=torch.where(torch.arange(ids.shape[1]) > 0, ids, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


class PlantedScorer:
    """Noisy node scores of an episode; which are observed, and the noise, are functions of the episode, as `GraphReward` asks."""

    def __init__(self, task: PlantedTask, seed: int) -> None:
        self.task, self.seed = task, seed
        keys, anti = secrets([seed])
        self.keys, self.anti = keys[0], anti[0]

    def true(self, prompt: int, response: str) -> Tensor:
        """[N]"""
        known = {symbol: number for number, symbol in enumerate(SYMBOLS)}
        written = [known.get(word, -1) for word in response.split()][:LENGTH]
        tokens = torch.tensor(written + [-1] * (LENGTH - len(written)))
        return self.task.scores(tokens, self.keys[prompt], self.anti[prompt])

    def __call__(self, episode: Episode, nodes: Collection[str] | None = None) -> dict[str, float]:
        text = f"{self.seed}\0{episode.id}\0{episode.response}"
        generator = torch.Generator().manual_seed(
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
        )
        true = self.true(int(episode.example.id), episode.response)
        measured = (true + NOISE * torch.randn(true.shape, generator=generator)).clamp(0, 1).tolist()
        observed = (torch.rand(true.shape, generator=generator) < AUXILIARY_OBSERVED).tolist()
        # Whether the goal is observed is the reward's business.
        found = {name: measured[i] for i, name in enumerate(self.task.nodes) if i == 0 or observed[i]}
        return {name: value for name, value in found.items() if nodes is None or name in nodes}


def run_lm(
    task: PlantedTask,
    graph_name: str,
    config: RewardConfig,
    share: float,
    seed: int,
    updates: int = UPDATES,
    **ppo: Any,
) -> float:
    """True goal of the trained policy: mean over 16 sampled answers to each prompt."""
    tokenizer, policy = make_tokenizer(), make_policy(seed)
    scorer = PlantedScorer(task, seed)
    examples = [Example(str(prompt), "goal", {"input": f"k{prompt}"}) for prompt in range(LM_PROMPTS)]
    # Examples are few here, so that a reserved split would take whole prompts away: these arms reserve nothing.
    observed = config.model_copy(update={"goal_observed": share, "reserved": 0.0})
    reward = GraphReward(task.graph(graph_name), scorer, observed, EpisodeBuilder(examples), seed)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings: dict[str, Any] = {
            "output_dir": folder, "total_episodes": updates * BATCH, "per_device_train_batch_size": BATCH, "num_ppo_epochs": 4,
            "learning_rate": 5e-4, "kl_coef": 0.1, "gamma": 1.0, "lam": 1.0, "vf_coef": 0.1, "response_length": LENGTH, "temperature": 1.0,
            "num_sample_generations": 0, "save_strategy": "no", "report_to": "none", "bf16": False, "use_cpu": True, "disable_tqdm": True,
            "seed": seed, "lr_scheduler_type": "constant",
        }  # fmt: skip
        trainer = GraphPPOTrainer(
            policy, reward, GraphPPOConfig(**{**settings, **ppo}), [{"prompt": f"k{e.id}", "example_id": e.id} for e in examples] * 32,
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.train()
    return held_out(trainer, scorer)


@torch.no_grad()
def held_out(trainer: GraphPPOTrainer, scorer: PlantedScorer) -> float:
    tokenizer, queries = trainer.processing_class, []
    for prompt in range(LM_PROMPTS):
        queries += [tokenizer(f"k{prompt}")["input_ids"]] * 16
    uniforms = torch.rand((len(queries), LENGTH), generator=torch.Generator().manual_seed(scorer.seed))
    responses = trainer.engine.generate(queries, uniforms)
    texts = tokenizer.batch_decode(responses, skip_special_tokens=True)
    return float(sum(scorer.true(row // 16, text)[0] for row, text in enumerate(texts)) / len(texts))
