"""The verdict's words, on numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from metabench.bench.leaderboard.protocol import CONTROL_FIELDS, NOTED, TASK, VISION_FIELDS, Difference, compare
from metabench.bench.leaderboard.published import Entry, Interval
from metabench.bench.leaderboard.verdict import WORDS, verdict
from metabench.bench.records.rows import Row, summarise
from metabench.bench.worlds import resolve
from tests.support.synthetic import control_record, entry, half_width, protocol_of, record, row

WIDTH = half_width(0.02)
"""± of a made-up record over its 600 tasks: 0.16 %."""


def test_the_made_up_interval() -> None:
    assert pytest.approx(0.16049, abs=1e-5) == WIDTH
    assert row().measured is not None
    assert row().measured.ci95 == pytest.approx(WIDTH, abs=1e-9)


@pytest.mark.parametrize(
    ("ours", "word", "reason"),
    [
        (0.9914, "above", "0.44 higher, beyond both intervals (together ± 0.43)"),
        (0.9912, "reproduced", "0.42 higher, within both intervals (together ± 0.43)"),
        (0.987, "reproduced", "0.00 higher, within both intervals (together ± 0.43)"),
        (0.9828, "reproduced", "0.42 lower, within both intervals (together ± 0.43)"),
        (0.9826, "below", "0.44 lower, beyond both intervals (together ± 0.43)"),
        (0.5, "below", "48.70 lower, beyond both intervals (together ± 0.43)"),
    ],
)
def test_intervals_decide_where_the_protocols_agree(ours: float, word: str, reason: str) -> None:
    """Ours has ± 0.16, the published number ± 0.40: √(0.16² + 0.40²) = 0.43, and not their sum of 0.56."""
    mine = record(mean=ours)
    found = verdict(row(mine), entry(98.7, 0.4))
    assert (found.word, found.reason) == (word, reason)
    assert found.comparison.decisive == ()


@pytest.mark.parametrize(
    ("tasks", "reach"),
    [("unstated", WIDTH), (600, math.sqrt(2) * WIDTH), (150, math.sqrt(5) * WIDTH)],
)
def test_a_number_printed_without_an_interval_has_ours_over_as_many_tasks(tasks: Any, reach: float) -> None:
    """Exact where the source does not say how many; our 600 tasks give ± 0.16, so 150 give ± 0.32."""
    printed = entry(98.7, None)
    reference = dataclasses.replace(printed, protocol={**printed.protocol, "test_tasks": tasks})
    for mean, word in (
        (98.7 - reach + 0.005, "reproduced"), (98.7 - reach - 0.005, "below"), (98.7 + reach + 0.005, "above"),
    ):  # fmt: skip
        assert verdict(row(record(mean=mean / 100)), reference).word == word


@pytest.mark.parametrize(("seeds", "ci95"), [(2, 4.4923), (3, 1.2421), (5, 0.6208)])
def test_a_published_spread_over_seeds_becomes_the_interval_of_their_mean(seeds: int, ci95: float) -> None:
    """t · 0.5 / √n with t = 12.706, 4.303 and 2.776."""
    assert Interval(0.5, "std-over-seeds", seeds).ci95 == pytest.approx(ci95, abs=1e-4)
    reference = entry(98.7, interval=Interval(0.5, "std-over-seeds", seeds))
    reach = (ci95**2 + WIDTH**2) ** 0.5
    assert verdict(row(record(mean=(98.7 - reach + 0.01) / 100)), reference).word == "reproduced"
    assert verdict(row(record(mean=(98.7 - reach - 0.01) / 100)), reference).word == "below"


def test_of_one_seed_nothing_is_known() -> None:
    assert Interval(0.5, "std-over-seeds", 1).ci95 == math.inf
    assert Interval(0.5, "ci95").ci95 == Interval(0.5, "unstated").ci95 == 0.5
    assert Interval(None, "none").ci95 == 0.0
    found = verdict(row(record(mean=0.987)), entry(98.7, interval=Interval(0.5, "std-over-seeds", 1)))
    assert found.word == "no evidence"


@pytest.mark.parametrize(
    ("field", "published", "shown"),
    [
        ("split", "vinyals", "split vinyals, here random-1200-423/seed0"),
        ("ways", 20, "ways 20, here 5"),
        ("shots", 5, "shots 5, here 1"),
        ("queries", 15, "queries 15, here 1"),
        ("train_ways", 60, "train ways 60, here 5"),
        ("train_shots", 5, "train shots 5, here 1"),
        ("within_group_test", True, "within group test yes, here no"),
        ("rotations_train", False, "rotations train no, here yes"),
        ("rotations_test", False, "rotations test no, here yes"),
        ("image_size", 84, "image size 84, here 28"),
        ("backbone", "conv4-64", "backbone conv4-64, here conv4-strided-64"),
        ("norm", "running", "norm running, here transductive"),
        ("train_steps", 5, "train steps 5, here 1"),
        ("test_steps", 1, "test steps 1, here 3"),
        ("second_order", False, "second order no, here yes"),
        ("episodes", "lake-runs", "episodes lake-runs, here drawn"),
        ("augmentation", "metaoptnet", "augmentation metaoptnet, here none"),
        ("smoothing", 0.1, "smoothing 0.1, here 0.0"),
    ],
)
def test_a_decisive_field_makes_it_not_comparable(field: str, published: Any, shown: str) -> None:
    found = verdict(row(record(mean=0.99, spread=0.001)), entry(protocol={field: published}))
    assert (found.word, found.reason) == ("not comparable", f"published with {shown}")
    assert [d.field for d in found.comparison.decisive] == [field]


def test_what_a_re_implementation_is_free_in_is_noted() -> None:
    theirs = {"test_tasks": 1000, "selection": "last", "resampling": "nearest", "precision": "fp64"}
    found = verdict(row(), entry(protocol=theirs))
    assert found.word == "reproduced"
    assert found.comparison.noted == (
        Difference("test_tasks", 600, 1000),
        Difference("resampling", "lanczos", "nearest"),
        Difference("precision", "fp32", "fp64"),
        Difference("selection", "best of 200 validation episodes every 500 iterations", "last"),
    )


def test_queries_decide_only_under_transductive_normalisation() -> None:
    running = {"norm": "running"}
    found = verdict(row(record(protocol=running)), entry(protocol={**running, "queries": 15}))
    assert found.word == "reproduced"
    assert found.comparison.noted == (Difference("queries", 1, 15),)


def test_what_the_source_leaves_open_is_assumed() -> None:
    found = verdict(row(), entry(protocol={"norm": "unstated", "backbone": "unstated"}))
    assert (found.word, found.reason) == (
        "reproduced",
        "0.00 higher, within both intervals (together ± 0.43); 2 of 20 fields that decide unstated",
    )
    assert found.comparison.assumed == ("backbone", "norm")


LEARNER = ("norm", "backbone", "train_ways", "train_shots", "train_steps", "test_steps", "second_order", "queries")
"""Fields that make another learner, but no other task."""


@pytest.mark.parametrize(("mean", "word"), [(0.999, "above"), (0.987, "reproduced"), (0.9, "below")])
def test_a_source_that_is_mostly_silent_is_said_in_the_word(mean: float, word: str) -> None:
    decisive = [f for f in VISION_FIELDS if f not in NOTED]
    for silent in range(len(decisive) + 1):
        # From the end: the fields of the task, which the word "above" asks for, come first in the order.
        unstated = dict.fromkeys(sorted(decisive, key=lambda f: f in TASK)[:silent], "unstated")
        found = verdict(row(record(mean=mean, spread=0.001)), entry(protocol=unstated))
        # Under a norm that the source does not state queries decide all the same: ours is transductive.
        mostly = silent > len(decisive) / 2 or (word == "above" and bool(TASK & set(unstated)))
        assert found.word == word + (", protocol unstated" if mostly else "")
        assert found.comparison.mostly_open is (silent > len(decisive) / 2)


@pytest.mark.parametrize("field", sorted(TASK & set(VISION_FIELDS)))
def test_a_number_that_is_too_good_is_no_better_one_where_the_task_is_open(field: str) -> None:
    open_task = entry(98.7, 0.4, protocol={field: "unstated"})
    assert verdict(row(record(mean=0.999)), open_task).word == "above, protocol unstated"
    assert verdict(row(record(mean=0.987)), open_task).word == "reproduced"
    assert verdict(row(record(mean=0.9)), open_task).word == "below"


@pytest.mark.parametrize("field", LEARNER)
def test_it_is_one_where_only_the_learner_is(field: str) -> None:
    assert verdict(row(record(mean=0.999)), entry(98.7, 0.4, protocol={field: "unstated"})).word == "above"


@pytest.mark.parametrize(
    ("ours", "published", "same", "assumed"),
    [
        ("random-1200-423/seed0", "random-1200-423", True, False),
        ("random-1200-423/seed7", "random-1200-423", True, False),
        ("vinyals-within-alphabet", "vinyals", False, False),
        ("ravi-larochelle/train-300", "ravi-larochelle", False, False),
        ("ravi-larochelle", "ravi-larochelle/trainval", False, False),
        ("hashed-60-20-20/20-samples/seed0", "unstated/20-samples", True, True),
        ("hashed-60-20-20/all/seed0", "unstated/20-samples", False, True),
        ("anything", "unstated", True, True),
    ],
)
def test_splits_agree_up_to_the_draw(ours: str, published: str, same: bool, assumed: bool) -> None:
    protocol = protocol_of(resolve("maml", "omniglot-5w1s"))
    found = compare({**protocol, "split": ours}, {**entry().protocol, "split": published}, "accuracy")
    assert ([d.field for d in found.decisive] == []) is same
    assert ("split" in found.assumed) is assumed


def test_a_field_that_the_record_lacks_is_a_difference() -> None:
    mine = record()
    del mine["protocol"]["norm"]
    assert verdict(row(mine), entry()).reason == "published with norm transductive, here not recorded"


def test_words_without_a_comparison() -> None:
    assert verdict(None, entry()).word == "not run"
    assert verdict(row(), None).word == "no published number"
    assert verdict(row(), None).reason == "nothing is published for it"
    curves = entry(None, None)
    assert (verdict(row(), curves).word, verdict(row(), curves).reason) == (
        "not comparable",
        "the source prints curves only",
    )
    returns = entry(metric="return", protocol={})
    assert verdict(row(), returns).reason == "published is a return, this run measured an accuracy"
    assert len(set(WORDS)) == 11


@pytest.mark.parametrize("mean", [0.5, 0.999])
@pytest.mark.parametrize(
    ("how", "why"), [("memory", "recalled, not read in the source"), ("figure", "read off a plot")]
)
def test_what_was_only_recalled_or_read_off_decides_nothing(mean: float, how: str, why: str) -> None:
    found = verdict(row(record(mean=mean, spread=0.001)), entry(verification=how))
    assert (found.word, found.reason) == ("unverified reference", why)


def test_a_diverged_seed_is_never_averaged_away() -> None:
    both = row(record(mean=0.99, spread=0.001), record(seed=1, diverged=True))
    assert (verdict(both, entry()).word, verdict(both, entry()).reason) == ("below", "training diverged with seed 1")
    assert both.measured is not None
    assert (both.measured.seeds, both.measured.seeds_ci95) == (1, None)
    assert row(record(diverged=True)).measured is None
    assert verdict(row(record(diverged=True)), entry()).word == "below"


@pytest.mark.parametrize(
    ("schedule", "published", "label"),
    [
        ("paper", 60000, ""),
        ("paper", None, ""),
        ("paper", 40000, "paper schedule: 60000 iterations, published 40000"),
        ("short", 60000, "short schedule: 4000 iterations, published 60000"),
        ("short", None, "short schedule: 4000 iterations"),
    ],
)
def test_a_short_schedule_is_a_label_and_no_difference(schedule: str, published: int | None, label: str) -> None:
    reference = entry(training={"iterations": published} if published else {})
    found = verdict(row(record(schedule=schedule)), reference)
    assert (found.word, found.schedule) == ("reproduced", label)


def test_intervals_over_tasks_and_over_seeds_by_hand() -> None:
    """Two seeds on two tasks: task means 0.6 and 0.8, seed means 0.65 and 0.75."""
    test = {"updates": [0, 1], "mean": [0.2, 0.3], "ci95": [0.02, 0.04]}
    mine = [
        {"per_task": [0.5, 0.8], "seed": 0, "test": test},
        {"per_task": [0.7, 0.8], "seed": 1, "test": {**test, "mean": [0.6, 0.7], "ci95": [0.06, 0.08]}},
    ]
    found = summarise(mine, 100.0)
    assert found.mean == pytest.approx(70.0)
    assert found.ci95 == pytest.approx(12.706205 * 10.0)  # s = 14.142, √2
    assert found.seeds_ci95 == pytest.approx(12.706205 * 5.0)  # s = 7.071, √2
    assert (found.seeds, found.updates) == (2, 1)
    before = summarise(mine, 100.0, 0)
    assert (before.mean, before.ci95, before.updates) == pytest.approx((40.0, 4.0, 0))
    assert before.seeds_ci95 == pytest.approx(12.706205 * 20.0)  # s = 28.284, √2
    assert summarise(mine, 100.0, 7) == summarise(mine, 100.0, 1) == found


@pytest.mark.parametrize(("seeds", "t"), [(2, 12.706205), (3, 4.302653), (11, 2.228139), (41, 2.021075)])
def test_the_interval_over_seeds_is_students_for_any_number_of_them(seeds: int, t: float) -> None:
    test = {"updates": [0, 1], "mean": [0.2, 0.5], "ci95": [0.02, 0.04]}
    made = [{"per_task": [0.5 + 0.01 * s, 0.7 + 0.01 * s], "seed": s, "test": test} for s in range(seeds)]
    spread = float(np.std(np.arange(seeds), ddof=1))
    assert summarise(made, 100.0).seeds_ci95 == pytest.approx(t * spread / seeds**0.5, rel=1e-6)


CONTROL = dict.fromkeys(CONTROL_FIELDS, "unstated") | {"environment": "cheetah-dir"}


UNTRAINED = row(control_record("untrained", means=(-30.0, -20.0, -15.0, -10.0), spread=10.0))
"""± 3.24 over its 40 tasks, as any made-up return with this spread."""


def returns(value: float, half_width: float, **protocol: Any) -> Entry:
    """A published return on cheetah-dir that states nothing else."""
    return dataclasses.replace(entry(value, half_width, metric="return"), protocol={**CONTROL, **protocol})


def stated_by(mine: Row) -> dict[str, Any]:
    """A published protocol that states all of a row's."""
    return {k: v for k, v in mine.protocol(None).items() if k in CONTROL_FIELDS}


