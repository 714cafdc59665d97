"""What a person sees of a run."""

from io import StringIO

from rich.console import Console

from runmesh.cli.lines import Lines, line
from runmesh.cli.tree import render, rows
from runmesh.events import RequestProblem, RunFact, TaskFact
from runmesh.folding import Folding, fold
from runmesh.view import BlockView, RunView
from tests.facts import RUN, at, graph, run_fact, statuses, task_fact, whole_run


def drawn(view: RunView, seconds: float = 0, *, height: int | None = None) -> str:
    console = Console(file=StringIO(), width=110, color_system=None)
    console.print(render(view, at(seconds), height=height))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n")  # type: ignore[attr-defined]


def test_a_run_on_its_way_is_a_tree_of_blocks_with_their_states() -> None:
    upstream = {
        "load": (),
        "left": ("load",),
        "right": ("load",),
        "join": ("left", "right"),
        "send": ("join",),
        "fetch": (),
    }
    facts: list[RunFact | TaskFact] = [
        run_fact("accepted", 0, blocks=graph(upstream)),
        run_fact("running", 0.1),
        task_fact("load", "running", 0.2, n=2),
        task_fact("load", "completed", 1.0, n=3),
        task_fact("left", "running", 1.1, n=2),
        task_fact("right", "running", 1.1, n=2),
        task_fact("right", "failed", 2, n=3, cause="user"),
        task_fact("right", "retrying", 2, n=4, reason="exit code 1\nand more", due_at=at(7)),
        task_fact("fetch", "queued", 1, executor_type="k8s", reason="no worker of k8s is there"),
    ]
    assert drawn(fold(RUN, facts), 4) == (
        "● running  orders  shop   01JB0000000000000000000000\n"
        "\n"
        " ✓ load                 local_python      0.80 s\n"
        " ├─ ● left              local_python       2.9 s\n"
        " │  └─ · join ← right   local_python\n"
        " │     └─ · send        local_python\n"
        " └─ ↻ right             local_python      0.90 s   again in 3 s: exit code 1\n"
        " ○ fetch                k8s                        no worker of k8s is there\n"
        "\n"
        "  ━━━━━━╸                                   1 of 6  4.0 s"
    )


def test_a_failed_run_says_which_block_failed_and_its_last_words() -> None:
    picture = drawn(fold(RUN, whole_run("failed")), 60)
    assert picture.startswith("✗ failed  orders  shop")
    assert "✗ report   local_python      0.40 s   user: exit code 1\n" in picture
    assert "KeyError: 'age'" in picture
    assert picture.endswith("2 of 2  2.0 s")


def test_what_the_runtime_says_last_gives_way_to_the_line_before() -> None:
    tail = ("KeyError: 'age'", "runmesh-run: block 'load' failed", "")
    fact = task_fact("load", "failed", 1, cause="user", reason="exit code 1", log_tail=tail)
    picture = drawn(fold(RUN, [run_fact("accepted"), fact]))
    assert "KeyError: 'age'" in picture
    assert "runmesh-run" not in picture


def test_what_the_reason_says_is_not_said_twice() -> None:
    tail = ("KeyError: 'age'",)
    fact = task_fact("load", "failed", 1, cause="user", reason="it failed: KeyError: 'age'", log_tail=tail)
    assert line(fact).count("KeyError") == 1


def test_a_stop_that_could_not_be_confirmed_is_said() -> None:
    fact = task_fact("load", "failed", 1, cause="timeout", reason="ran longer than 60 s", unconfirmed=True)
    assert "it may still be running" in drawn(fold(RUN, [run_fact("accepted"), fact]))


def test_a_rejected_run_lists_what_is_wrong_and_what_to_write_instead() -> None:
    errors = (
        RequestProblem(path="pipeline", message="there is no pipeline 'oders'", hint="did you mean 'orders'?"),
        RequestProblem(path="timeout", message="Input should be greater than 0, not -1"),
    )
    assert drawn(fold(RUN, [run_fact("rejected", errors=errors)])) == (
        "✗ rejected  orders  shop   01JB0000000000000000000000\n"
        "\n"
        " pipeline  there is no pipeline 'oders'\n"
        "   → did you mean 'orders'?\n"
        " timeout  Input should be greater than 0, not -1"
    )


def test_before_the_resolver_has_spoken_that_is_what_is_waited_for() -> None:
    assert drawn(fold(RUN, [])).endswith("waiting for a resolver to take the request")


