"""Shared pieces: tiny real models made from a config, graphs written to a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from rag_graph.graph import AuxiliaryGraph
    from rag_graph.retrieval.encoder import SentenceEncoder
    from rag_graph.runs.progress import StageProgress

# Before torch is imported: threads that wait leave the processor to other work, and no test may reach for a network.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Embeddings that a test makes are not the user's; workers of one session share them.
if "RAG_GRAPH_CACHE" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="rag_graph_tests_")
    os.environ["RAG_GRAPH_CACHE"] = _CACHE.name

# A shell that starts the tests in the background ignores Ctrl-C for them, and for the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline would measure the machine and what else runs on it.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

ROOT = Path(__file__).parent.parent
Cli = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; the test is skipped without it."""
    folder = os.environ.get("RAG_GRAPH_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RAG_GRAPH_DATA is not set: the real data sets are not here")
    return Path(folder)


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Import a file that is in no package, by its path in the project: a script of experiments/."""

    def load(path: str) -> ModuleType:
        name = path.removesuffix(".py").replace("/", "_")
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def write_graph(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph file and return its path."""

    def write(text: str, name: str = "g.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., AuxiliaryGraph]:
    """Tasks `t` and `u` (a goal of 1 and of .5), criteria c0.. that apply to both, and edges (source, target, relation, strength = .5)."""
    from rag_graph.graph import AuxiliaryGraph
    from rag_graph.graph.spec import GraphSpec

    task = {
        "kind": "generation",
        "metrics": {"rouge_l": 1.0},
        "prompt": "{input}",
        "fields": {"input": "x", "reference": "y"},
    }

    def make(edges: Sequence[tuple[Any, ...]], criteria: int = 3, tuned: bool = True) -> AuxiliaryGraph:
        names = ("from", "to", "relation", "strength")
        spec = {
            "format": 1,
            "name": "g",
            "tasks": {"t": {**task, "goal": 1.0}, "u": {**task, "goal": 0.5}},
            "criteria": {f"c{i}": {"metric": "format"} for i in range(criteria)},
            "edges": [{"strength": 0.5, "tuned": tuned, **dict(zip(names, edge, strict=False))} for edge in edges],
        }
        return AuxiliaryGraph(GraphSpec.model_validate(spec))

    return make


@pytest.fixture(scope="session")
def tiny_model() -> Callable[[int], object]:
    """seed -> a Llama of 20 thousand parameters and its tokenizer over a few words."""
    import torch

    from rag_graph.config import ScratchConfig
    from rag_graph.generation.scratch import make_model, make_tokenizer

    words = "red blue green yellow good bad kettle mixer from oslo lima where is it ? the a . topic kitchen audio"
    tokenizer = make_tokenizer([words] * 20, 320)

    def make(seed: int) -> object:
        torch.manual_seed(seed)
        config = ScratchConfig(
            vocab_size=320, hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_length=128
        )
        return make_model(config, tokenizer), tokenizer

    return make


@pytest.fixture(params=["gpt2", "gpt_neox", "qwen2", "gemma2", "cohere", "bloom"])
def family(request: pytest.FixtureRequest) -> str:
    """Families of models that differ where it matters: positions, tied layers, scaled or capped logits."""
    return str(request.param)


@pytest.fixture(scope="session")
def family_model() -> Callable[[str], Any]:
    """Name of a family -> a small model of it with random weights."""
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    own: dict[str, dict[str, Any]] = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
        "gpt_neox": {**shape, "max_position_embeddings": 64},
        "qwen2": {**shape, "num_key_value_heads": 1, "tie_word_embeddings": True},
        "gemma2": {**shape, "num_key_value_heads": 1, "head_dim": 16, "final_logit_softcapping": 3.0},
        "cohere": {**shape, "num_key_value_heads": 1, "logit_scale": 0.25, "pad_token_id": 0},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 2},
    }

    def make(name: str) -> Any:
        return transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(name, vocab_size=97, **own[name])
        )

    return make


