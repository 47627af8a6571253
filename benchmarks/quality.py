"""Quality on real ratings, in time order, each predicted before it is learned from.

    python -m benchmarks.quality [--quick] [--json FILE]     (needs the bench extra and TRILITH_DATA)

MovieLens 1M (label: rating of 4 or more), one pass. Logistic regression and the factorisation
machine see user and movie only, as Vowpal Wabbit does; DeepFM and DCN-v2 also see their attributes.
The settings are those of the job files in examples/. --quick stops after 50,000 ratings.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.harness import finish, parse_options, say
from cluster.job import load_job, resolve
from cluster.local import LocalRun
from cluster.warmup import warm_up
from ps.clock import SystemClock
from worker.metrics.auc import exact_auc

if TYPE_CHECKING:
    from benchmarks.harness import Figures
    from cluster.plan import Plan
    from ps.arrays import F32
    from worker.events import Source

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MODELS = ("lr", "fm", "deepfm", "dcn")
VW_LEARNERS = {"ftrl": ["--ftrl"], "default": []}
LOSS = re.compile(r"average loss = ([\d.]+)")
QUICK_RECORDS = 50_000


def plan_of(model: str, records: int | None) -> Plan:
    """The plan of examples/movielens-MODEL.yaml, stopped after `records` positions."""
    plan = resolve(load_job(EXAMPLES / f"movielens-{model}.yaml"))
    return replace(plan, train=replace(plan.train, max_examples=records))


def run_ours(model: str, records: int | None, figures: Figures) -> None:
    """One pass of one job file."""
    plan = plan_of(model, records)
    warm_up(plan)
    begin = time.perf_counter()
    with LocalRun(plan, clock=SystemClock(), serve=False) as run:
        done = run.run()
    rate = done.examples / (time.perf_counter() - begin)
    if done.auc is None or done.log_loss is None:
        raise RuntimeError(f"{plan.name} learned from nothing")
    figures[f"{model}_log_loss"] = done.log_loss
    figures[f"{model}_auc"] = done.auc
    figures[f"{model}_examples_per_s"] = rate
    say(
        f"{model:8} log loss {done.log_loss:.4f}  AUC {done.auc:.4f}  "
        f"{done.examples:,} examples at {rate:,.0f}/s"
    )


def write_vw(source: Source, text: Path, records: int | None) -> F32:
    """The same ratings in the same order for Vowpal Wabbit; the labels, float32[n]."""
    labels: list[int] = []
    with text.open("w") as lines:
        for chunk in source.read(source.partitions()[0], 0):
            columns = chunk.columns
            users = columns.column("user_id").to_pylist()
            movies = columns.column("movie_id").to_pylist()
            ratings = columns.column("rating").to_pylist()
            for user, movie, rating in zip(users, movies, ratings, strict=True):
                labels.append(int(float(str(rating)) >= 4))
                lines.write(f"{1 if labels[-1] else -1} |u {user} |m {movie}\n")
                if len(labels) == records:
                    return np.array(labels, dtype=np.float32)
    return np.array(labels, dtype=np.float32)


def run_vw(name: str, arguments: list[str], text: Path, labels: F32, figures: Figures) -> None:
    """One pass of Vowpal Wabbit; its predictions are progressive too."""
    predictions = text.with_suffix(f".{name}")
    command = [
        *(sys.executable, "-m", "vowpalwabbit", "-d", str(text), "-b", "22", *arguments),
        *("--loss_function", "logistic", "--link", "logistic", "-p", str(predictions)),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    found = LOSS.search(done.stderr + done.stdout)
    if found is None:
        raise RuntimeError(f"vowpalwabbit did not report a loss:\n{done.stderr}")
    figures[f"vw_{name}_log_loss"] = float(found[1])
    figures[f"vw_{name}_auc"] = exact_auc(np.loadtxt(predictions), labels == 1) or float("nan")
    say(
        f"vw {name:8} log loss {figures[f'vw_{name}_log_loss']:.4f}  "
        f"AUC {figures[f'vw_{name}_auc']:.4f}"
    )


def main() -> None:
    """Run it."""
    options = parse_options(str(__doc__).splitlines()[0])
    records = QUICK_RECORDS if options.quick else None
    figures: Figures = {}
    with tempfile.TemporaryDirectory(prefix="trilith-bench-") as folder:
        text = Path(folder) / "movielens.vw"
        labels = write_vw(plan_of("lr", None).source, text, records)
        figures["examples"] = len(labels)
        for name, arguments in VW_LEARNERS.items():
            run_vw(name, arguments, text, labels, figures)
    figures["vw_log_loss"] = min(figures[f"vw_{name}_log_loss"] for name in VW_LEARNERS)
    for model in MODELS:
        run_ours(model, records, figures)
    figures["fm_auc_above_lr"] = figures["fm_auc"] - figures["lr_auc"]
    finish(options, figures)


if __name__ == "__main__":
    main()
