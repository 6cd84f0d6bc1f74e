"""Which worker gets what, and what becomes of packs that take their workers down; no Ray."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from robustness.sweep.cause import cause_of
from robustness.sweep.interrupt import SECONDS_TO_SAVE
from robustness.sweep.queue import MOST_DEATHS, MOST_IDLE_DEATHS, PackQueue
from robustness.sweep.turns import Ended, Fallen, Running, Turn

HERE = "node"
LIVES = count()


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def queue_of(packs, living=(HERE,), **options):
    return PackQueue(packs, living=lambda: set(living), **options)


def die(queue, *, times=1, node=HERE, share=0.0):
    """A worker takes a turn, begins at a share, and dies, so many times."""
    for _ in range(times):
        worker = f"w/{next(LIVES)}"
        turn = queue.take(worker, node)
        queue.begin(worker, share, None)
        queue.died("w", "killed")
    return turn


def drained(queue, worker="x/0"):
    """Every turn that is left, each finished."""
    turns = []
    while (turn := queue.take(worker, HERE)) is not None:
        turns.append(turn)
        queue.finish(worker)
    return turns


def test_packs_are_handed_out_in_order_and_once():
    queue = queue_of({"a": 1, "b": 2})
    assert (queue.take("w/0", HERE), queue.take("x/0", HERE)) == (Turn("a"), Turn("b"))
    assert queue.take("y/0", HERE) is None
    queue.finish("w/0", 1, "a line")
    assert queue.news().ended == [Ended("a", 1, "a line")]
    assert queue.news().ended == []


def test_a_pack_whose_worker_died_goes_to_the_next_one_that_asks():
    queue = queue_of({"a": 1, "b": 1})
    die(queue)
    assert queue.take("x/0", HERE) == Turn("a")


def test_after_three_deaths_every_member_runs_alone_and_then_the_pack_is_put_together():
    queue = queue_of({"a": 3, "b": 1})
    assert die(queue, times=MOST_DEATHS) == Turn("a")
    assert drained(queue) == [Turn("a", 0), Turn("a", 1), Turn("a", 2), Turn("a", fallen=()), Turn("b")]
    assert [ended.pack for ended in queue.news().ended] == ["a", "b"]


def test_a_member_that_ends_its_worker_alone_falls_and_the_others_do_not():
    queue = queue_of({"a": 3})
    die(queue, times=MOST_DEATHS)
    assert queue.take("x/0", HERE) == Turn("a", 0)
    queue.finish("x/0")
    assert die(queue) == Turn("a", 1)
    fallen = Fallen(1, "error", "ended its worker, even alone: killed")
    assert drained(queue) == [Turn("a", 2), Turn("a", fallen=(fallen,))]


def test_a_pack_of_one_falls_after_three_deaths():
    queue = queue_of({"a": 1})
    die(queue, times=MOST_DEATHS)
    (turn,) = drained(queue)
    assert [(each.member, each.status) for each in turn.fallen] == [(0, "error")]


def test_deaths_of_nodes_do_not_count_even_where_they_are_known_later():
    living = {HERE, "flaky"}
    queue = queue_of({"a": 2}, living)
    queue.living = lambda: living
    for _ in range(2 * MOST_DEATHS):
        die(queue, node="lost")
    die(queue, times=MOST_DEATHS, node="flaky")
    living.discard("flaky")
    die(queue, times=MOST_DEATHS - 1)
    assert queue.take("x/0", HERE) == Turn("a")


def test_deaths_with_progress_do_not_count():
    queue = queue_of({"a": 2})
    for step in range(1, 3 * MOST_DEATHS):
        assert die(queue, share=step / 100) == Turn("a")
    die(queue, times=MOST_DEATHS - 1, share=step / 100)
    assert queue.take("x/0", HERE) == Turn("a", 0)


def test_a_pack_that_ran_out_of_time_is_taken_apart_at_once_and_a_member_is_a_timeout():
    clock = Clock()
    queue = queue_of({"a": 2}, trial_timeout=30.0, clock=clock)

    def run_out(worker, seconds):
        turn = queue.take(f"{worker}/0", HERE)
        queue.begin(f"{worker}/0", 0.0, seconds)
        clock.now += seconds
        queue.died(worker, "killed")
        return turn

    assert run_out("w", 60) == Turn("a")
    assert run_out("w2", 30) == Turn("a", 0)
    fallen = Fallen(0, "timeout", "ran longer than the 30 seconds of resources.trial_timeout")
    assert drained(queue) == [Turn("a", 1), Turn("a", fallen=(fallen,))]


def test_a_death_before_the_deadline_is_a_death():
    clock = Clock()
    queue = queue_of({"a": 2}, trial_timeout=30.0, clock=clock)
    queue.take("w/0", HERE)
    queue.begin("w/0", 0.0, 60)
    clock.now += 59
    queue.died("w", "killed")
    assert queue.take("x/0", HERE) == Turn("a")


def test_a_worker_that_was_taken_for_dead_ends_and_ruins_nothing():
    queue = queue_of({"a": 1, "b": 1})
    queue.take("w/0", HERE)
    queue.died("w", "out of reach")
    assert queue.take("w/1", HERE) == Turn("a")
    assert not queue.advance("w/0", 0.5)
    queue.finish("w/0")
    assert queue.news().ended == []
    assert queue.take("w/0", HERE) is None
    queue.finish("w/1")
    assert [ended.pack for ended in queue.news().ended] == ["a"]


def test_an_interrupted_or_stopped_queue_hands_out_nothing_and_tells_workers_to_end():
    for end in (PackQueue.interrupt, lambda queue: queue.stop("disk full")):
        queue = queue_of({"a": 1, "b": 1})
        queue.take("w/0", HERE)
        assert queue.advance("w/0", 0.1)
        end(queue)
        assert not queue.advance("w/0", 0.2)
        assert queue.take("x/0", HERE) is None
        queue.give_back("w/0")
        assert queue.news().shares == {"a": 0.2}
    assert queue.why_stopped() == "disk full"


def test_a_pack_that_can_not_be_put_together_stops_the_sweep():
    queue = queue_of({"a": 1})
    die(queue, times=2 * MOST_DEATHS)
    assert queue.take("x/0", HERE) is None
    assert queue.why_stopped() == "3 workers died storing pack a: killed"


def test_workers_that_die_before_they_ask_stop_the_sweep_in_the_end():
    queue = queue_of({"a": 1})
    for _ in range(MOST_IDLE_DEATHS - 1):
        queue.died("w", "no such package")
    queue.take("w/0", HERE)
    for _ in range(MOST_IDLE_DEATHS):
        assert queue.why_stopped() is None
        queue.died("x", "no such package")
    assert queue.why_stopped() == "20 workers in a row died before they trained: no such package"


EVENTS = st.lists(
    st.tuples(st.sampled_from("vwxyz"), st.sampled_from(["take", "finish", "die", "lose", "late", "save"])), max_size=80
)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), EVENTS)
def test_whatever_happens_every_pack_ends_exactly_once(sizes, events):
    packs = {f"pack{place}": size for place, size in enumerate(sizes)}
    clock, living, lives, held, ended = Clock(), {HERE}, dict.fromkeys("vwxyz", 0), {}, []
    queue = queue_of(packs, trial_timeout=1.0, clock=clock)
    queue.living = lambda: living

    def finish(worker):
        queue.finish(held.pop(worker))
        ended.extend(each.pack for each in queue.news().ended)

    for worker, event in events:
        name, node = f"{worker}/{lives[worker]}", HERE if event != "lose" else f"lost {clock.now}"
        if event == "take" and worker not in held:
            turn = queue.take(name, node)
            if turn is not None:
                held[worker] = name
                queue.begin(name, 0.0, float(packs[turn.pack]))
        elif event == "finish" and worker in held:
            finish(worker)
        elif event in ("die", "lose", "late") and worker in held:
            if event == "lose":
                queue.held[name].node = "lost"
            clock.now += 10.0 * (event == "late")
            del held[worker]
            lives[worker] += 1
            queue.died(worker, "killed")
        elif event == "save" and worker in held:
            queue.give_back(held.pop(worker))
    for worker in list(held):
        finish(worker)
    queue.idle_deaths = 0
    while queue.goes_on() and (turn := queue.take("last/0", HERE)) is not None:
        assert turn.member is None or turn.member < packs[turn.pack]
        queue.finish("last/0")
        ended.extend(each.pack for each in queue.news().ended)
    if queue.goes_on():
        assert sorted(ended) == sorted(packs)
    assert len(ended) == len(set(ended))


def test_workers_of_a_machine_that_leaves_give_back_what_they_have_and_move():
    queue = queue_of({"a": 2, "b": 1})
    queue.take("w/0", "spot")
    queue.begin("w/0", 0.0, None)
    assert queue.advance("w/0", 0.5)
    queue.leave({"spot": "10.0.0.7"})
    queue.leave({"spot": "10.0.0.7"})
    assert queue.news().lines == ["10.0.0.7 is told to go: its packs are saved and go on elsewhere"]
    assert not queue.advance("w/0", 0.6)
    queue.give_back("w/0")
    assert queue.take("w/0", "spot") is None
    assert queue.moves("w/0", "spot")
    # Tune reports the end of each as a death, which is none.
    for _ in range(MOST_IDLE_DEATHS + 1):
        queue.moves("w/0", "spot")
        queue.died("w", "moved")
    assert queue.goes_on()
    assert queue.news().shares["a"] == 0.6
    assert queue.take("w/1", HERE) == Turn("a")


def test_a_worker_stays_where_its_machine_does_and_ends_with_the_sweep():
    queue = queue_of({"a": 1})
    assert not queue.moves("w/0", HERE)
    queue.leave({"spot": "10.0.0.7"})
    queue.interrupt()
    assert not queue.moves("w/0", "spot")


def test_deaths_on_a_machine_that_leaves_do_not_count():
    queue = queue_of({"a": 2}, living=())
    die(queue, times=MOST_DEATHS + 1)
    assert queue.take("x/0", HERE) == Turn("a")


def test_news_tell_who_runs_how_long_and_how_many_wait():
    clock = Clock()
    queue = queue_of({"a": 1, "b": 1, "c": 1}, clock=clock)
    queue.take("w/0", HERE)
    assert (queue.news().running, queue.news().waiting) == ([], 2)
    queue.begin("w/0", 0.25, None)
    clock.now = 8.0
    queue.advance("w/0", 0.75)
    assert queue.news().running == [Running("a", HERE, seconds=8.0, gained=0.5)]


def test_many_workers_report_less_often_but_hear_of_an_interrupt_in_time():
    queue = queue_of({str(number): 1 for number in range(2000)})
    seconds = []
    for number in range(2000):
        queue.take(f"w{number}/0", HERE)
        seconds.append(queue.advance(f"w{number}/0", 0.1))
    assert (seconds[0], seconds[249], seconds[499], seconds[-1]) == (1.0, 1.0, 2.0, 4.0)
    assert max(seconds) < SECONDS_TO_SAVE
    queue.interrupt()
    assert queue.advance("w0/0", 0.2) is None


def test_causes_are_one_line_in_our_words_where_they_are_known():
    noted = (
        "Failure # 1 (occurred at 1)\nThe actor died.\nWorker exit detail: connection error code 2. End of file.\n"
        "\nFailure # 2 (occurred at 2)\nThe actor died.\n\tpid: 7\n was 9GB / 9GB (0.99), which exceeds the memory "
        "usage threshold of 0.95. Ray killed this worker\n"
    )
    assert cause_of(noted) == "its machine ran out of memory"
    assert cause_of(noted.split("\nFailure # 2")[0]).startswith("its process was killed or crashed")
    assert cause_of("Failure # 1 (occurred at 1)\nTraceback\nValueError: no\n") == "ValueError: no"
    assert cause_of("") == "it is not known why"