@pytest.fixture(scope="session")
def deep_model() -> Callable[[str], Any]:
    """Family of models -> an untrained model of it of four layers, in float64: windows and full attention by turns, layers that give tuples."""
    import torch
    import transformers

    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 64,
    }
    mixed = {
        "head_dim": 8,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "pad_token_id": 0,
    }
    own: dict[str, dict[str, Any]] = {
        "llama": {**shape, "num_key_value_heads": 1, "tie_word_embeddings": True},
        "qwen2": {**shape, "num_key_value_heads": 1},
        "qwen3": {**shape, "num_key_value_heads": 1, "head_dim": 8},
        "gemma2": {**shape, **mixed, "num_key_value_heads": 1, "final_logit_softcapping": 3.0},
        "gemma3_text": {**shape, **mixed, "num_key_value_heads": 1},
        "gpt2": {"n_embd": 16, "n_layer": 4, "n_head": 2, "n_positions": 64},
        "falcon": {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "alibi": False},
    }

    def make(name: str) -> Any:
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(name, vocab_size=97, **own[name])
        return transformers.AutoModelForCausalLM.from_config(config).double().eval()

    return make


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "gpt2", "falcon"])
def deep_family(request: pytest.FixtureRequest) -> str:
    """What `deep_model` makes."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def make_chat_tokenizer() -> Callable[..., Any]:
    """template, and whether a begin token is added -> a tokenizer whose turns end with `<end>`, and whose documents with `<eos>`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    def make(template: str | None = None, begins: bool = True) -> Any:
        special = ["<pad>", "<eos>", "<bos>", "<start>", "<end>"]
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        words = ["the red kettle is good .", "system user model assistant tool"] * 20
        tokenizer.train_from_iterator(
            words,
            trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
        )
        if begins:
            tokenizer.post_processor = processors.TemplateProcessing(
                single=["<bos>", "$A"], special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
            )
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
        )
        fast.add_special_tokens({"additional_special_tokens": ["<start>", "<end>"]})
        fast.chat_template = template
        return fast

    return make


@pytest.fixture(scope="session")
def make_llama() -> Callable[..., Any]:
    """tokenizer, changes of its config -> a Llama of a few thousand parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(tokenizer: Any, **changes: Any) -> Any:
        torch.manual_seed(0)
        shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        settings = {"vocab_size": len(tokenizer), "max_position_embeddings": 128, **shape, **ids, **changes}
        return LlamaForCausalLM(LlamaConfig(**settings))

    return make


SMALL = (
    "sft.steps=12", "sft.batch_size=4", "ppo.updates=6", "ppo.batch_size=8", "ppo.num_mini_batches=2", "ppo.checkpoint_every=2", "data.train=16",
    "data.test=8", "model.scratch.hidden_size=32", "model.scratch.intermediate_size=64", "model.scratch.num_layers=2", "model.scratch.num_heads=2",
    "evaluation.without_retrieval=false", "device=cpu", "reward.learn.method=alignment",
)  # fmt: skip
"""Makes the quickstart a run of seconds, in which the graph learns too."""


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides that make the quickstart a run of seconds."""
    return SMALL


