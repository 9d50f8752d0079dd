"""FLOPs and bytes against counts by hand, and against torch's own counter on real tensors."""

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from metabench.algorithms import Workers, cross_entropy
from metabench.algorithms.meta_gradient import chunk_outputs
from metabench.bench.distributed import Processes
from metabench.bench.recipes.recipe import FewShotRecipe, RecipeError
from metabench.bench.text import duration, flops_text
from metabench.bench.training.dry_run import meanings
from metabench.bench.training.options import Machine, Options
from metabench.bench.worlds import resolve
from metabench.bench.worlds.few_shot_build import make_learner
from metabench.bench.worlds.few_shot_cost import cost_rows
from metabench.bench.worlds.few_shot_flops import Flops, Kept, _glimpse, blank, cost, speed, tasks_at_once
from metabench.vision.episodes import Shape

SMALL = {"width": 8, "ways": 3, "train_ways": 3, "queries": 2, "train_queries": 2}


def small(algorithm="maml", **fields):
    return dataclasses.replace(resolve(algorithm, "glyphs-5w1s"), **SMALL | fields)


def test_protonet_on_an_mlp_by_hand():
    recipe = resolve("protonet", "glyphs-5w1s")
    recipe = dataclasses.replace(recipe, backbone="mlp", ways=4, train_ways=4, shots=2, train_shots=2,
                                 queries=3, train_queries=3, test_steps=1)  # fmt: skip
    layers = [(784, 256), (256, 128), (128, 64), (64, 64)]
    forward = sum(2 * i * o for i, o in layers)  # an image
    backward = 2 * forward - 2 * 784 * 256  # the gradient of the weights, and of the inputs but the first layer's
    head, means = 2 * 64 * 4, 2 * 64 * 4  # a query image, a support image
    support, query = 8, 12
    body = (support + query) * (forward + backward)
    assert cost(recipe).task_flops == body + 3 * head * query + 2 * means * support
    # Scored twice, before and after the update; support and query are embedded once.
    assert cost(recipe).episode_flops == query * (forward + 2 * head) + support * (forward + means)
    assert cost(recipe).parameters == sum(i * o + 3 * o for i, o in layers) + 64 * 4 + 4


@pytest.mark.parametrize("algorithm", ["maml", "maml-fo", "anil", "meta-sgd", "protonet", "metaoptnet-rr"])
def test_the_count_without_data_is_torchs_count_with_data(algorithm):
    recipe = small(algorithm)
    shape = Shape(recipe.train_ways, recipe.train_shots, recipe.train_queries)

    support, query = blank(shape, 1, 28)
    learner = make_learner(recipe, 0, 1, 28)
    with FlopCounterMode(display=False) as counter:
        chunk_outputs(cross_entropy)(learner, [support] * recipe.inner_steps, query)
    assert counter.get_total_flops() == cost(recipe).task_flops > 1e6


def test_a_batch_costs_its_images_and_a_fit_next_to_nothing():
    """Of 16 images of an MLP, forward and backward, with a head of 5 classes; the fit is seen at test alone."""
    recipe = dataclasses.replace(resolve("baseline", "glyphs-5w1s"), backbone="mlp", fit_epochs=2)
    layers = [(784, 256), (256, 128), (128, 64), (64, 64)]
    forward = sum(2 * i * o for i, o in layers)
    assert cost(recipe).task_flops == 16 * (3 * forward - 2 * 784 * 256 + 3 * 2 * 64 * 5)
    # Per pass over 5 images: logits and the weight's gradient.
    fit = 2 * 2 * 5 * 2 * 64 * 5
    assert cost(recipe).episode_flops == 25 * (forward + 2 * 2 * 64 * 5) + 5 * forward + fit


def test_operations_are_counted_where_no_gradient_is():
    with Flops() as flops, torch.no_grad():
        torch.ones(3, 4) @ torch.ones(4, 5)
    assert flops.total == 2 * 3 * 4 * 5


