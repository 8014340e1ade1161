"""The stages of a run, one after the other: data, warm-up, evaluation, PPO with the graph's rewards, evaluation again. What each leaves lies in the
run folder; `run.py` starts them and goes on with them."""

from __future__ import annotations

import hashlib
import platform
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import logging as transformers_logging

from rag_graph.config import RunConfig
from rag_graph.data.load import load_data
from rag_graph.errors import DataError, TrainingError
from rag_graph.evaluation.evaluate import Evaluation, evaluate
from rag_graph.evaluation.scorer import NodeScorer
from rag_graph.evaluation.statistics import Interval, paired_difference
from rag_graph.generation.generate import Writer
from rag_graph.generation.language_model import load_language_model, merged, with_adapter
from rag_graph.graph.auxiliary_graph import AuxiliaryGraph
from rag_graph.graph.exchange import to_yaml
from rag_graph.graph.strengths import strengths_yaml
from rag_graph.rag.pipeline import RagPipeline
from rag_graph.records import Episode, Example
from rag_graph.rag.context_pool import ContextPool, load_encoders
from rag_graph.reward.reward import GraphReward
from rag_graph.runtime import RunFolder, manifest, resolve_device, seed_everything, to_json
from rag_graph.ppo.checkpoints import list_checkpoints, load_state, newest_checkpoint, save_state, write_checkpoint
from rag_graph.rag.retriever_learning import RetrieverTraining
from rag_graph.runs.demonstrations import demonstration_batches
from rag_graph.runs.ingredients import check_model, classifiers, corpus, node_texts, peak_memory, ppo_arguments
from rag_graph.runs.own_parts import OwnParts
from rag_graph.runs.progress import StageProgress
from rag_graph.rag.episode_builder import EpisodeBuilder
from rag_graph.runs.rag_ppo import RagPPOTrainer
from rag_graph.runs.recording import RunRecorder, episode_record, evaluation_record
from rag_graph.ppo.trainer_state import load_weights
from rag_graph.rag.retrieval_report import retrieval_report
from rag_graph.generation.sft import train_sft
from rag_graph.ppo.callbacks import keep_until

