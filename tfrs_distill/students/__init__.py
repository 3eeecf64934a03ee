"""Students: the small models that learn, alone as a twin or from a teacher."""

from tfrs_distill.students.retrieval_student import RetrievalStudent

__all__ = ["RetrievalStudent"]