def test_a_run_that_waits_for_its_place_says_so() -> None:
    reason = "waiting: 3 of 3 runs of this pipeline are running (pipeline_run_limit_all_triggers)"
    facts = [run_fact("accepted", blocks=graph({"load": ()}), reason=reason)]
    assert reason in drawn(fold(RUN, facts))
    assert reason not in drawn(fold(RUN, [*facts, run_fact("running", 1)]))


def test_a_second_attempt_and_a_carried_over_block_are_marked() -> None:
    carried = {**graph({"load": (), "report": ("load",)}), **statuses(load="completed")}
    facts: list[RunFact | TaskFact]
    facts = [run_fact("accepted", blocks=carried, retry_of="before"), task_fact("report", "running", 1, attempt=2)]
    picture = drawn(fold(RUN, facts), 3)
    assert "retry of before" in picture
    assert "carried over" in picture
    assert "try 2" in picture


def test_on_a_small_screen_the_quiet_blocks_are_counted_instead() -> None:
    names = [f"b{index:02}" for index in range(60)]
    facts: list[RunFact | TaskFact] = [run_fact("accepted", blocks=graph(dict.fromkeys(names, ())))]
    facts += [task_fact(name, "completed", 1) for name in names[:30]] + [task_fact("b40", "running", 1)]
    picture = drawn(fold(RUN, facts), 2, height=20)
    assert "● b40" in picture
    assert "… 59 more of 60: 30 completed, 29 pending, 1 running" in picture
    assert len(picture.splitlines()) <= 20


def test_a_chain_of_a_thousand_blocks_is_a_list() -> None:
    chain = {f"b{index}": BlockView(f"b{index}", upstream=(f"b{index - 1}",) if index else ()) for index in range(1000)}
    found = rows(chain)
    assert [row.block.name for row in found] == list(chain)
    assert {row.branch for row in found} == {""}


def test_blocks_whose_upstream_is_not_part_of_the_run_stand_at_the_root() -> None:
    assert [row.branch for row in rows({"b": BlockView("b", upstream=("elsewhere",))})] == [""]


def test_what_a_block_wrote_is_no_markup() -> None:
    fact = task_fact("load", "failed", 1, cause="user", reason="[red]boom[/] [/nothing]")
    assert "[red]boom[/] [/nothing]" in drawn(fold(RUN, [run_fact("accepted"), fact]))


def test_a_late_end_says_that_it_is_one() -> None:
    assert line(task_fact("load", "completed", late=True)).endswith("load on local_python, after its task had ended")


# --- children, conditions, callbacks -------------------------------------------------------------------


def fanned(children: int = 10_000) -> list[RunFact | TaskFact]:
    upstream = {"source": (), "each": ("source",), "send": ("each", "_condition:send"), "_condition:send": ("each",)}
    return [
        run_fact("accepted", 0, blocks=graph(upstream)),
        run_fact("running", 0.1),
        task_fact("source", "running", 0.2, n=2),
        task_fact("source", "completed", 1.0, n=3),
        task_fact("each", "running", 1.1, n=0, attempt=0, children=children),
    ]


def children_of_each() -> list[RunFact | TaskFact]:
    again = [task_fact(f"each:{index}", "retrying", 3, n=4, due_at=at(9)) for index in range(900, 905)]
    failed = {"cause": "user", "reason": "exit code 1", "log_tail": ("Traceback", "KeyError: 'age'")}
    return [
        *(task_fact(f"each:{index}", "completed", 2, n=3) for index in range(812)),
        *again,
        task_fact("each:1000", "failed", 3, n=3, cause="lost", reason="the platform no longer knows the job"),
        *(task_fact(f"each:{index}", "failed", 3, n=3, attempt=2, **failed) for index in (820, 7000, 850)),
        *(task_fact(f"each:{index}", "running", 3, n=2) for index in range(2000, 2256)),
        task_fact("_callback:each:1000", "running", 3.2, n=2),
    ]


def test_a_block_with_children_is_one_line_and_the_first_that_failed() -> None:
    assert drawn(fold(RUN, [*fanned(), *children_of_each()]), 4) == (
        "● running  orders  shop   01JB0000000000000000000000\n"
        "\n"
        " ✓ source                      local_python           0.80 s\n"
        " └─ ● each                     local_python            2.9 s   812/10,000 · 4 failed · 5 retrying\n"
        "    │  ✗ each:820                             try 2            user: exit code 1: KeyError: 'age'\n"
        "    │  ✗ each:850                             try 2            user: exit code 1: KeyError: 'age'\n"
        "    │  ✗ each:1000                                             lost: the platform no longer knows the job\n"
        "    │  ● callbacks (failure)                                   0/1\n"
        "    └─ · send                  local_python\n"
        "          · conditions         local_python\n"
        "\n"
        "  ━━━                                       817 of 10,002  4.0 s"
    )


