"""Training speed: logistic regression against Vowpal Wabbit and River, and DeepFM.

    python -m benchmarks.train [--quick] [--json FILE]      (needs the bench extra)

One synthetic click log of 39 fields (26 categories, 13 whole numbers), written once as an Arrow file
and once as Vowpal Wabbit's binary cache. Ours reads, extracts, predicts, validates and learns in one
thread; Vowpal Wabbit may use its parser thread beside. Both run FTRL-Proximal at the same settings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import finish, median, parse_options, say
from cluster.warmup import warm_up_learner
from model.assemble import ExampleSpec
from model.event_time import EventTimeSpec
from model.features import Categorical, FeatureSpec, Numeric
from model.labels import LabelSpec
from model.models import build_model
from ps.client import RoutingClient
from ps.clock import SystemClock
from ps.dense import DenseSpec
from ps.initializers import Initializer
from ps.optimizers import AdaGrad, Adam, FtrlProximal
from ps.shard import Shard, ShardSpec
from ps.table import TableSpec
from worker.batching import batches
from worker.learners import BatchLearner, ExampleLearner
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.preparation import prepare
from worker.quarantine import Quarantine
from worker.sources.columnar import ArrowSource
from worker.sources.synthetic import WideStreamSpec, WideSyntheticClicks
from worker.trainer import Trainer

if TYPE_CHECKING:
    from benchmarks.harness import Figures
    from worker.learners import Learner

CATEGORIES = [f"C{i}" for i in range(1, 27)]
NUMBERS = [f"I{i}" for i in range(1, 14)]
ALPHA, BETA = 0.1, 1.0
# Vowpal Wabbit's own default of 18 bits is its fastest; more bits collide less and miss more caches.
VW_BITS = (18, 22)
BATCH = 8_192
LOSS = re.compile(r"average loss = ([\d.]+)")


def write_log(folder: Path, records: int) -> tuple[Path, Path]:
    """The same records as an Arrow file and as text for Vowpal Wabbit."""
    source = WideSyntheticClicks(WideStreamSpec(records=records))
    arrow, text = folder / "log.arrow", folder / "log.vw"
    writer: pa.RecordBatchFileWriter | None = None
    with text.open("w") as lines:
        for chunk in source.read(source.partitions()[0], 0):
            columns = whole_numbers(chunk.columns)
            if writer is None:
                writer = pa.ipc.new_file(str(arrow), columns.schema)
            writer.write_batch(columns)
            names = CATEGORIES + NUMBERS
            values = np.stack([columns.column(n).to_numpy() for n in names], axis=1)
            labels = np.where(columns.column("click").to_numpy() > 0, "1", "-1")
            for label, row in zip(labels.tolist(), values.tolist(), strict=True):
                fields = " ".join(f"{n}={v}" for n, v in zip(names, row, strict=True))
                lines.write(f"{label} |f {fields}\n")
    if writer is not None:
        writer.close()
    return arrow, text


def whole_numbers(columns: pa.RecordBatch) -> pa.RecordBatch:
    """The I columns as the integers they are, so that their values can be ids."""
    for name in NUMBERS:
        at = columns.schema.get_field_index(name)
        columns = columns.set_column(at, name, columns.column(at).cast(pa.int64()))
    return columns


def run_vw(text: Path, bits: int) -> tuple[float, float]:
    """(seconds, progressive log loss) of one pass over the binary cache, whole process."""
    cache = text.with_suffix(f".{bits}.cache")
    command = [
        *(sys.executable, "-m", "vowpalwabbit", "--ftrl", "--loss_function", "logistic"),
        *("--ftrl_alpha", str(ALPHA), "--ftrl_beta", str(BETA), "-b", str(bits)),
        *("-d", str(text), "--cache_file", str(cache), "--progress", "10000000"),
    ]
    if not cache.exists():
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    begin = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    elapsed_s = time.perf_counter() - begin
    found = LOSS.search(done.stderr + done.stdout)
    if found is None:
        raise RuntimeError(f"vowpalwabbit did not report a loss:\n{done.stderr}")
    return elapsed_s, float(found[1])


def vw_start_s() -> float:
    """What starting the process costs before it has read an example."""
    command = [sys.executable, "-m", "vowpalwabbit", "--version"]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - begin


def logistic_learner() -> tuple[ExampleSpec, Learner]:
    """Per-example FTRL-Proximal over all 39 fields as ids."""
    spec = FeatureSpec(
        tuple(
            Categorical(name, name, slot=slot, table="t")
            for slot, name in enumerate(CATEGORIES + NUMBERS, start=1)
        )
    )
    optimizer = FtrlProximal(alpha=ALPHA, beta=BETA, l1=0.0, l2=0.0)
    table = TableSpec("t", 1, optimizer)
    dense = (DenseSpec("linear", (1,), optimizer),)
    shard = Shard(ShardSpec("bench", (table,), dense))
    return _examples(spec), ExampleLearner(spec.layout, shard)


def deepfm_learner() -> tuple[ExampleSpec, Learner]:
    """DeepFM: 26 categories of dim 16, 13 numbers, MLP 256-128, AdaGrad rows."""
    categories = tuple(
        Categorical(name, name, slot=slot, table="t")
        for slot, name in enumerate(CATEGORIES, start=1)
    )
    numbers = tuple(Numeric(name, name, transform="log1p") for name in NUMBERS)
    spec = FeatureSpec(categories + numbers)
    model = build_model("deepfm", spec.layout, {"dim": 16, "hidden": [256, 128]})
    initializer = Initializer("normal", 0.01, model.leading_zeros)
    table = TableSpec("t", model.row_width, AdaGrad(learning_rate=0.05), initializer)
    dense = tuple(
        DenseSpec(name, shape.shape, Adam(learning_rate=1e-3), shape.init_scale)
        for name, shape in model.dense_shapes().items()
    )
    shard = Shard(ShardSpec("bench", (table,), dense))
    return _examples(spec), BatchLearner(model, spec.layout, RoutingClient([shard]))


def _examples(spec: FeatureSpec) -> ExampleSpec:
    return ExampleSpec(spec, LabelSpec("click"), EventTimeSpec("event_ts_us", "us"))


def run_ours(
    arrow: Path, made: tuple[ExampleSpec, Learner], records: int
) -> tuple[float, ProgressiveMetrics]:
    """(seconds, metrics) of one pass in this thread: read, extract, predict, validate, learn."""
    examples, learner = made
    source = ArrowSource(str(arrow))
    metrics = ProgressiveMetrics(MetricsSpec(window_s=None))
    trainer = Trainer(learner, metrics, Quarantine())
    partition = source.partitions()[0]
    begin = time.perf_counter()
    chunks = batches(source, partition, 0, BATCH, stop=records)
    for prepared in prepare(chunks, examples, None, SystemClock()):
        trainer.learn(prepared)
    return time.perf_counter() - begin, metrics


def run_river(arrow: Path, records: int) -> tuple[float, float]:
    """(examples/s, log loss) of River's FTRL-Proximal on the first records."""
    from river import linear_model, metrics, optim

    with pa.memory_map(str(arrow)) as file:
        rows = pa.ipc.open_file(file).read_all().slice(0, records).to_pylist()
    events = [
        ({f"{name}={row[name]}": 1.0 for name in CATEGORIES + NUMBERS}, bool(row["click"]))
        for row in rows
    ]
    model: Any = linear_model.LogisticRegression(
        optimizer=optim.FTRLProximal(alpha=ALPHA, beta=BETA, l1=0.0, l2=0.0)
    )
    loss: Any = _untyped(metrics).LogLoss()
    begin = time.perf_counter()
    for features, label in events:
        loss.update(label, model.predict_proba_one(features))
        model.learn_one(features, label)
    return records / (time.perf_counter() - begin), float(loss.get())


