"""trilith predict: ask Predict servers for the probabilities of candidates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli.exits import exit_codes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.prediction import Prediction
    from serving.requests import FeatureValue


def predict(
    target: Annotated[
        list[str],
        typer.Option(
            "--target",
            "-t",
            metavar="HOST:PORT",
            help="A server; may be repeated.",
            show_default=False,
        ),
    ],
    candidates: Annotated[
        list[str],
        typer.Option(
            "--candidates",
            "-c",
            metavar="FILE.jsonl|K=V,K=V",
            help="One JSON object a line (- reads standard input), or one candidate as name=value "
            "pairs; may be repeated.",
            show_default=False,
        ),
    ],
    context: Annotated[
        list[str] | None,
        typer.Option(
            "--context",
            "-x",
            metavar="K=V,K=V",
            help="What all candidates share; may be repeated.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds, retries included.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Ask for the probability of each candidate, features named as the job file's columns are.

    Values are sent as the model takes them; those of a multi-valued column are set apart by |.

    \b
    Examples:
      trilith predict -t 127.0.0.1:8500 -x user_id=42 -c movie_id=1 -c movie_id=2
      trilith predict -t 127.0.0.1:8500 -x user_id=42,gender=F -c "movie_id=1,genres=Drama|War"
      trilith predict -t a:8500 -t b:8500 -x user_id=42 -c candidates.jsonl --json
    """
    with exit_codes("predict"):
        _predict(target, candidates, context or [], timeout, as_json)


def _predict(
    target: list[str], candidates: list[str], context: list[str], timeout: float, as_json: bool
) -> None:
    from rich.console import Console

    from serving.client import PredictClient

    with PredictClient(target, timeout_s=timeout) as client:
        columns = {column.name: column for column in client.get_model().features}
        shared = _merged(context, columns)
        asked = [each for given in candidates for each in _candidates(given, columns)]
        answer = client.predict(shared, asked)
    if as_json:
        typer.echo(json.dumps(_as_json(asked, answer), indent=2))
        return
    console = Console()
    console.print(_as_table(asked, answer))
    console.print(_footnote(answer), highlight=False, style="dim")


def _candidates(given: str, columns: Mapping[str, Any]) -> list[dict[str, FeatureValue]]:
    """The candidates of one --candidates: those of a file, or the one that was spelled out."""
    if given == "-":
        return _objects(typer.get_text_stream("stdin").read(), "standard input")
    file = Path(given)
    if file.is_file():
        return _objects(file.read_text(encoding="utf-8"), given)
    if "=" not in given:
        raise typer.BadParameter(f"{given!r} is neither a file nor name=value pairs")
    return [_merged([given], columns)]


def _objects(text: str, where: str) -> list[dict[str, FeatureValue]]:
    found: list[dict[str, FeatureValue]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise typer.BadParameter(f"{where}, line {number}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise typer.BadParameter(f"{where}, line {number}: not a JSON object")
        found.append(value)
    if not found:
        raise typer.BadParameter(f"{where} holds no candidates")
    return found


def _merged(given: Sequence[str], columns: Mapping[str, Any]) -> dict[str, FeatureValue]:
    """The name=value pairs of several options, each set apart by commas."""
    values: dict[str, FeatureValue] = {}
    for text in given:
        for pair in text.split(","):
            name, sign, value = pair.partition("=")
            name = name.strip()
            if not sign or not name:
                raise typer.BadParameter(f"{pair!r} is not name=value")
            if name in values:
                raise typer.BadParameter(f"{name} is given twice")
            values[name] = _typed(name, value, columns.get(name))
    return values


def _typed(name: str, text: str, column: Any) -> FeatureValue:
    """The text as the model's column takes it; a column it does not know is the server's to refuse."""
    if column is None or "string" in column.types:
        return text.split("|") if column is not None and column.multi_valued else text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{name} takes a number, not {text!r}") from None


def _as_json(asked: Sequence[Mapping[str, FeatureValue]], answer: Prediction) -> dict[str, Any]:
    return {
        "probabilities": [float(p) for p in answer.probabilities],
        "candidates": [dict(candidate) for candidate in asked],
        "model": answer.version.model,
        "epochs": [shard.epoch for shard in answer.version.shards],
        "staleness_s": answer.staleness_s,
        "unknown_fids": dict(answer.unknown_fids),
    }


def _as_table(asked: Sequence[Mapping[str, FeatureValue]], answer: Prediction) -> Any:
    from rich.table import Table

    names = list(dict.fromkeys(name for candidate in asked for name in candidate))
    table = Table(*names)
    table.add_column("probability", justify="right")
    for candidate, probability in zip(asked, answer.probabilities, strict=True):
        table.add_row(*(_shown(candidate.get(name)) for name in names), f"{probability:.4f}")
    return table


def _shown(value: FeatureValue) -> str:
    if value is None:
        return ""
    return "|".join(map(str, value)) if isinstance(value, list) else str(value)


def _footnote(answer: Prediction) -> str:
    epochs = ", ".join(str(shard.epoch) for shard in answer.version.shards)
    unknown = sum(answer.unknown_fids.values())
    return (
        f"{answer.version.model}, epoch {epochs}, staleness {answer.staleness_s:.2f} s, "
        f"{unknown} id(s) without a row"
    )