def test_ten_thousand_children_take_no_more_room_on_a_small_screen() -> None:
    picture = drawn(fold(RUN, [*fanned(), *children_of_each()]), 4, height=12)
    assert "812/10,000" in picture
    assert len(picture.splitlines()) <= 12


def test_children_that_never_began_are_said_to_have_not_run() -> None:
    ended = task_fact("each", "cancelled", 5, n=1, attempt=0, cause="cancelled", reason="10 children: …")
    facts = [*fanned(10), task_fact("each:0", "completed", 2, n=3), task_fact("each:1", "cancelled", 4, n=3), ended]
    assert "1/10 · 1 cancelled · 8 not run" in drawn(fold(RUN, facts), 6)


def test_no_items_are_said() -> None:
    facts = [*fanned(0), task_fact("each", "completed", 1.1, n=1, attempt=0, reason="0 children")]
    assert "✓ each               local_python      0.00 s   no items" in drawn(fold(RUN, facts), 6)


def test_a_condition_that_was_not_met_is_no_failure_and_the_run_completes() -> None:
    upstream = {"load": (), "mail": ("load", "_condition:mail"), "_condition:mail": ("load",), "log": ("mail",)}
    reason = "condition 'is_monday': it is Sunday"
    unmet = [
        task_fact("_condition:mail", "condition_failed", 2, n=3, reason=reason),
        task_fact("mail", "condition_failed", 2, n=1),
        task_fact("log", "condition_failed", 2, n=1),
    ]
    ended = run_fact(
        "completed", 2.5, blocks=statuses(load="completed", mail="condition_failed", log="condition_failed")
    )
    facts: list[RunFact | TaskFact]
    facts = [run_fact("accepted", 0, blocks=graph(upstream)), task_fact("load", "completed", 1, n=3), *unmet, ended]
    assert drawn(fold(RUN, facts), 4) == (
        "✓ completed  orders  shop   01JB0000000000000000000000\n"
        "\n"
        " ✓ load               local_python\n"
        " └─ ∅ mail            local_python         not run\n"
        "    │  ∅ conditions   local_python         condition 'is_monday': it is Sunday\n"
        "    └─ ∅ log          local_python         not run\n"
        "\n"
        "  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  3 of 3  2.5 s"
    )


def test_a_condition_in_the_blocks_own_job_says_which_and_why() -> None:
    reason = "condition 'is_monday': it is Sunday"
    fact = task_fact("load", "condition_failed", 1, n=3, reason=reason)
    assert f"∅ load   local_python         {reason}" in drawn(fold(RUN, [run_fact("accepted"), fact]))


def test_callbacks_that_ran_as_a_task_of_their_own_stand_below_their_block() -> None:
    facts = [*whole_run("failed"), task_fact("_callback:report", "failed", 3, n=3, cause="user", reason="no network")]
    assert (
        "└─ ✗ report                   local_python      0.40 s   user: exit code 1\n"
        "       ✗ callbacks (failure)   local_python               user: no network\n"
    ) in drawn(fold(RUN, facts), 60)


def test_off_a_terminal_children_are_counted_and_their_failures_are_told() -> None:
    folding, told = Folding(RUN), list[str]()
    lines = Lines(folding)
    for fact in [*fanned(100), *(task_fact(f"each:{index}", "completed", 2, n=3) for index in range(50))]:
        folding.add(fact)
        told += lines.of(fact)
    for index in range(50, 95):
        folding.add(failed := task_fact(f"each:{index}", "failed", 3, n=3, cause="user", reason="boom"))
        told += lines.of(failed)
    words = [text.split(maxsplit=1)[1] for text in told]
    assert words[4] == "● running          each on local_python: 100 children"
    assert words[5:7] == ["● running          each: 10/100", "● running          each: 20/100"]
    assert words[10] == "✗ failed           each:50 on local_python: user: boom"
    assert words.count("✗ failed           more children of each: counted from here on") == 1
    assert words[-1] == "● running          each: 50/100 · 40 failed"
    assert len(words) == 5 + 9 + 20 + 1


def test_lines_name_whose_callbacks_and_conditions_a_task_is_about() -> None:
    assert "  conditions of mail on local_python" in line(task_fact("_condition:mail", "running"))
    assert "  callbacks of each:3 on local_python" in line(task_fact("_callback:each:3", "completed"))