@pytest.mark.parametrize(
    ("stated", "updates", "word"),
    [
        ("unstated", 1, "reproduced, protocol unstated"),
        (1, 1, "reproduced, protocol unstated"),
        (2, 2, "below, protocol unstated"),
        (0, 0, "below, protocol unstated"),
        (3, 3, "above, protocol unstated"),
    ],
)
def test_a_return_is_compared_after_the_published_number_of_updates(stated: Any, updates: int, word: str) -> None:
    mine = row(control_record(means=(-10.0, 160.0, 120.0, 300.0), spread=10.0))
    found = verdict(mine, returns(160.0, 10.0, updates=stated), [UNTRAINED, mine])
    assert found.measured is not None
    assert (found.measured.updates, found.word) == (updates, word)
    assert ("updates" in found.comparison.assumed) is (stated == "unstated")
    assert found.comparison.decisive == ()


def test_a_return_that_was_not_recorded_after_so_many_updates_is_not_comparable() -> None:
    found = verdict(row(control_record()), returns(160.0, 10.0, updates=5))
    assert (found.word, found.reason) == ("not comparable", "published with updates 5, here 1")
    assert found.measured is not None
    assert found.measured.mean == 160.0


@pytest.mark.parametrize(
    ("ours", "published", "word", "why"),
    [
        # Ours has ± 3.24 too; √2 · 3.24 = 4.58, and with the published ± 10 it is 10.51.
        (160.0, 155.0, "reproduced", "180.00 above untrained (together ± 4.58)"),
        (-16.0, -18.0, "no evidence", "4.00 above untrained (together ± 4.58)"),
        (-23.0, -18.0, "no evidence", "3.00 below untrained (together ± 4.58)"),
        (-15.0, -40.0, "above", "5.00 above untrained (together ± 4.58)"),
        (-16.0, -40.0, "no evidence", "4.00 above untrained (together ± 4.58)"),
        (-40.0, -18.0, "below", "20.00 below untrained (together ± 4.58)"),
        # Half of the published lead is 10.52 in one case, 10.50 in the other: the interval is 10.51.
        (1.04, 1.04, "reproduced", "21.04 above untrained (together ± 4.58)"),
        (
            1.0,
            1.0,
            "no evidence",
            "21.00 above untrained (together ± 4.58); too wide an interval to tell the published number from one 10.50 "
            "nearer to untrained",
        ),
    ],
)
def test_a_claim_must_beat_the_untrained_policy(ours: float, published: float, word: str, why: str) -> None:
    mine = row(control_record(means=(0.0, ours, 0.0, 0.0), spread=10.0))
    reference = dataclasses.replace(returns(published, 10.0), protocol=stated_by(mine))
    found = verdict(mine, reference, [mine, UNTRAINED])
    assert (found.word, found.reason.partition("); ")[2]) == (word, why)