def _untyped(module: object) -> Any:
    return module


def main() -> None:
    """Run it."""
    options = parse_options(str(__doc__).splitlines()[0])
    records = 100_000 if options.quick else 1_000_000
    rounds = 2 if options.quick else 7
    figures: Figures = {"examples": records}
    with tempfile.TemporaryDirectory(prefix="trilith-bench-") as folder:
        say(f"writing {records:,} examples of 39 fields")
        arrow, text = write_log(Path(folder), records)
        say("compiling kernels")
        for make in (logistic_learner, deepfm_learner):
            examples, learner = make()
            warm_up_learner(learner, examples.features.layout)

        ours_s: list[float] = []
        vw_s: dict[int, list[float]] = {bits: [] for bits in VW_BITS}
        vw_loss: dict[int, float] = {}
        start_s = vw_start_s()
        for number in range(rounds):
            elapsed_s, metrics = run_ours(arrow, logistic_learner(), records)
            ours_s.append(elapsed_s)
            for bits in VW_BITS:
                elapsed_s, vw_loss[bits] = run_vw(text, bits)
                # Starting an interpreter is no part of learning.
                vw_s[bits].append(elapsed_s - start_s)
            say(
                f"round {number + 1}: ours {records / ours_s[-1]:,.0f} examples/s, "
                + ", ".join(f"vw -b {b} {records / vw_s[b][-1]:,.0f}" for b in VW_BITS)
            )
        # Round by round: a noisy neighbour spoils both sides of a round, or neither.
        fastest_s = [min(times) for times in zip(*vw_s.values(), strict=True)]
        ratios = [vw / ours for vw, ours in zip(fastest_s, ours_s, strict=True)]
        total = metrics.totals()
        figures["lr_examples_per_s"] = records / median(ours_s)
        figures["vw_examples_per_s"] = records / median(fastest_s)
        figures["lr_vs_vw"] = median(ratios)
        figures["lr_log_loss"] = total.log_loss or float("nan")
        figures["vw_log_loss"] = min(vw_loss.values())
        figures["log_loss_vs_vw"] = figures["lr_log_loss"] / figures["vw_log_loss"]
        for bits in VW_BITS:
            figures[f"vw_log_loss_{bits}_bits"] = vw_loss[bits]
            figures[f"lr_vs_vw_{bits}_bits"] = median(
                [vw / ours for vw, ours in zip(vw_s[bits], ours_s, strict=True)]
            )

        river_records = 2_000 if options.quick else 20_000
        figures["river_examples_per_s"], river_loss = run_river(arrow, river_records)
        say(f"river: log loss {river_loss:.4f} over its {river_records:,} examples")

        deepfm_records = min(records, 50_000 if options.quick else 400_000)
        runs = [run_ours(arrow, deepfm_learner(), deepfm_records) for _ in range(3)]
        figures["deepfm_examples_per_s"] = deepfm_records / median([run[0] for run in runs])
        figures["deepfm_auc"] = runs[0][1].totals().auc or float("nan")
    finish(options, figures)


if __name__ == "__main__":
    main()
