"""Concurrent calls from many threads, compared with the results of one thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

NUM_THREADS = 8


def assert_same_under_threads(call, num_calls):
    """8 threads, each with calls 0 to `num_calls`, each in a different order.

    Args:
        ask: the number of a call to its arrays, by name.
        num_calls: calls per thread.
    """
    expected = [call(number) for number in range(num_calls)]

    def different(first):
        numbers = [(first + step) % num_calls for step in range(num_calls)]
        return [number for number in numbers if not _same(call(number), expected[number])]

    with ThreadPoolExecutor(NUM_THREADS) as threads:
        firsts = range(0, num_calls, num_calls // NUM_THREADS)
        assert list(threads.map(different, firsts)) == [[]] * NUM_THREADS


def _same(answers, expected):
    # The same arithmetic in the same order: equal to the last bit except for TensorFlow's own
    # threads.
    return answers.keys() == expected.keys() and all(
        values.shape == expected[name].shape and np.allclose(values, expected[name], atol=1e-6)
        for name, values in answers.items()
    )