def test_the_untrained_policy_is_that_of_the_same_task_after_as_many_updates() -> None:
    mine = row(control_record(means=(0.0, 160.0, 0.0, 0.0), spread=10.0))
    none = "no row of untrained under this protocol, which it would have to beat"
    reference = dataclasses.replace(returns(160.0, 10.0), protocol=stated_by(mine))
    others = [
        row(control_record("untrained", "cheetah-vel", spread=10.0)),
        row(control_record("untrained", protocol={"horizon": 200}, spread=10.0)),
        row(control_record("untrained", protocol={"rollouts": 40}, spread=10.0)),
        row(control_record("untrained", means=(0.0,), spread=10.0)),
        row(control_record("oracle", means=(0.0, 100.0), spread=10.0)),
    ]
    for rows in ([], others):
        found = verdict(mine, reference, rows)
        assert (found.word, found.reason.partition("); ")[2]) == ("no evidence", none)
        assert verdict(mine, dataclasses.replace(reference, value=300.0), rows).word == "below"
    assert verdict(mine, reference, [*others, UNTRAINED]).word == "reproduced"
    better = row(control_record("untrained", means=(0.0, 158.0), spread=10.0))
    assert "2.00 above untrained" in verdict(mine, reference, [UNTRAINED, better]).reason


