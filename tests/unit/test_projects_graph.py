"""The order of blocks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmesh.errors import Invalid
from runmesh.projects import Block, Pipeline, check_graph, topological_order


def pipeline(**upstream: str) -> Pipeline:
    """`pipeline(a="", b="a")`: each block with the letters of its upstream blocks."""
    return Pipeline(
        "p", blocks={uuid: Block(uuid, "custom", upstream_blocks=tuple(above)) for uuid, above in upstream.items()}
    )


def chain(length: int) -> dict[str, Block]:
    above = [(), *((f"b{n}",) for n in range(length - 1))]
    return {f"b{n}": Block(f"b{n}", "custom", upstream_blocks=above[n]) for n in range(length)}


@pytest.mark.parametrize(
    ("graph", "order"),
    [
        ({}, ""),
        ({"a": ""}, "a"),
        ({"c": "b", "b": "a", "a": ""}, "abc"),
        ({"z": "", "a": "", "m": "az"}, "zam"),
        ({"d": "bc", "a": "", "c": "a", "b": "a"}, "acbd"),
    ],
)
def test_upstream_comes_first_and_otherwise_the_documents_order(graph: dict[str, str], order: str) -> None:
    check_graph(pipeline(**graph))
    assert topological_order(pipeline(**graph)) == tuple(order)


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({"a": "a"}, "a → a"),
        ({"a": "b", "b": "a"}, "a → b → a"),
        ({"x": "", "a": "xc", "b": "a", "c": "b", "y": "c"}, "a → b → c → a"),
    ],
)
def test_a_cycle_is_named(graph: dict[str, str], cycle: str) -> None:
    with pytest.raises(Invalid, match=f"wait for each other: {cycle}$"):
        check_graph(pipeline(**graph))


def test_all_missing_upstream_blocks_are_named_with_the_nearest() -> None:
    graph = Pipeline(
        "p",
        blocks={"load": Block("load", "custom"), "clean": Block("clean", "custom", upstream_blocks=("laod", "load"))},
        callbacks={"alert": Block("alert", "callback", upstream_blocks=("claen",))},
    )
    with pytest.raises(Invalid) as error:
        check_graph(graph)
    assert [(problem.path, problem.hint) for problem in error.value.problems] == [
        ("blocks.clean.upstream_blocks", "did you mean 'load'?"),
        ("callbacks.alert.upstream_blocks", "did you mean 'clean'?"),
    ]


def test_of_very_many_problems_some_are_told() -> None:
    blocks = {uuid: Block(uuid, "custom", upstream_blocks=(f"missing_{uuid}",)) for uuid in chain(5000)}
    with pytest.raises(Invalid) as error:
        check_graph(Pipeline("p", blocks=blocks))
    assert len(error.value.problems) == 51
    assert error.value.problems[-1].message == "and 4950 more problems"


def test_a_chain_of_ten_thousand_is_walked_and_its_cycle_shortened() -> None:
    blocks = chain(10_000)
    assert topological_order(Pipeline("p", blocks=blocks))[-1] == "b9999"
    blocks["b0"] = Block("b0", "custom", upstream_blocks=("b9999",))
    with pytest.raises(Invalid) as error:
        check_graph(Pipeline("p", blocks=blocks))
    assert len(str(error.value)) < 200


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), unique=True)))
def test_every_graph_is_ordered_or_has_a_cycle(graph: dict[str, list[str]]) -> None:
    subject = Pipeline(
        "p", blocks={uuid: Block(uuid, "custom", upstream_blocks=tuple(above)) for uuid, above in graph.items()}
    )
    try:
        order = topological_order(subject)
    except Invalid as error:
        cycle = error.problems[0].message.split(": ")[1].split(" → ")
        assert all(above in graph[below] for above, below in pairwise(cycle))
    else:
        assert sorted(order) == sorted(graph)
        assert all(order.index(above) < order.index(uuid) for uuid in order for above in graph[uuid] if above in graph)
