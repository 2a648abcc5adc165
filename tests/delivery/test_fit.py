"""How many events at once, after the sink refused more."""

from forebay.daemon.delivery.fit import Fit


def test_nothing_is_bounded_before_anything_was_refused():
    fit = Fit()
    for _ in range(1000):
        fit.learn(10_000, refused=False)
    assert fit.most is None


def test_what_passed_after_a_refusal_is_the_bound():
    fit = Fit()
    fit.learn(2500, refused=True)
    assert fit.most == 2500
    fit.learn(1250, refused=True)
    assert fit.most == 1250


def test_a_batch_of_which_nothing_passed_teaches_nothing():
    fit = Fit()
    fit.learn(0, refused=True)
    assert fit.most is None


def test_it_tries_more_again_after_many_full_batches_and_not_for_small_ones():
    fit = Fit()
    fit.learn(100, refused=True)
    for _ in range(1000):
        fit.learn(99, refused=False)
    assert fit.most == 100
    for _ in range(64):
        assert fit.most == 100
        fit.learn(100, refused=False)
    assert fit.most == 200
    fit.learn(100, refused=True)
    assert fit.most == 100