WARM_UP = "warm_up"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run ends with. `gain` is the paired change of the mean task score from before PPO to after."""

    folder: Path
    before: Evaluation
    after: Evaluation
    gain: Interval
    without_retrieval: Evaluation | None
    seconds: dict[str, float]


class RunStages:
    """The stages of a run share much state; this holds it. `resumed` is the manifest of the run that goes on."""

    def __init__(
        self,
        config: RunConfig,
        graph: AuxiliaryGraph,
        folder: RunFolder,
        progress: StageProgress,
        command: list[str],
        own: OwnParts,
        resumed: dict[str, Any] | None = None,
    ) -> None:
        self.own = own
        self.config, self.graph, self.folder, self.progress, self.command = config, graph, folder, progress, command
        self.resumed = resumed
        self.seconds: dict[str, float] = {}
        self.device = resolve_device(config.device)

    def run(self) -> RunResult:
        config, folder = self.config, self.folder
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        seed_everything(config.seed)
        folder.write_json("status.json", {"status": "running", "host": platform.node()})
        self.progress.say(
            f"graph {self.graph.name}: {len(self.graph.nodes)} nodes, {len(self.graph.spec.edges)} relations; run folder {folder.path}"
        )
        self.data = load_data(self.graph, config.data, config.seed)
        self._describe()
        everything = [node for nodes in self.data.contexts.values() for node in nodes]
        self.encoders = load_encoders(config.retrieval, everything, config.seed)
        self.pools = {
            split: ContextPool(self.graph, nodes, config.retrieval, self.encoders, self.own.retriever)
            for split, nodes in self.data.contexts.items()
        }
        self.scorer = NodeScorer(self.graph, classifiers(self.graph, self.data.train, config.seed), self.own.scorers)
        self.model, self.tokenizer = load_language_model(config.model, corpus(self.graph, self.data), self.device)
        size = sum(parameter.numel() for parameter in self.model.parameters())
        self.progress.say(
            f"policy {config.model.source}: {size / 1e6:.2f}M parameters, vocabulary {len(self.tokenizer)}; {len(self.data.train)} training and {len(self.data.test)} test examples"
        )

        # Made before the long stages: what is wrong with the graph's rewards shows now.
        self.builder = EpisodeBuilder(self.data.train, self.tokenizer.eos_token_id)
        self.reward = GraphReward(
            self.graph,
            config.reward,
            self.scorer.score,
            self.builder,
            config.seed,
            node_texts(config),
            self.own.readout,
        )
        if len(self.data.train) < config.ppo.batch_size:
            raise DataError(
                f"{len(self.data.train)} training examples, fewer than one PPO batch of {config.ppo.batch_size}. Lower ppo.batch_size or add data."
            )
        self.retriever = self._retriever_training()
        if self.retriever is not None and config.retrieval.learn.warm_up != "none":
            self.retriever.fit_for_warm_up(self.data.train)
        check_model(self.model, config.retrieval)
        self._timed("sft", self._warm_up)
        before = self._timed("evaluation_before", lambda: self._evaluate("before", self.pools["test"]))
        seed_everything(config.seed)  # a resumed run has not drawn the numbers of the warm-up
        self._timed("ppo", self._ppo)
        after = self._timed("evaluation_after", lambda: self._evaluate("after", self.pools["test"]))
        without = None
        if config.evaluation.without_retrieval:
            without = self._timed("evaluation_without_retrieval", lambda: self._evaluate("without_retrieval", None))
        self._report_graph()
        gain = paired_difference(before.task_scores, after.task_scores)
        folder.write_json("results.json", self._results(before, after, gain, without))
        folder.write_json("status.json", {"status": "finished"})
        for stale in [folder / WARM_UP, *list_checkpoints(folder.path)]:
            shutil.rmtree(stale, ignore_errors=True)
        return RunResult(folder.path, before, after, gain, without, self.seconds)

    def _describe(self) -> None:
        """Config, graph, manifest and contexts into the folder; of a run that goes on, only that it does."""
        config, folder = self.config, self.folder
        if self.resumed is not None:
            changed = [name for name, value in self.data.hashes.items() if self.resumed["data"].get(name) != value]
            if changed:
                raise DataError(f"{folder.path}: the data sets have changed since the run began: {', '.join(changed)}.")
            self.resumed.setdefault("resumed", []).append(time.strftime("%Y-%m-%dT%H:%M:%S%z"))
            folder.write_json("manifest.json", self.resumed)
            return
        graph_text = to_yaml(self.graph)
        graph_hash = hashlib.sha256(graph_text.encode()).hexdigest()[:16]
        folder.write("config.yaml", config.to_yaml())
        folder.write("graph.yaml", graph_text)
        for split, nodes in self.data.contexts.items():
            folder.write(f"contexts/{split}.jsonl", "".join(to_json(asdict(node)) + "\n" for node in nodes))
        about = manifest(config.seed, self.command, self.data.hashes, config.fingerprint(), graph_hash)
        more = {"graph_root": str(self.graph.root.resolve()), "own_parts": self.own.names()}
        folder.write_json("manifest.json", {**about, **more})

    def _timed(self, stage: str, work: Any) -> Any:
        started = time.perf_counter()
        result = work()
        self.seconds[stage] = round(time.perf_counter() - started, 2)
        return result

    # ------------------------------------------------------------------ stages

    def _warm_up(self) -> None:
        sft, model, retriever = self.config.sft, self.config.model, self.config.retrieval.learn
        warms = self.retriever is not None and retriever.warm_up != "none"
        if sft.steps == 0 and not warms:
            return
        about = {"config": self.config.fingerprint()}
        kept = newest_checkpoint(self.folder / WARM_UP, about) if self.resumed is not None else None
        if kept is not None:
            load_weights(self.model, kept)
            if self.retriever is not None:
                self.retriever.load_state_dict(load_state(kept, "retriever"))
            return
        (self.folder / "metrics.jsonl").unlink(missing_ok=True)  # of a warm-up that did not reach its end
        self.progress.stage("supervised warm-up", sft.steps)
        if model.lora is not None:
            self.model = with_adapter(self.model, model.lora)
        batches = demonstration_batches(
            self.graph,
            self.data,
            self.pools["train"],
            self.tokenizer,
            sft.weak,
            sft.batch_size,
            model.max_prompt_tokens,
            self.config.seed,
        )
        losses: list[float] = []

        def on_step(step: int, loss: float) -> None:
            losses.append(loss)
            recent = sum(losses[-20:]) / len(losses[-20:])
            self.progress.advance(loss=recent)
            if step % 10 == 0:
                self.folder.append("metrics.jsonl", [{"stage": "sft", "step": step, "loss": recent}])

        train_sft(
            self.model,
            batches,
            sft.steps,
            sft.learning_rate,
            sft.warmup_steps,
            self.tokenizer.pad_token_id,
            self.config.ppo.bf16,
            on_step,
        )
        if self.retriever is not None and warms:
            self.retriever.model = self.model
            self._warm_up_retriever(self.retriever)
        # Folded in, so that PPO's fresh adapter, switched off, is the warmed-up model: the reference of the KL.
        self.model = merged(self.model)
        if self.config.ppo.checkpoint_every:

            def fill(inside: Path) -> None:
                self.model.save_pretrained(inside)
                if self.retriever is not None:
                    save_state(inside, "retriever", self.retriever.state_dict())

            write_checkpoint(self.folder / WARM_UP, sft.steps, fill, about)

    def _retriever_training(self) -> RetrieverTraining | None:
        """What trains the encoder of queries, where an encoder retrieves and is to learn."""
        config, encoders = self.config, self.encoders
        if encoders is None or not encoders.learn:
            return None
        return RetrieverTraining(
            RagPipeline(self.graph, self.pools["train"], config.retrieval, self._writer()),
            encoders.queries,
            self.model,
            self.tokenizer,
            config.model.max_prompt_tokens,
            config.evaluation.batch_size,
            lambda episodes, seen: self.reward.node_rewards(self.reward.observe(episodes, seen)).total(),
            config.seed,
        )

    def _warm_up_retriever(self, retriever: RetrieverTraining) -> None:
        steps = self.config.retrieval.learn.warm_up_steps
        self.progress.stage("warm-up of retriever", steps)

        def on_step(step: int, loss: float) -> None:
            self.progress.advance(loss=loss)
            if step % 10 == 0:
                self.folder.append("metrics.jsonl", [{"stage": "retriever", "step": step, "loss": loss}])

        retriever.warm_up(self.data.train, self.config.sft.learning_rate, on_step)

    def _writer(self) -> Writer:
        """Greedy answers of the policy as it is now."""
        config = self.config
        return Writer(self.model, self.tokenizer, config.model, config.evaluation.batch_size, config.ppo.bf16)

    def _evaluate(self, name: str, pool: ContextPool | None) -> Evaluation:
        batch = self.config.evaluation.batch_size
        self.progress.stage(f"evaluation {name}".replace("_", " "), len(self.data.test))
        pipeline = RagPipeline(self.graph, pool, self.config.retrieval, self._writer())

        def answer(examples: Sequence[Example]) -> list[Episode]:
            order = sorted(range(len(examples)), key=lambda row: examples[row].task)
            episodes: dict[int, Episode] = {}
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                episodes.update(zip(rows, pipeline.answer([examples[row] for row in rows]), strict=True))
                self.progress.advance(len(rows))
            return [episodes[row] for row in range(len(examples))]

        evaluation = evaluate(answer, self.data.test, self.scorer, self.config.fingerprint())
        record = {**evaluation_record(evaluation), "retrieval": retrieval_report(pipeline, evaluation.episodes)}
        self.folder.write_json(f"evaluation/{name}.json", record)
        self.folder.write(
            f"evaluation/{name}.episodes.jsonl", "".join(to_json(episode_record(e)) + "\n" for e in evaluation.episodes)
        )
        self.progress.say(f"  mean task score {name.replace('_', ' ')}: {evaluation.mean_task_score}")
        return evaluation

    def _ppo(self) -> None:
        config, ppo = self.config, self.config.ppo
        builder, reward = self.builder, self.reward
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            arguments = ppo_arguments(config, self.folder.path, self.device)
            if config.model.lora is not None:
                self.model = with_adapter(self.model, config.model.lora)
            pipeline = RagPipeline(self.graph, self.pools["train"], config.retrieval, self._writer())
            if self.retriever is not None:
                self.retriever.model, self.retriever.pipeline = self.model, pipeline
            trainer = RagPPOTrainer(
                pipeline=pipeline,
                builder=builder,
                retriever=self.retriever,
                goals_shown=reward.goals_shown,
                model=self.model,
                reward_funcs=reward,
                args=arguments,
                train_dataset=[{"prompt": "", "example_id": example.id} for example in self.data.train],
                processing_class=self.tokenizer,
                callbacks=[RunRecorder(self.folder, self.progress, reward, config.max_bad_episodes)],
            )
            kept = self.resumed is not None and newest_checkpoint(self.folder.path, trainer.identity())
            if not kept:
                keep_until(self.folder / "metrics.jsonl", 0)  # updates that no checkpoint has seen
                self._calibrate(trainer, reward)
            self.progress.stage("PPO", ppo.updates)
            trainer.train(resume_from_checkpoint=kept or None)
        self.model = merged(self.model.eval())
        self._save(reward)

    def _save(self, reward: GraphReward) -> None:
        """The policy as transformers saves it, adapter folded in, and the reward's state."""
        policy = self.folder / "policy"
        try:
            self.model.save_pretrained(policy)
            self.tokenizer.save_pretrained(policy)
            save_state(self.folder.path, "reward", reward.state_dict())
            if self.encoders is not None:
                self.encoders.save(self.folder / "retriever")
        except (OSError, SafetensorError) as error:
            raise TrainingError(
                f"{policy}: the model cannot be saved: {error}. Free some space; everything measured so far stays in the run folder."
            ) from None

    def _report_graph(self) -> None:
        """What was learned about the graph: strengths beside the file's, proposals, alarms."""
        reward = self.reward
        learned = reward.learned_graph()
        self.folder.write("strengths.yaml", strengths_yaml(self.graph, learned))
        proposals = [proposal.as_dict() for proposal in reward.proposals()]
        self.folder.write_json("graph_report.json", {"proposals": proposals, "alarms": reward.alarms.history})

    def _calibrate(self, trainer: RagPPOTrainer, reward: GraphReward) -> None:
        """Answer some training examples first, so that the first update is normalised by what the policy really scores."""
        sample = self.data.train[: 4 * self.config.ppo.batch_size]
        self.progress.stage("calibration of reward", len(sample))
        episodes = trainer.pipeline.answer(sample)
        self.progress.advance(len(sample))
        columns = {
            "example_id": [e.example.id for e in episodes],
            "draft": [e.draft for e in episodes],
            "evidence": [e.evidence for e in episodes],
        }
        eos = self.tokenizer.eos_token_id
        reward(
            [e.prompt for e in episodes],
            [e.response for e in episodes],
            [[] if e.truncated else [eos] for e in episodes],
            **columns,
        )
        reward.learn()

    def _results(
        self, before: Evaluation, after: Evaluation, gain: Interval, without: Evaluation | None
    ) -> dict[str, Any]:
        return {
            "before": evaluation_record(before),
            "after": evaluation_record(after),
            "gain": gain._asdict(),
            "without_retrieval": None
            if without is None
            else {
                **evaluation_record(without),
                "loss": paired_difference(after.task_scores, without.task_scores)._asdict(),
            },
            "seconds": self.seconds,
            "peak_memory_bytes": peak_memory(),
        }
