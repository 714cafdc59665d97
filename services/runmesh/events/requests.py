"""What anyone may ask for: to run a pipeline, to stop a run, to run again what failed."""

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, PlainValidator

from runmesh.events.base import Command, Name, Partition, RunId, Seconds


class BlockSelection(BaseModel):
    """A subset of a pipeline's blocks, alone or with all that is above or below them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    names: tuple[Name, ...] = Field(min_length=1, strict=False)
    upstream: bool = False
    downstream: bool = False


def _selection(value: object) -> object:
    if isinstance(value, list | tuple):
        return {"names": value}
    if isinstance(value, dict | BlockSelection):
        return value
    raise ValueError("should be a list of names, or an object with `names`")


def _finite(value: object) -> object:
    """Refuse NaN and infinity: no JSON knows them, and some writers turn them into null without a word."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("holds a number that JSON can't express: NaN or infinity") from None
    return value


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("should not be empty")
    return names


def _name_or_document(value: object) -> object:
    if isinstance(value, dict) or (isinstance(value, str) and value):
        return _finite(value)
    raise ValueError("should be a pipeline's name or an inline document")


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
PipelineSource = Annotated[
    str | dict[str, Any], PlainValidator(_name_or_document, json_schema_input_type=Name | dict[str, JsonValue])
]
Blocks = Annotated[BlockSelection, BeforeValidator(_selection, json_schema_input_type=list[str] | BlockSelection)]


class RunRequest(Command):
    """Please run this pipeline."""

    type_name = "request.run"

    id: RunId | None = Field(None, description="Idempotency key; becomes the run's id. Derived if absent.")
    pipeline: PipelineSource = Field(description="A pipeline's name, or a whole inline document.")
    blocks: Blocks | None = Field(None, description="Run only these blocks.")
    executor_type: str | None = Field(None, description="Run every block there, whatever the project says.")
    runtime: Literal["native", "mage"] | None = Field(
        None, description="What runs inside every job: ours, or `mage run`. Whatever the project says."
    )
    executor_config: dict[str, JsonObject] = Field(
        default_factory=dict, description='Configuration by executor type: {"k8s": {"namespace": "batch"}}.'
    )
    block_config: dict[str, JsonObject] = Field(default_factory=dict, description="Executor configuration by block.")
    run_pipeline_in_one_process: bool | None = Field(None, description="Run the whole pipeline as one task.")
    variables: JsonObject = Field(default_factory=dict, description="Win over the pipeline's variables.")
    execution_partition: Partition | None = Field(None, description="Where outputs are stored; the run's id if absent.")
    execution_date: datetime | None = None
    trigger_name: Name | None = Field(
        None, description="What started the run. A trigger of `triggers.yaml` gives its variables and settings."
    )
    event: JsonObject = Field(
        default_factory=dict, description="What happened outside: `event` in blocks. Its keys fill gaps in `variables`."
    )
    allow_blocks_to_fail: bool | None = Field(None, description="Go on beside failures; not, if nothing says so.")
    timeout: Seconds | None = Field(None, description="Seconds after which the run is stopped.")
    timeout_status: Literal["failed", "cancelled"] | None = Field(
        None, description="How a run ends that took too long; failed, if nothing says otherwise."
    )
    labels: dict[str, str] = Field(default_factory=dict)


class CancelRequest(Command):
    """Please stop this run, or some of its blocks."""

    type_name = "request.cancel"

    run: RunId
    blocks: Annotated[tuple[Name, ...], AfterValidator(_some)] | None = Field(None, description="All if absent.")
    reason: str | None = Field(None, max_length=1000)
    id: RunId | None = None


class RetryRequest(Command):
    """Please run again what did not complete in this finished run, as a new run."""

    type_name = "request.retry"

    run: RunId
    blocks: tuple[Name, ...] | None = Field(None, description="All that did not complete if absent or empty.")
    reason: str | None = Field(None, max_length=1000)
    id: RunId | None = Field(None, description="The new run's id. Derived if absent.")
