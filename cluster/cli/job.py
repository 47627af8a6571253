"""trilith job: check a job file, or print the schema of job files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli.exits import exit_codes
from cluster.cli.train import JobFile  # noqa: TC001  # typer reads it

if TYPE_CHECKING:
    from rich.console import Console

    from cluster.job.sample import SampleFacts
    from cluster.plan import Plan

job_app = typer.Typer(
    help="Check a job file, or print the schema of job files.", no_args_is_help=True
)


@job_app.command()
def validate(
    job_file: JobFile,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Look at the first records as well.")
    ] = True,
) -> None:
    """Check a job file and show what it comes to: slots, tables, row sizes, dense variables.

    Every problem is one line: file, line, key, what was found and what is allowed. With its data at
    hand, the first thousand records are read as training would read them.

    \b
    Examples:
      trilith job validate examples/movielens-deepfm.yaml
      trilith job validate my-job.yaml --no-data
    """
    from rich.console import Console

    from cluster.job import load_job, resolve
    from cluster.job.no_source import NoSource

    console = Console()
    with exit_codes(str(job_file)):
        job = load_job(job_file)
        plan = resolve(job, source=NoSource())
        _show(console, plan)
        if data:
            from cluster.job.sample import sample

            _show_sample(console, sample(resolve(job)))


@job_app.command()
def schema() -> None:
    """Print the JSON schema of job files, for editors that complete and check YAML.

    \b
    Examples:
      trilith job schema > trilith-job.schema.json
      # then, in the first line of a job file:
      # yaml-language-server: $schema=trilith-job.schema.json
    """
    from cluster.job import job_schema

    typer.echo(json.dumps(job_schema(), indent=2))


def _show(console: Console, plan: Plan) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from cluster.cli import figures
    from cluster.job.describe import (
        admin_facts,
        cluster_facts,
        dense_facts,
        feature_facts,
        store_facts,
        table_facts,
    )

    train, serve = plan.train, plan.serve
    grain = "example by example" if train.grain == "example" else f"batches of {train.batch_size:,}"
    console.print(
        f"[bold]{plan.name}[/]  {grain}, {len(plan.shards)} shard(s), {serve.replicas} replica(s), "
        f"epochs every {figures.seconds(serve.sync_interval_s)}",
        highlight=False,
    )
    features = Table("feature", "kind", "reads", box=SIMPLE_HEAD)
    for heading in ("slot", "table", "ttl", "admission"):
        features.add_column(heading, justify="right" if heading == "slot" else "left")
    for feature in feature_facts(plan):
        slot = "dense" if feature.slot is None else str(feature.slot)
        features.add_row(
            feature.name,
            feature.kind,
            feature.reads,
            slot,
            feature.table or "",
            feature.ttl,
            feature.admission,
        )
    console.print(features)
    for table in table_facts(plan):
        console.print(
            f"[bold]table {table.name}[/]  {table.weights} weights + {table.state} floats of state, "
            f"{table.row_bytes} bytes a row, {figures.size(table.bytes_per_million)} per million "
            f"rows with the index",
            highlight=False,
        )
        console.print(
            f"  {table.optimizer}; starts {table.initializer}; {table.capacity}", highlight=False
        )
    dense = Table(box=SIMPLE_HEAD)
    for heading in ("dense variable", "shape", "floats", "shard"):
        dense.add_column(heading, justify="left" if heading == "dense variable" else "right")
    variables = dense_facts(plan)
    for variable in variables:
        shape = " × ".join(map(str, variable.shape))
        dense.add_row(variable.name, shape, f"{variable.size:,}", str(variable.shard))
    if variables:
        total = sum(variable.size for variable in variables)
        console.print(
            f"[bold]dense[/]  {total:,} floats, {variables[0].optimizer}", highlight=False
        )
        console.print(dense)
    if train.standbys:
        console.print(f"[bold]standbys[/]  {train.standbys} for each shard", highlight=False)
    console.print("[bold]store[/] ", store_facts(plan), highlight=False, soft_wrap=True)
    console.print("[bold]admin[/] ", admin_facts(plan), highlight=False, soft_wrap=True)
    console.print("[bold]cluster[/] ", cluster_facts(plan), highlight=False, soft_wrap=True)


def _show_sample(console: Console, facts: SampleFacts) -> None:
    share = f", {facts.positives / facts.usable:.1%} positive" if facts.usable else ""
    console.print(
        f"data: {facts.partitions} partition(s); of the first {facts.records:,} records "
        f"{facts.usable:,} can be learned from{share}",
        highlight=False,
    )
    for reason, count in list(facts.reasons.items())[:5]:
        console.print(f"  {count:,} × {reason}", highlight=False, markup=False)
