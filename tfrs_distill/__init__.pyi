from . import (
    data as data,
    evaluation as evaluation,
    export as export,
    knowledge as knowledge,
    losses as losses,
    models as models,
    serving as serving,
    teachers as teachers,
)
from .distiller import (
    Distiller as Distiller,
    GradientAccumulation as GradientAccumulation,
    GradientNormBalance as GradientNormBalance,
    LossRatioBalance as LossRatioBalance,
    Schedule as Schedule,
)
from .evaluation import (
    ValidationNDCG as ValidationNDCG,
    evaluate as evaluate,
    evaluate_ranking as evaluate_ranking,
)
from .evaluation.baselines import EASE as EASE, popularity as popularity
from .evaluation.teacher_report import compare_teachers as compare_teachers
from .knowledge import (
    CachedTeacher as CachedTeacher,
    cache_item_vectors as cache_item_vectors,
    cache_teacher as cache_teacher,
    cross_fit as cross_fit,
)
from .serving import Ranker as Ranker, Recommender as Recommender

__version__: str