def test_kept_bytes_by_hand():
    kept = Kept()
    a, b = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)
    with kept.hooks():
        product = a * b
        assert kept.now == 2 * 4000  # a and b
        result = product.exp()
        assert kept.now == 3 * 4000  # and the exponential, which is its own derivative
        squared = result * result
        assert kept.now == 3 * 4000  # it is kept twice and counted once
    squared.sum().backward()
    assert kept.now == 0
    assert kept.peak == 3 * 4000


def test_second_order_keeps_more_and_grows_with_the_steps():
    bytes_of = {
        (steps, first): cost(small(inner_steps=steps, first_order=first)).task_bytes
        for steps in (1, 3) for first in (False, True)
    }  # fmt: skip
    assert bytes_of[1, False] > 1.3 * bytes_of[1, True]
    assert bytes_of[3, False] > 1.5 * bytes_of[1, False]
    assert bytes_of[3, True] < 1.2 * bytes_of[1, True]


@pytest.mark.parametrize(
    ("tasks", "threads", "device", "chunk", "alive"),
    [
        (32, 2, "cpu", 0, 32), (32, 2, "cpu", 1, 2), (32, 2, "cpu", 5, 10), (3, 8, "cpu", 0, 3), (3, 2, "cpu", 2, 3),
        (32, 2, "cuda", 0, 32), (32, 2, "cuda", 4, 4), (1, 2, "cpu", 0, 1),
    ],
)  # fmt: skip
def test_tasks_alive_together(tasks, threads, device, chunk, alive):
    assert tasks_at_once(small(meta_batch=tasks), Workers(threads, device), chunk) == alive


def test_speed_leaves_the_threads_as_they_were():
    threads = torch.get_num_threads()
    network, products = speed(small(), Workers(1), 0)
    assert 1e6 < network < 1e13
    assert 1e6 < products < 1e14
    assert torch.get_num_threads() == threads


def test_the_rows_say_what_chunk_saves():
    recipe = small(meta_batch=8, iterations=1000, val_every=100)
    rows = dict(cost_rows(recipe, Machine(device="cpu", threads=2, chunk=2).place(Processes("cpu"))))
    task = cost(small()).task_bytes / 2**20
    assert [rows[f"  with --chunk {n}"] for n in (2, 0, 1)] == [
        f"{alive * task:.1f} MiB, {alive} tasks at once" for alive in (4, 8, 2)
    ]
    assert rows["memory of second order"].startswith(f"{task:.1f} MiB a task (first order would keep ")
    assert rows["learned parameters"] == f"{cost(small()).parameters:,}"
    assert rows["data"] == "present"


def test_a_recipe_that_cannot_be_built_is_told_before_it_runs():
    with pytest.raises(RecipeError, match="the head is learned for 3 ways and cannot answer for 9"):
        cost(small(ways=9))


@pytest.mark.parametrize("kind", [FewShotRecipe, Machine, Options])
def test_every_field_has_a_meaning(kind):
    assert list(meanings(kind)) == [f.name for f in dataclasses.fields(kind)]
    assert all(text.endswith(".") for text in meanings(kind).values())


def test_units():
    texts = ["2.5 MFLOP", "1.23 GFLOP", "42.9 TFLOP", "7 PFLOP"]
    assert [flops_text(f) for f in (2.5e6, 1.234e9, 4.29e13, 7e15)] == texts
    assert [duration(s) for s in (12, 96, 4320, 200_000)] == ["12 seconds", "1.6 minutes", "1.2 hours", "2.3 days"]


@pytest.mark.parametrize("tasks", [1, 4])
def test_the_glimpse_of_several_tasks_counts_each_of_them_once(tasks: int) -> None:
    """A counter on the batch would not: each task has weights of its own, and the batch is a grouped convolution."""
    recipe = small(meta_batch=4)
    assert _glimpse(recipe, "cpu", tasks).flops == tasks * cost(recipe).task_flops