@pytest.mark.parametrize("algorithm", ["untrained", "pretrained"])
def test_a_baseline_claims_nothing(algorithm: str) -> None:
    mine = row(control_record(algorithm, means=(-30.0, -20.0), spread=10.0))
    reference = dataclasses.replace(returns(-19.0, 1.0), protocol=stated_by(mine))
    assert verdict(mine, reference, [mine, UNTRAINED]).word == "reproduced"


def test_an_accuracy_must_beat_a_guess_and_the_nearest_neighbour_where_that_was_recorded() -> None:
    """A guess among 5 is right in 20 of 100."""
    mine = row(record(mean=0.201))
    guessed = verdict(mine, entry(20.0, 0.4))
    assert (guessed.word, guessed.reason) == (
        "no evidence",
        "0.10 higher, within both intervals (together ± 0.43); 0.10 above a guess (together ± 0.16)",
    )
    assert verdict(row(record(mean=0.205)), entry(20.0, 0.6)).reason.endswith(
        "; too wide an interval to tell the published number from one 0.00 nearer to a guess"
    )
    neighbour = {**record(mean=0.41), "algorithm": "nearest-neighbour"}
    mine = row(record(mean=0.412))
    found = verdict(mine, entry(41.2, 0.1), [mine, row(neighbour)])
    assert (found.word, found.reason.partition("); ")[2]) == (
        "no evidence",
        "0.20 above nearest-neighbour (together ± 0.23)",
    )
    elsewhere = {**neighbour, "protocol": {**neighbour["protocol"], "ways": 20}}
    assert verdict(mine, entry(41.2, 0.1), [mine, row(elsewhere)]).word == "reproduced"


