"""How diverse a set of texts is."""

import numpy as np
import pytest

from mixtura.evals.statistics.diversity import vendi_score, weighted_vendi_score


def test_texts_with_nothing_in_common_count_as_many_and_copies_as_one():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 5))) == pytest.approx(1)
    twice = np.kron(np.eye(2), np.ones((2, 2)))
    assert vendi_score(twice) == pytest.approx(2)


def test_the_score_is_the_exponential_of_the_entropy_of_the_eigenvalues():
    # Two texts alike by s have the eigenvalues (1 ± s) / 2.
    shares = np.array([0.8, 0.2])
    assert vendi_score([[1, 0.6], [0.6, 1]]) == pytest.approx(
        np.exp(-(shares * np.log(shares)).sum())
    )


def test_quality_weighs_diversity():
    assert weighted_vendi_score(np.eye(2), [1.0, 0.5]) == pytest.approx(1.5)
    assert weighted_vendi_score(np.eye(2), [0.0, 0.0]) == 0


def test_a_table_that_is_no_square_and_qualities_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="square"):
        vendi_score(np.ones((2, 3)))
    with pytest.raises(ValueError, match="2 texts and 1 qualities"):
        weighted_vendi_score(np.eye(2), [1.0])
