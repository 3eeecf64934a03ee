"""The definition of a teacher."""

import numpy as np

from tfrs_distill.models import RetrievalStudent
from tfrs_distill.teachers import BertTwoTower, Teacher


def test_the_default_teacher_is_a_teacher():
    assert isinstance(BertTwoTower(np.eye(3), max_history=2, embedding_dim=4), Teacher)


def test_a_student_is_a_teacher():
    student = RetrievalStudent.from_history(num_items=3, max_history=2, embedding_dim=4)
    assert isinstance(student, Teacher)


def test_an_object_without_logits_is_not_a_teacher():
    student = RetrievalStudent.from_history(num_items=3, max_history=2, embedding_dim=4)
    assert not isinstance(student.candidate_tower, Teacher)  # no `logits` and no fingerprint
    assert not isinstance(lambda batch: batch, Teacher)