@pytest.mark.parametrize(
    ("field", "published", "shown"),
    [("horizon", 200, "horizon 200, here 100"), ("time_step", 0.01, "time step 0.01, here 0.05")],
)
def test_another_horizon_or_clock_is_another_task(field: str, published: Any, shown: str) -> None:
    found = verdict(row(control_record()), returns(160.0, 10.0, **{field: published}))
    assert (found.word, found.reason) == ("not comparable", f"published with {shown}")


def test_other_units_of_a_policy_are_noted() -> None:
    found = verdict(row(control_record()), returns(160.0, 10.0, policy="relu 100x100"), [UNTRAINED])
    assert found.word == "reproduced, protocol unstated"
    assert found.comparison.noted == (Difference("policy", "tanh 64x64", "relu 100x100"),)


def test_what_was_trained_on_another_task_is_not_comparable() -> None:
    mine = row(control_record(protocol={"trained_in": "cheetah-vel"}))
    found = verdict(mine, returns(160.0, 10.0), [UNTRAINED])
    assert (found.word, found.reason) == ("not comparable", "published with trained in the same, here cheetah-vel")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("trained_on", "glyphs", "trained on the same, here glyphs"),
        ("initial_weights", "0a1b", "initial weights drawn, here 0a1b"),
    ],
)
def test_what_comes_from_elsewhere_is_comparable_with_the_like_alone(field: str, value: str, told: str) -> None:
    mine = row(record(protocol={field: value}))
    assert verdict(mine, entry()).reason == f"published with {told}"
    assert verdict(mine, entry(protocol={field: value})).word != "not comparable"
    assert verdict(row(), entry(protocol={field: value})).word == "not comparable"