@pytest.fixture(scope="session")
def finished_run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that has finished, in which the graph learned; copy it before changing it."""
    from rag_graph.runs.progress import StageProgress
    from rag_graph.runs.train import train

    folder = tmp_path_factory.mktemp("finished") / "run"
    config = root / "experiments/quickstart/config.yaml"
    train(config, [*SMALL, f"output_dir={folder}"], progress=StageProgress(quiet=True))
    return folder


@pytest.fixture(scope="session")
def plain_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT folder as transformers saves it, random weights: sentence-transformers gives it mean pooling."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from rag_graph.retrieval.encoder import _word_pieces
    from tests.contracts.retriever import TEXTS

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = _word_pieces(TEXTS, 200)  # the same in every process
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scratch_encoder() -> SentenceEncoder:
    """An encoder with random weights, made in a moment."""
    from rag_graph.retrieval.encoder import SentenceEncoder
    from tests.contracts.retriever import TEXTS

    return SentenceEncoder("scratch", corpus=TEXTS)


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], list[dict[str, Any]]]:
    """The folder of a training -> its metrics.jsonl without what a clock says."""

    def read(folder: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        clock = ("seconds/", "eps", "_per_second")
        return [{name: value for name, value in row.items() if not any(part in name for part in clock)} for row in rows]

    return read


@pytest.fixture(scope="session")
def stop_in() -> Callable[[str, int], StageProgress]:
    """A progress that stops a run as Ctrl-C does: in a stage, once it has made so many steps."""
    from rag_graph.runs.progress import StageProgress

    class StopIn(StageProgress):
        def __init__(self, stage: str, steps: int) -> None:
            super().__init__(quiet=True)
            self.wanted = stage, steps

        def advance(self, steps: int = 1, **numbers: float) -> None:
            super().advance(steps, **numbers)
            if self._name == self.wanted[0] and self._done >= self.wanted[1]:
                raise KeyboardInterrupt

    return StopIn


@pytest.fixture(scope="session")
def rag_graph_script() -> str:
    """The command `rag-graph` of this environment."""
    return str(Path(sys.executable).parent / "rag-graph")


@pytest.fixture(scope="session")
def run_cli() -> Cli:
    """Run `rag-graph` with these arguments here: a process of its own would first import torch and transformers for ten seconds."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> CompletedProcess[str]:
        from rag_graph.cli.app import main

        command = ["rag-graph", *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        code: int | str | None = 0
        on_term = signal.getsignal(signal.SIGTERM)  # a sweep sets its own
        with (
            mock.patch.object(sys, "argv", command),
            contextlib.chdir(cwd or Path.cwd()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.dict(os.environ, {"COLUMNS": "80"}),
        ):
            try:
                main()
            except SystemExit as stop:
                code = stop.code
            finally:
                signal.signal(signal.SIGTERM, on_term)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
        return CompletedProcess(command, int(code or 0), *texts)

    return run


@pytest.fixture(scope="session")
def run_process(rag_graph_script: str) -> Cli:
    """Run `rag-graph` with these arguments as a process, and wait for its end."""

    def run(*arguments: str | Path, timeout_s: float = 600) -> CompletedProcess[str]:
        return subprocess.run(
            [rag_graph_script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def graph_trainer(make_graph: Callable[..., AuxiliaryGraph], tiny_model: Callable[[int], Any]) -> Callable[..., Any]:
    """folder, method of graph learning, changes of the arguments -> a trainer of 24 equal prompts, and its graph's reward.

    The goal `t` likes long answers, and so does its prerequisite `c0`; its support `c1` likes the letter e.
    """
    from rag_graph.config import RewardConfig
    from rag_graph.ppo.arguments import GraphPPOConfig
    from rag_graph.ppo.trainer import GraphPPOTrainer
    from rag_graph.rag.episode_builder import EpisodeBuilder
    from rag_graph.records import Episode, Example
    from rag_graph.reward.reward import GraphReward

    examples = [Example(str(i), "t", {"input": "red kettle"}) for i in range(24)]

    def score(episode: Episode, nodes: Any = None) -> dict[str, float]:
        length = min(1.0, len(episode.response) / 40)
        return {"t": length, "c0": length, "c1": min(1.0, episode.response.count("e") / 4)}

    def make(folder: Path, method: str = "meta_gradient", **settings: Any) -> tuple[GraphPPOTrainer, GraphReward]:
        model, tokenizer = tiny_model(3)  # type: ignore[misc]
        graph = make_graph([("c0", "t", "prerequisite"), ("c1", "t", "supports")])
        config = RewardConfig(reserved=0.4, fit_steps=1, learn={"method": method, "warm_up": 0})
        reward = GraphReward(graph, score, config, EpisodeBuilder(examples), seed=0)
        args: dict[str, Any] = {
            "output_dir": str(folder), "per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "total_episodes": 48,
            "response_length": 6, "learning_rate": 1e-3, "bf16": False, "use_cpu": True, "report_to": "none", "save_strategy": "no",
            "disable_tqdm": True, "seed": 1, "num_sample_generations": 0,
        }  # fmt: skip
        rows = [{"prompt": "red kettle", "example_id": example.id} for example in examples]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = GraphPPOConfig(**{**args, **settings})
            return GraphPPOTrainer(model, reward, arguments, rows, processing_class=tokenizer), reward

    return make


class JudgeServer:
    """A chat endpoint of OpenAI's protocol on this machine. What it does with a request says `behave`.

    behave: number of the request (from 0) and its prompt -> the text of the reply, or one of
        ("status", CODE[, HEADERS[, BODY]]), ("body", BYTES), ("half", BYTES), ("sleep", SECONDS, TEXT), ("message", DICT), "hang up".
    prompts, headers, bodies: of each request that came. most: the greatest number of requests that were in flight.
    """

    def __init__(self) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        outer = self
        self.behave: Callable[[int, str], Any] = lambda number, prompt: '{"mark": 4}'
        self.prompts: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Nothing on the terminal."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    number = len(outer.prompts)
                    outer.prompts.append(body["messages"][-1]["content"])
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.bodies.append(body)
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                try:
                    outer.reply(self, outer.behave(number, outer.prompts[number]))
                except ConnectionError:
                    self.close_connection = True  # the client waits no longer
                finally:
                    with outer.lock:
                        outer.now -= 1

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def reply(self, handler: Any, does: Any) -> None:
        kind, *rest = ("hang up",) if self.stop.is_set() else does if isinstance(does, tuple) else (does,)
        if kind == "sleep":
            self.stop.wait(rest[0])
            return self.reply(handler, rest[1])
        if kind == "hang up":
            handler.close_connection = True
            return None
        status, headers, cut = 200, {}, 0
        if kind == "status":
            status, headers = rest[0], rest[1] if len(rest) > 1 else {}
            body = rest[2] if len(rest) > 2 else b'{"error": {"message": "not now"}}'
        elif kind in ("body", "half"):
            body, cut = rest[0], 10 if kind == "half" else 0
        else:
            message = rest[0] if kind == "message" else {"role": "assistant", "content": does}
            choice = {"index": 0, "message": message, "finish_reason": message.pop("finish_reason", "stop")}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            body = json.dumps(
                {
                    "id": "1",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                    "usage": usage,
                }
            ).encode()
        handler.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body) + cut),
            **headers,
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        if cut:
            handler.close_connection = True
        return None

    def close(self) -> None:
        self.stop.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    """A chat endpoint on this machine whose behaviour a test sets; see `JudgeServer`."""
    server = JudgeServer()
    yield server
    server.close()
