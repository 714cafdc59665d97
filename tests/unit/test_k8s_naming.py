"""Names and labels that every cluster takes, unique by the task's key."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runmesh.executor import Task
from runmesh.executors.kubernetes import naming
from runmesh.executors.kubernetes.config import Config
from runmesh.subjects import WHOLE_PIPELINE

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
MESHES = st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True)


def task(key: str = "abc", prefix: str = "data-prep", **fields: Any) -> Task[Config]:
    about = {"run": "run", "block": "load", "project": "shop", "pipeline": "orders"} | fields
    return Task(
        key, attempt=1, resubmission=0, command=(), environment={}, config=Config(job_name_prefix=prefix), **about
    )


def test_a_name_reads_like_mages() -> None:
    assert naming.job_name(task(), "mage") == "mage-data-prep-block-abc"
    assert naming.job_name(task(block=WHOLE_PIPELINE), "mage") == "mage-data-prep-pipeline-abc"
    assert naming.job_name(task(prefix="nightly-Daily Load_2"), "mage") == "mage-nightly-daily-load-2-block-abc"


@given(MESHES, st.text(), st.text(min_size=1))
def test_a_name_is_legal_whatever_it_is_made_of(mesh: str, prefix: str, key: str) -> None:
    assert NAME.fullmatch(naming.job_name(task(key, prefix), mesh))


def test_a_long_name_is_cut_in_its_readable_part() -> None:
    found = naming.job_name(task("k" * 20, "p" * 100), "mesh")
    assert len(found) == 63
    assert found.endswith("-block-" + "k" * 20)


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_keys_have_two_names(one: str, two: str) -> None:
    assert (naming.job_name(task(one), "m") == naming.job_name(task(two), "m")) is (one == two)


@given(st.text())
def test_a_label_is_legal_whatever_it_says(text: str) -> None:
    assert LABEL.fullmatch(naming.label_value(text))


@given(st.text(), st.text())
def test_two_values_have_two_labels(one: str, two: str) -> None:
    assert (naming.label_value(one) == naming.label_value(two)) is (one == two)


def test_a_legal_value_is_its_own_label() -> None:
    assert naming.label_value("orders_2.x") == "orders_2.x"
    assert naming.label_value("block:child/0").startswith("block-child-0-")


@given(st.text(min_size=1))
def test_the_key_is_found_again_on_whatever_carries_it(key: str) -> None:
    metadata = {"labels": naming.labels(task(key), mesh="m", pool="p"), "annotations": naming.annotations(task(key))}
    assert naming.key_of({"metadata": metadata}) == key


def test_what_is_not_ours_has_no_key() -> None:
    assert naming.key_of({"metadata": {"name": "x"}}) is None
    assert naming.key_of({"metadata": {"labels": None, "annotations": None}}) is None


def test_the_selector_finds_what_the_labels_say() -> None:
    found = naming.labels(task(), mesh="m", pool="p q")
    assert naming.selector("m", "p q") == f"{naming.MESH}={found[naming.MESH]},{naming.POOL}={found[naming.POOL]}"
